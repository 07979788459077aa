import { constants, existsSync, readFileSync, statfsSync } from 'node:fs';
import { access, mkdir, mkdtemp, open, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { cpus, release, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from '@berth/linux';
import type { Config } from '../config.js';
import { controlAsk } from '../control.js';
import { socketAnswers } from '../libvirt.js';
import type { Paths } from '../paths.js';
import { postgresMajorFor, postgresMajors } from '../postgres.js';
import type { Findings } from './findings.js';

const packageList = fileURLToPath(new URL('../../../../tools/packages', import.meta.url));

/** Looks at the machine. Everything a probe makes, it takes away again; nothing is changed. */
export async function probeMachine(paths: Paths, config: Config): Promise<Findings> {
  const trial = await mkdtemp(join(existing(paths.state), '.berth-doctor-'));
  try {
    const [overlayfs, userNamespaces, idmappedMounts, links, tun, nftables, kvm] = await Promise.all([
      attempt(() => overlayTry(trial)),
      attempt(() => run('unshare', ['--user', '--map-root-user', 'true'])),
      attempt(() => idmapTry(trial)),
      attempt(() =>
        inNetns('ip', 'link', 'add', 'b0', 'type', 'bridge').then(() =>
          inNetns('ip', 'link', 'add', 'v0', 'type', 'veth', 'peer', 'name', 'v1'),
        ),
      ),
      attempt(() => opens('/dev/net/tun')),
      attempt(() => inNetns('nft', 'add', 'table', 'inet', 'berth_doctor')),
      attempt(() => opens('/dev/kvm')),
    ]);
    return {
      ...(await machineFacts(paths)),
      ...{ overlayfs, userNamespaces, idmappedMounts, links, tun, nftables, kvm },
      postgres: config.databaseUrl === undefined ? await attempt(() => postgresTry(paths)) : null,
      libvirt: await libvirtState(),
      running: (await controlAsk(paths.controlSocket, 'GET', '/status').catch(() => null)) !== null,
      portsTaken: await portsTaken(config),
    };
  } finally {
    await rm(trial, { recursive: true, force: true });
  }
}

async function machineFacts(paths: Paths) {
  const disk = statfsSync(existing(paths.state));
  const nfCall = read('/proc/sys/net/bridge/bridge-nf-call-iptables');
  const flags = /^(?:flags|Features)\s*:\s*(.*)$/m.exec(read('/proc/cpuinfo') ?? '')?.[1] ?? '';
  return {
    node: process.version,
    uid: process.getuid?.() ?? -1,
    arch: process.arch,
    packagesMissing: await packagesMissing(),
    memoryMiB: Math.floor(totalmem() / 1024 / 1024),
    cpus: cpus().length,
    diskFreeMiB: Math.floor((disk.bavail * disk.bsize) / 1024 / 1024),
    stateDir: existing(paths.state),
    kernel: release(),
    cgroup: cgroupMode(),
    cpuFlags: flags.split(' '),
    ipForward: read('/proc/sys/net/ipv4/ip_forward')?.trim() === '1',
    bridgeNfCall: nfCall === null ? null : nfCall.trim() === '1',
    forwardDrops: await forwardDrops(),
  };
}

function cgroupMode(): Findings['cgroup'] {
  if (existsSync('/sys/fs/cgroup/cgroup.controllers')) return 'v2';
  if (!existsSync('/sys/fs/cgroup/memory')) return 'none';
  return existsSync('/sys/fs/cgroup/unified') ? 'hybrid' : 'v1';
}

async function packagesMissing(): Promise<string[]> {
  const wanted = (read(packageList) ?? '')
    .split('\n')
    .map((l) => l.replace(/#.*/, '').trim())
    .filter((l) => l !== '');
  const format = ['-W', '-f', '${db:Status-Status} ${Package}\n', ...wanted];
  // dpkg-query fails when it does not know a package, and still prints the others.
  const { stdout } = await run('dpkg-query', format).catch((error: { stdout?: string }) => ({
    stdout: error.stdout ?? '',
  }));
  const installed = new Set(
    stdout
      .split('\n')
      .filter((l) => l.startsWith('installed '))
      .map((l) => l.slice(10)),
  );
  return wanted.filter((p) => !installed.has(p));
}

async function overlayTry(dir: string): Promise<void> {
  for (const d of ['lower', 'upper', 'work', 'merged'])
    await mkdir(join(dir, 'overlay', d), { recursive: true });
  const at = (d: string): string => join(dir, 'overlay', d);
  const options = `lowerdir=${at('lower')},upperdir=${at('upper')},workdir=${at('work')}`;
  // In a mount namespace that ends with the command, so nothing stays mounted.
  await run('unshare', ['--mount', 'mount', '-t', 'overlay', '-o', options, 'overlay', at('merged')]);
}

/** mount_setattr with an id map came to overlay's lower layers in Linux 5.19; the version is what tells. */
function idmapTry(_dir: string): Promise<void> {
  const [major = 0, minor = 0] = release().split('.').map(Number);
  if (major > 5 || (major === 5 && minor >= 19)) return Promise.resolve();
  return Promise.reject(new Error(`Linux ${release()} cannot idmap the lower layers of an overlay`));
}

const inNetns = (command: string, ...args: string[]): Promise<unknown> =>
  run('unshare', ['--net', command, ...args]);

async function opens(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDWR);
  await handle.close();
}

async function postgresTry(paths: Paths): Promise<void> {
  const version = read(join(paths.postgresData, 'PG_VERSION'));
  const major = postgresMajorFor(version === null ? null : version.trim(), postgresMajors());
  await access(`/usr/lib/postgresql/${major}/bin/initdb`, constants.X_OK);
}

async function libvirtState(): Promise<Findings['libvirt']> {
  if (await socketAnswers('/run/libvirt/libvirt-sock')) return 'answers';
  return existsSync('/usr/sbin/libvirtd') ? 'absent' : 'notInstalled';
}

async function forwardDrops(): Promise<boolean> {
  const { stdout } = await run('nft', ['list', 'chain', 'ip', 'filter', 'FORWARD']).catch(() => ({
    stdout: '',
  }));
  return stdout.includes('policy drop');
}

async function portsTaken(config: Config): Promise<Findings['portsTaken']> {
  const wanted = [
    { port: config.apiPort, key: 'apiPort' },
    { port: config.linkPort, key: 'linkPort' },
  ];
  const taken = await Promise.all(
    wanted.map(async (p) => {
      const reason = await attempt(() => listenTry(p.port));
      return reason === null ? [] : [{ ...p, reason }];
    }),
  );
  return taken.flat();
}

function listenTry(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => server.close(() => resolve()));
  });
}

/** Null when it works, else the reason in one line. */
async function attempt(work: () => Promise<unknown>): Promise<string | null> {
  try {
    await work();
    return null;
  } catch (error) {
    return (error as Error).message.split('\n')[0]!;
  }
}

function existing(dir: string): string {
  let d = dir;
  while (!existsSync(d)) d = dirname(d);
  return d;
}

function read(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}
