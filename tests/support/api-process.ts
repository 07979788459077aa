import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BerthClient } from '@berth/client';
import { openStore } from '../../apps/api/src/store/open.js';
import type { Store } from '../../apps/api/src/store/store.js';
import { ids } from '../store/fixture.js';
import { freshDatabase, startPostgres } from './postgres.js';

const program = new URL('../../apps/api/dist/main.js', import.meta.url).pathname;

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.on('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** The real API, built, as a process of its own on a database of the test's: it can be ended in any way and started again. */
export class ApiProcess {
  private child: ChildProcess | null = null;
  private ended: Promise<string> = Promise.resolve('never started');
  private said = '';

  private constructor(
    readonly root: string,
    readonly baseUrl: string,
    /** Where agents dial in. */
    readonly linkPort: number,
    private readonly env: NodeJS.ProcessEnv,
  ) {}

  /** Started, and serving. `env` adds to its environment. */
  static async start(databaseUrl: string, env: NodeJS.ProcessEnv = {}): Promise<ApiProcess> {
    const root = mkdtempSync(join(tmpdir(), 'berth-api-'));
    const [port, linkPort] = [await freePort(), await freePort()];
    const api = new ApiProcess(root, `http://127.0.0.1:${port}`, linkPort, {
      ...process.env,
      BERTH_ROOT: root,
      DATABASE_URL: databaseUrl,
      BERTH_API_PORT: String(port),
      BERTH_LINK_PORT: String(linkPort),
      BERTH_LOG_LEVEL: 'warn',
      ...env,
    });
    await api.start();
    return api;
  }

  get pid(): number {
    if (this.child?.pid === undefined) throw new Error('the API does not run');
    return this.child.pid;
  }
  /** The first admin token. */
  get token(): string {
    return readFileSync(join(this.root, 'etc/berth/admin-token'), 'utf8').trim();
  }
  client(token = this.token, backoffMs: readonly number[] = [20, 50, 100, 200]): BerthClient {
    return new BerthClient({ baseUrl: this.baseUrl, token, backoffMs });
  }

  /** Resolves when it serves. @throws Error with what it said, when it ended instead */
  async start(): Promise<void> {
    const child = spawn(process.execPath, [program], { env: this.env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.child = child;
    this.said = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => (this.said = (this.said + chunk.toString()).slice(-8000)));
    this.ended = new Promise((resolve) =>
      child.once('close', (code, signal) => resolve(signal ?? String(code))),
    );
    for (;;) {
      if (child.exitCode !== null || child.signalCode !== null)
        throw new Error(`the API did not start: ${this.said}`);
      const ready = await fetch(`${this.baseUrl}/readyz`).then(
        (r) => r.ok,
        () => false,
      );
      if (ready) return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Ends it; resolves with its exit code or the signal that it died of. Nothing to do when it has ended. */
  async end(signal: 'SIGTERM' | 'SIGKILL'): Promise<string> {
    this.child?.kill(signal);
    const how = await this.ended;
    this.child = null;
    return how;
  }

  /** What it wrote last: warnings and errors. */
  get log(): string {
    return this.said;
  }

  /** Ends it and removes its files. */
  async stop(): Promise<void> {
    await this.end('SIGTERM');
    rmSync(this.root, { recursive: true, force: true });
  }
}

export interface ApiOnPostgres {
  readonly api: ApiProcess;
  /** Writes to the same database, from this process. */
  readonly store: Store;
  stop(): Promise<void>;
}

/** The real API on a Postgres of its own. */
export async function apiOnPostgres(): Promise<ApiOnPostgres> {
  const postgres = await startPostgres();
  const url = await freshDatabase(postgres.url);
  const api = await ApiProcess.start(url);
  const store = await openStore({ url, clock: { now: () => new Date() }, ids, poolSize: 12 });
  const stop = async (): Promise<void> => {
    await api.stop();
    await store.close();
    await postgres.stop();
  };
  return { api, store, stop };
}
