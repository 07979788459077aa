import { spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync, openSync, closeSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { libvirtdConfig, qemuConfig, renderConfig, virtlogdConfig } from '../libvirt/daemon-config.js';
import { LibvirtClient } from '../libvirt/client.js';

/** A libvirtd of one test's own. */
export interface TestLibvirtd {
  /** Its read-write socket, reachable from outside its mount namespace. */
  readonly socket: string;
  readonly dir: string;
  /** Kills libvirtd only, as a crash would, and starts it again. */
  restart(): Promise<void>;
  /** Destroys what domains are left, ends both daemons by pid, and removes the directory. */
  stop(): Promise<void>;
}

const READY_MS = 20_000;

/** Directories libvirt insists on, and where each one's private copy lies below the test's directory. */
const bound: Readonly<Record<string, string>> = {
  '/etc/libvirt': 'etc',
  '/var/lib/libvirt': 'lib',
  '/var/cache/libvirt': 'cache',
  '/var/log/libvirt': 'log',
  '/run/libvirt': 'run',
};

/**
 * Starts virtlogd and libvirtd in a mount namespace of their own, with private directories bound over libvirt's fixed
 * ones. The domains of one are invisible to any other libvirtd of this machine.
 */
export async function startLibvirtd(options: { dir?: string } = {}): Promise<TestLibvirtd> {
  const dir = options.dir ?? mkdtempSync(join(tmpdir(), 'berth-libvirt-'));
  prepareDirectories(dir);
  const script = namespaceScript(dir);
  const log = openSync(join(dir, 'daemons.log'), 'a');
  const init = spawn('unshare', ['--mount', '--propagation', 'private', '/bin/sh', '-e', script], {
    stdio: ['pipe', log, log],
  });
  closeSync(log);
  const socket = join(dir, 'run', 'libvirt-sock');
  const stop = async (): Promise<void> => {
    await destroyAll(socket);
    init.stdin?.end();
    await exited(init);
    rmSync(dir, { recursive: true, force: true });
  };
  try {
    await answers(socket, init, dir);
  } catch (error) {
    init.stdin?.end();
    await exited(init);
    throw error;
  }
  const restart = async (): Promise<void> => {
    process.kill(Number(readFileSync(join(dir, 'libvirtd.pid'), 'utf8')), 'SIGKILL');
    init.stdin?.write('again\n');
    await answers(socket, init, dir);
  };
  return { socket, dir, restart, stop };
}

function prepareDirectories(dir: string): void {
  for (const name of Object.values(bound)) mkdirSync(join(dir, name), { recursive: true });
  const write = (path: string, text: string): void => {
    mkdirSync(dirname(join(dir, path)), { recursive: true });
    writeFileSync(join(dir, path), text);
  };
  write('etc/libvirtd.conf', renderConfig(libvirtdConfig({ hostUuid: randomUUID() })));
  write('etc/qemu.conf', renderConfig(qemuConfig()));
  write('etc/virtlogd.conf', renderConfig(virtlogdConfig()));
}

/** Binds, starts the daemons, restarts libvirtd at each line read, and ends both at the end of input. */
function namespaceScript(dir: string): string {
  const binds = Object.entries(bound).map(([at, name]) => `mkdir -p ${at}; mount --bind "$D/${name}" ${at}`);
  const text = [
    `D=${JSON.stringify(dir)}`,
    ...binds,
    'virtlogd --config /etc/libvirt/virtlogd.conf </dev/null & LOGD=$!',
    'start() { libvirtd --config /etc/libvirt/libvirtd.conf </dev/null & VIRTD=$!; echo $VIRTD > "$D/libvirtd.pid"; }',
    'start',
    'while read -r line; do wait $VIRTD || true; start; done',
    'kill $VIRTD || true; wait $VIRTD || true; kill $LOGD || true; wait $LOGD || true',
    '',
  ].join('\n');
  const path = join(dir, 'start.sh');
  writeFileSync(path, text);
  return path;
}

async function answers(socket: string, init: ChildProcess, dir: string): Promise<void> {
  const end = Date.now() + READY_MS;
  for (;;) {
    const client = new LibvirtClient({ socketPath: socket, connectTimeoutMs: 1_000, callTimeoutMs: 5_000 });
    try {
      await client.connect();
      return;
    } catch (error) {
      if (init.exitCode !== null || Date.now() > end) {
        const log = readFileSync(join(dir, 'daemons.log'), 'utf8').slice(-2_000);
        throw new Error(`libvirtd did not come up: ${log}`, { cause: error });
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    } finally {
      client.close();
    }
  }
}

async function destroyAll(socket: string): Promise<void> {
  const client = new LibvirtClient({ socketPath: socket, connectTimeoutMs: 1_000 });
  try {
    for (const domain of await client.list()) {
      if (domain.id >= 0) await client.destroy(domain).catch(() => undefined);
      await client.undefine(domain).catch(() => undefined);
    }
  } catch {
    // The daemon is gone already.
  } finally {
    client.close();
  }
}

function exited(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => child.once('exit', () => resolve()));
}
