import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

const exec = promisify(execFile);
const startMs = 60_000;

/** Debian's dockerd in mount and process namespaces of its own, with all that it writes in a directory of the test's. */
export class Dockerd {
  private constructor(
    private readonly socket: string,
    private readonly child: ChildProcess,
  ) {}

  /**
   * Resolves when it serves. @param dir of the test; only root can read what is below it @param args further ones
   * @param path directories in which it finds programs first
   */
  static async start(dir: string, args: readonly string[], path = ''): Promise<Dockerd> {
    const own = ['--data-root', `${dir}/data`, '--exec-root', '/run/docker', '--pidfile', '/run/docker.pid'];
    const socket = join(dir, 'docker.sock');
    const fixed = ['--host', `unix://${socket}`, '--storage-driver', 'vfs'];
    const apart = ['--mount', '--pid', '--fork', '--mount-proc', '--kill-child=KILL', '--'];
    // It makes itself a key below /etc and directories below /opt where it has never run before. docker-registry made /etc/docker.
    const hidden = ['/run', '/opt', '/etc/docker'].map((at) => `mount -t tmpfs none ${at}`);
    const inside = [...hidden, 'exec dockerd "$@"'].join(' && ');
    const child = spawn('unshare', [...apart, 'sh', '-c', inside, 'dockerd', ...own, ...fixed, ...args], {
      env: { ...process.env, PATH: `${path}:${process.env['PATH'] ?? ''}` },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const docker = new Dockerd(socket, child);
    let said = '';
    const serves = new Promise<void>((resolve, reject) => {
      child.stderr.on('data', (chunk: Buffer) => {
        said += chunk.toString();
        if (said.includes('API listen on')) resolve();
      });
      child.once('error', reject);
      child.once('exit', (code) => reject(new Error(`dockerd ended with ${code}: ${said}`)));
      AbortSignal.timeout(startMs).addEventListener('abort', () =>
        reject(new Error(`dockerd does not serve: ${said}`)),
      );
    });
    try {
      await serves;
      return docker;
    } catch (error) {
      await docker.stop();
      throw error;
    }
  }

  /** What `docker …` printed. */
  async run(...args: string[]): Promise<string> {
    return (await exec('docker', ['-H', `unix://${this.socket}`, ...args], { timeout: startMs })).stdout;
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    // Its namespace's first process goes with it, and so all that dockerd started.
    this.child.kill('SIGKILL');
    await once(this.child, 'exit');
    groupsRemove();
  }
}

/** dockerd leaves its groups behind. */
function groupsRemove(): void {
  for (const tree of readdirSync('/sys/fs/cgroup')) {
    try {
      rmdirSync(join('/sys/fs/cgroup', tree, 'docker'));
    } catch {
      // Not in this tree, or not made at all.
    }
  }
}
