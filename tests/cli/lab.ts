import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Api } from '../http/api.js';
import { StoredFiles } from '../http/stored-files.js';
import { Guests } from './guests.js';

const exec = promisify(execFile);
const repository = fileURLToPath(new URL('../..', import.meta.url));

export interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/**
 * `berth` as a program on the path of a shell, against the real API on a real database. Its one host does at once what it is
 * told, as an agent would report it.
 */
export class CliLab {
  private constructor(
    readonly api: Api,
    /** Working directory: holds the examples. */
    readonly dir: string,
    readonly env: NodeJS.ProcessEnv,
    private readonly host: Settler,
    readonly guests: Guests,
    readonly files: StoredFiles,
  ) {}

  static async start(): Promise<CliLab> {
    const dir = await mkdtemp(join(tmpdir(), 'berth-cli-'));
    const host = new Settler();
    const wake = { scheduler: host.wake, dispatch: host.wake, ledger: host.wake };
    const guests = new Guests();
    const files = new StoredFiles();
    const api = await Api.start({ wake, terminals: guests, files }, 'host-1');
    host.settle = () => api.settle();
    await api.facetsAdd('pause', 'suspend');
    const bin = join(dir, 'bin');
    await mkdir(bin);
    await exec(process.execPath, ['build.mjs', dir], { cwd: join(repository, 'apps/cli') });
    await writeFile(join(bin, 'berth'), `#!/bin/sh\nexec ${process.execPath} ${join(dir, 'main.js')} "$@"\n`);
    await chmod(join(bin, 'berth'), 0o755);
    await symlink(join(repository, 'examples'), join(dir, 'examples'));
    const { port } = api.app.getHttpServer().address() as AddressInfo;
    const env = {
      PATH: `${bin}:${process.env['PATH'] ?? ''}`,
      HOME: dir,
      BERTH_API: `http://127.0.0.1:${port}`,
      BERTH_TOKEN: api.tokens.get('all:admin') ?? '',
      BERTH_PROJECT: 'alpha',
    };
    return new CliLab(api, dir, env, host, guests, files);
  }

  /** Runs a line of a shell until it ends. */
  async run(line: string, shell = 'bash', env: NodeJS.ProcessEnv = {}): Promise<Ran> {
    return this.begin(line, shell, env).ended;
  }

  /** Starts a line of a shell in a process group of its own. */
  begin(line: string, shell = 'bash', env: NodeJS.ProcessEnv = {}): Running {
    const child = spawn(shell, ['-c', line], {
      cwd: this.dir,
      env: { ...this.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    return new Running(child);
  }

  /**
   * Starts a line of bash in a terminal of its own, 100 by 30, by util-linux's `script`. Its output comes as the terminal
   * shows it; the exit code is the line's.
   */
  beginInTerminal(line: string): Running {
    const sized = `stty cols 100 rows 30; ${line}`;
    const child = spawn('script', ['-qefc', sized, '/dev/null'], {
      cwd: this.dir,
      env: { ...this.env, SHELL: '/bin/bash', TERM: 'xterm' },
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
    });
    return new Running(child);
  }

  async stop(): Promise<void> {
    await this.host.idle();
    await this.api.stop();
    await rm(this.dir, { recursive: true, force: true });
  }
}

/** A command that runs. */
export class Running {
  out = '';
  err = '';
  readonly ended: Promise<Ran>;

  constructor(private readonly child: ChildProcess) {
    child.stdout?.on('data', (chunk: Buffer) => (this.out += chunk.toString()));
    child.stderr?.on('data', (chunk: Buffer) => (this.err += chunk.toString()));
    this.ended = new Promise((resolve) =>
      child.once('close', (code) => resolve({ code, out: this.out, err: this.err })),
    );
  }
  /** Keys, where it runs in a terminal. */
  type(keys: string): void {
    this.child.stdin?.write(keys);
  }
  /** Ctrl-C. */
  interrupt(): void {
    if (this.child.pid !== undefined) process.kill(-this.child.pid, 'SIGINT');
  }
}

/** Lets the host do what it is told, one turn after the other. */
class Settler {
  settle: () => Promise<void> = () => Promise.resolve();
  private wanted = false;
  private turn: Promise<void> | null = null;

  readonly wake = (): void => {
    this.wanted = true;
    this.turn ??= this.turns();
  };
  async idle(): Promise<void> {
    while (this.turn !== null) await this.turn;
  }
  private async turns(): Promise<void> {
    try {
      while (this.wanted) {
        this.wanted = false;
        await this.settle();
      }
    } finally {
      // At once after the last look at what is wanted: a wake in between would be lost.
      this.turn = null;
    }
  }
}
