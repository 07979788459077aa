import { execFile } from 'node:child_process';
import { chmodSync, createReadStream, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { promisify } from 'node:util';
import type { Decision, Host, ImageKind, Instance, Operation } from '@berth/model';

const exec = promisify(execFile);
const repository = new URL('../../', import.meta.url).pathname;

async function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() =>
        address !== null && typeof address === 'object'
          ? resolve(address.port)
          : reject(new Error('no port')),
      );
    });
  });
}

/** An answer of the API, also when it is a problem document. */
export interface Answer<T> {
  readonly status: number;
  readonly headers: Headers;
  readonly body: T;
}

/** A whole Berth under a root of its own: supervisor, Postgres, libvirtd, API and agents, started by the entry script. */
export class Berth {
  private constructor(
    readonly root: string,
    private readonly env: NodeJS.ProcessEnv,
    readonly base: string,
  ) {}

  /**
   * @param hosts number of hosts; all but the first have namespaces of their own
   * @param o further environment, and what to lay below the root before the first start
   */
  static async up(
    hosts: number,
    o: { readonly env?: (root: string) => NodeJS.ProcessEnv; readonly lay?: (root: string) => void } = {},
  ): Promise<Berth> {
    const root = mkdtempSync(join(tmpdir(), 'berth-e2e-'));
    chmodSync(root, 0o711);
    const apiPort = await freePort();
    const env = {
      ...process.env,
      BERTH_ROOT: root,
      BERTH_API_PORT: String(apiPort),
      BERTH_LINK_PORT: String(await freePort()),
      BERTH_NO_INSTALL: '1',
      // A Berth that runs on this machine already has the default one.
      BERTH_NETWORK_SUPERNET: `10.${100 + (process.pid % 100)}.0.0/16`,
      ...o.env?.(root),
    };
    o.lay?.(root);
    const berth = new Berth(root, env, `http://127.0.0.1:${apiPort}`);
    await berth.run(['up', '--hosts', String(hosts)]);
    return berth;
  }

  /** Runs `./berth …`; rejects with its output when it fails. */
  async run(args: readonly string[]): Promise<string> {
    const { stdout, stderr } = await exec(join(repository, 'berth'), args, {
      env: this.env,
      timeout: 300_000,
      maxBuffer: 16 * 1024 * 1024,
    });
    return stdout + stderr;
  }

  /** Runs `./berth …`, however it ends. */
  try(args: readonly string[]): Promise<{ code: number; out: string; err: string }> {
    return new Promise((resolve, reject) => {
      const options = { env: this.env, timeout: 300_000, maxBuffer: 16 * 1024 * 1024 };
      execFile(join(repository, 'berth'), args, options, (error, out, err) => {
        if (error === null) resolve({ code: 0, out, err });
        else if (typeof error.code === 'number') resolve({ code: error.code, out, err });
        else reject(error);
      });
    });
  }

  /** Deletes what a failed test left, ends everything, and removes the root. */
  async down(): Promise<void> {
    const { items } = await this.ok<{ items: Instance[] }>('GET', this.instances);
    await Promise.all(items.map((i) => this.delete(i.name)));
    await this.run(['down', '--instances', 'stop']);
    rmSync(this.root, { recursive: true, force: true });
  }

  async call<T>(method: string, path: string, body?: unknown): Promise<Answer<T>> {
    const token = readFileSync(join(this.root, 'etc/berth/admin-token'), 'utf8').trim();
    const answer = await fetch(this.base + path, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(120_000),
    });
    const text = await answer.text();
    const json = /json/.test(answer.headers.get('content-type') ?? '');
    return { status: answer.status, headers: answer.headers, body: (json ? JSON.parse(text) : text) as T };
  }

  /** Like {@link call}, but a problem document is an error that shows it. */
  async ok<T>(method: string, path: string, body?: unknown): Promise<T> {
    const answer = await this.call<T>(method, path, body);
    if (answer.status >= 400)
      throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
    return answer.body;
  }

  readonly instances = '/v1/projects/default/instances';

  create(name: string, spec: object): Promise<{ instance: Instance; operation: Operation }> {
    return this.ok('POST', this.instances, { name, spec });
  }
  get(name: string): Promise<Instance> {
    return this.ok('GET', `${this.instances}/${name}`);
  }
  /** Uploads a sample image under a name. */
  async image(name: string, kind: ImageKind, file: string): Promise<void> {
    const token = readFileSync(join(this.root, 'etc/berth/admin-token'), 'utf8').trim();
    const answer = await fetch(`${this.base}/v1/projects/default/images?name=${name}&kind=${kind}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/octet-stream' },
      body: Readable.toWeb(createReadStream(file)) as ReadableStream,
      duplex: 'half',
    } as RequestInit);
    if (!answer.ok) throw new Error(`${name}: ${answer.status} ${await answer.text()}`);
  }
  act(name: string, verb: string): Promise<{ operation: Operation }> {
    return this.ok('POST', `${this.instances}/${name}/actions/${verb}?wait=60`, {});
  }
  decision(name: string): Promise<Decision> {
    return this.ok('GET', `${this.instances}/${name}/decision`);
  }
  logs(name: string): Promise<string> {
    return this.ok('GET', `${this.instances}/${name}/logs`);
  }
  async hosts(): Promise<Host[]> {
    return (await this.ok<{ items: Host[] }>('GET', '/v1/hosts')).items;
  }

  /** Waits until the instance is in that state. The error shows what it was and why. */
  async state(name: string, wanted: string, ms = 60_000): Promise<Instance> {
    let last: Instance | undefined;
    return until(
      `${name} is ${wanted}`,
      ms,
      async () => {
        last = await this.get(name);
        return last.status.state === wanted ? last : undefined;
      },
      () => JSON.stringify(last?.status),
    );
  }

  /** Deletes and waits until it is gone. */
  async delete(name: string): Promise<void> {
    await this.ok('DELETE', `${this.instances}/${name}`);
    await until(`${name} is gone`, 60_000, async () =>
      (await this.call('GET', `${this.instances}/${name}`)).status === 404 ? true : undefined,
    );
  }
}

/**
 * A deadline of a wait, milliseconds: three times what an idle machine needs at most, or as many times as BERTH_TEST_PATIENCE
 * says. Only what fails waits for it.
 */
export function patience(ms: number): number {
  return ms * Number(process.env['BERTH_TEST_PATIENCE'] ?? 3);
}

/**
 * Asks again until there is an answer, or fails with what was seen last. `every`: ms from one question to the next; from a tenth of a
 * second to half of one where nothing is said, since asking ten times a second for the minute of a boot costs more than what is
 * asked.
 */
export async function until<T>(
  what: string,
  ms: number,
  probe: () => Promise<T | undefined>,
  seen: () => string = () => '',
  every?: number,
): Promise<T> {
  const begun = Date.now();
  for (;;) {
    const value = await probe();
    if (value !== undefined) return value;
    const waited = Date.now() - begun;
    if (waited > ms) throw new Error(`waited ${ms} ms in vain: ${what} ${seen()}`);
    const pause = every ?? Math.min(500, 100 + waited / 10);
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

/** Output of a command, with arguments as a list. */
export async function output(command: string, ...args: string[]): Promise<string> {
  return (await exec(command, args, { timeout: 60_000 })).stdout;
}
