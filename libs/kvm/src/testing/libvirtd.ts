import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  writeFileSync,
  openSync,
  closeSync,
  readFileSync,
  readdirSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { libvirtdConfig, qemuConfig, renderConfig, virtlogdConfig } from '../libvirt/daemon-config.js';
import { LibvirtClient } from '../libvirt/client.js';

/** A libvirtd of one test's own. */
export interface TestLibvirtd {
  /** Its read-write socket, reachable from outside its mount namespace. */
  readonly socket: string;
  readonly dir: string;
  /** Pid of libvirtd itself. */
  daemon(): number;
  /** Kills libvirtd only, as a crash would, and starts it again. */
  restart(): Promise<void>;
  /** Destroys what domains are left, ends both daemons by pid, and removes the directory. */
  stop(): Promise<void>;
}

/** What libvirtd found out about QEMU (10 s of work); kept beside the build, it checks itself against the binaries. */
const sharedCache = fileURLToPath(new URL('../../../../.berth/libvirt-cache', import.meta.url));

const READY_MS = 20_000;
/** A pid namespace too: its init takes up the zombies of QEMU at once, which libvirtd waits for. */
const namespaces = ['--mount', '--propagation', 'private', '--pid', '--fork', '--kill-child', '--mount-proc'];

/** Directories libvirt insists on, and where each one's private copy lies below the test's directory. */
const bound: Readonly<Record<string, string>> = {
  '/etc/libvirt': 'etc',
  '/var/lib/libvirt': 'lib',
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
  const log = openSync(join(dir, 'daemons.log'), 'a');
  const script = join(import.meta.dirname, 'libvirtd-init.bash');
  const binds = Object.entries(bound).map(([at, name]) => `${join(dir, name)}:${at}`);
  const again = join(dir, 'again');
  mkdirSync(sharedCache, { recursive: true });
  binds.push(`${sharedCache}:/var/cache/libvirt`, ...kvmNode(dir));
  const init = spawn('unshare', [...namespaces, '/bin/bash', script, again, ...binds], {
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
    init.stdin?.write('again\n');
    await appears(again);
    await answers(socket, init, dir);
  };
  return { socket, dir, daemon: () => daemonOf(socket), restart, stop };
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

/**
 * `/dev/kvm` as udev makes it. Where only root may open it, libvirt probes QEMU with it, finds that QEMU's account may
 * not, takes what it learned for outdated and probes again at every look: a define then takes 20 s.
 */
function kvmNode(dir: string): string[] {
  if (!existsSync('/dev/kvm')) return [];
  const node = join(dir, 'kvm');
  const { rdev } = statSync('/dev/kvm');
  execFileSync('mknod', ['-m', '0660', node, 'c', String((rdev >> 8) & 0xfff), String(rdev & 0xff)]);
  execFileSync('chgrp', ['kvm', node]);
  return [`${node}:/dev/kvm`];
}

/** The libvirtd that sees this socket as its own. */
function daemonOf(socket: string): number {
  const { ino } = statSync(socket);
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      if (!readFileSync(`/proc/${pid}/cmdline`, 'utf8').startsWith('libvirtd\0')) continue;
      if (statSync(`/proc/${pid}/root/run/libvirt/libvirt-sock`).ino === ino) return Number(pid);
    } catch {
      // Ended meanwhile, or has no such socket.
    }
  }
  throw new Error('libvirtd is not found');
}

async function appears(path: string): Promise<void> {
  for (const end = Date.now() + READY_MS; !existsSync(path);) {
    if (Date.now() > end) throw new Error(`${path} did not appear`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  rmSync(path);
}

async function answers(socket: string, init: ChildProcess, dir: string): Promise<void> {
  const end = Date.now() + READY_MS;
  for (;;) {
    const client = new LibvirtClient({ socketPath: socket, connectTimeoutMs: 1_000, callTimeoutMs: 5_000 });
    try {
      await client.connect();
      // It needs the other daemon for the output of each domain, and does not wait for it.
      if (!existsSync(join(dir, 'run', 'virtlogd-sock'))) throw new Error('virtlogd does not listen yet');
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
