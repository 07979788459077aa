import { createHash } from 'node:crypto';
import { spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  isAlive,
  processIdentity,
  run,
  signalProcess,
  writeFileAtomic,
  type ProcessIdentity,
} from '@berth/linux';
import { groupsRemove } from './cgroup-tree.js';
import { labEnter, type HostContext } from './host.js';
import type { Paths } from './paths.js';
import { sleep } from './wait.js';

const enterCgroup = fileURLToPath(new URL('../libexec/enter-cgroup', import.meta.url));

/** Directories of libvirt that each host has for itself; bound over the defaults inside the host. */
const libvirtDirs = ['/etc/libvirt', '/var/lib/libvirt', '/var/cache/libvirt', '/var/log/libvirt'];

/** A further host on the same machine: own mount, uts, ipc, net and cgroup namespaces, held by one sleeping process. */
export interface LabHost extends HostContext {
  readonly number: number;
  readonly identity: ProcessIdentity;
}

/** Tells the lab hosts of several Berths on one machine apart. */
function rootHash(root: string): Buffer {
  return createHash('sha256').update(root).digest();
}

/**
 * The /30 between the machine and lab host `number` (from 2): link-local, so that no real network is shadowed. The third
 * byte comes from the root, so that two Berths side by side rarely meet.
 */
export function labAddresses(root: string, number: number): { machine: string; host: string } {
  const base = 4 * (number - 2);
  if (number < 2 || base + 2 > 254) throw new RangeError(`lab hosts are numbered 2 to 65, not ${number}`);
  const third = 1 + (rootHash(root).readUInt8(0) % 254);
  return { machine: `169.254.${third}.${base + 1}`, host: `169.254.${third}.${base + 2}` };
}

const labName = (root: string, number: number): string =>
  `${rootHash(root).toString('hex').slice(0, 6)}-${number}`;
const cgroupName = (root: string, number: number): string => `berth-lab-${labName(root, number)}`;

/** Directories of cgroup hierarchies in which a lab host gets a group of its own: v1 controllers, or the v2 root. */
export function cgroupDirs(mountinfo: string): { mount: string; type: string; options: string }[] {
  return mountinfo
    .split('\n')
    .map((line) => /^\S+ \S+ \S+ \S+ (\S+) .* - (cgroup2?) \S+ (\S+)$/.exec(line))
    .filter((m) => m !== null)
    .map((m) => ({ mount: m[1]!, type: m[2]!, options: m[3]! }))
    .filter((m) => m.mount.startsWith('/sys/fs/cgroup'));
}

interface OwnCgroup {
  readonly mount: string;
  readonly type: string;
  readonly options: string;
  /** Root of the host's cgroup namespace. */
  readonly dir: string;
  /** Where its processes are put: v2 lets no group with controllers hold processes itself. */
  readonly entry: string;
}

const ownCgroups = (root: string, number: number): OwnCgroup[] =>
  cgroupDirs(readFileSync('/proc/self/mountinfo', 'utf8')).map((m) => {
    const dir = join(m.mount, cgroupName(root, number));
    return { ...m, dir, entry: m.type === 'cgroup2' ? join(dir, 'init') : dir };
  });

const recordFile = (paths: Paths, number: number): string => join(paths.components, `lab-${number}.json`);

/** Makes lab host `number`, or finds the one that is there. */
export async function labEnsure(
  paths: Paths,
  machineName: string,
  number: number,
  linkPort: number,
): Promise<LabHost> {
  const root = join(paths.state, 'hosts', `host-${number}`);
  const found = await labFind(paths, number);
  const identity = found ?? (await labMake(paths, root, number, `${machineName}-${number}`));
  if (found !== null && !(await linkStands(paths.root, number)))
    await labConnect(paths.root, number, identity.pid);
  const cgroups = ownCgroups(paths.root, number).map((c) => c.entry);
  return {
    number,
    identity,
    name: `${machineName}-${number}`,
    root,
    link: `${labAddresses(paths.root, number).machine}:${linkPort}`,
    prefix: `host-${number}`,
    holderPid: identity.pid,
    enter: (command, args) => labEnter(identity.pid, cgroups, command, args),
  };
}

async function labFind(paths: Paths, number: number): Promise<ProcessIdentity | null> {
  const file = recordFile(paths, number);
  if (!existsSync(file)) return null;
  const { identity } = JSON.parse(readFileSync(file, 'utf8')) as { identity: ProcessIdentity };
  return isAlive(identity) ? identity : null;
}

async function labMake(paths: Paths, root: string, number: number, name: string): Promise<ProcessIdentity> {
  const cgroups = ownCgroups(paths.root, number);
  try {
    for (const c of cgroups) {
      mkdirSync(c.dir, { recursive: true });
      if (c.options.split(',').includes('cpuset')) cpusetInherit(c.mount, c.dir);
    }
    const identity = await holderStart(cgroups.map((c) => c.dir));
    for (const c of cgroups.filter((g) => g.entry !== g.dir)) {
      mkdirSync(c.entry, { recursive: true });
      writeFileSync(join(c.entry, 'cgroup.procs'), String(identity.pid));
    }
    await labFurnish(root, name, identity.pid, cgroups);
    await labConnect(paths.root, number, identity.pid);
    mkdirSync(paths.components, { recursive: true, mode: 0o750 });
    await writeFileAtomic(recordFile(paths, number), `${JSON.stringify({ identity })}\n`, { mode: 0o640 });
    return identity;
  } catch (error) {
    // The holder is in these groups too.
    await groupsRemove(cgroups.map((c) => c.dir));
    throw error;
  }
}

/** A v1 cpuset group refuses processes until it has processors and memory nodes. */
function cpusetInherit(mount: string, dir: string): void {
  for (const file of ['cpuset.cpus', 'cpuset.mems'])
    if (existsSync(join(dir, file)) && readFileSync(join(dir, file), 'utf8').trim() === '')
      writeFileSync(join(dir, file), readFileSync(join(mount, file), 'utf8'));
}

async function holderStart(cgroups: readonly string[]): Promise<ProcessIdentity> {
  const namespaces = ['--mount', '--uts', '--ipc', '--net', '--cgroup'];
  const child = spawn(enterCgroup, [...cgroups, '--', 'unshare', ...namespaces, '--', 'sleep', 'infinity'], {
    detached: true,
    stdio: 'ignore',
  });
  let failure: string | null = null;
  child.once('error', (error) => (failure = error.message));
  child.once('exit', (code, signal) => (failure ??= `it ended (${code ?? signal})`));
  child.unref();
  const deadline = Date.now() + 10_000;
  for (;;) {
    if (failure !== null) throw new Error(`cannot make the namespaces of a lab host: ${failure}`);
    if (child.pid !== undefined && commandOf(child.pid).startsWith('sleep')) {
      const identity = processIdentity(child.pid);
      if (identity !== null) return identity;
    }
    if (Date.now() > deadline) throw new Error('the namespaces of a lab host did not come up within 10 s');
    await sleep(5);
  }
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}

/** Own /run, host name, libvirt directories and cgroup views. */
async function labFurnish(
  root: string,
  name: string,
  pid: number,
  cgroups: readonly { mount: string; type: string; options: string }[],
): Promise<void> {
  const inside = (command: string, ...args: string[]): ReturnType<typeof run> =>
    run(
      'nsenter',
      ['--target', String(pid), '--mount', '--uts', '--ipc', '--net', '--cgroup', '--', command, ...args],
      {
        timeoutMs: 10_000,
      },
    );
  await inside('hostname', name);
  await inside('ip', 'link', 'set', 'lo', 'up');
  await inside('sysctl', '-q', '-w', 'net.ipv4.ip_forward=1');
  await inside('mount', '-t', 'tmpfs', '-o', 'mode=0755,size=256m', 'tmpfs', '/run');
  await inside('mkdir', '-p', '/run/lock', '/run/libvirt', '/run/netns');
  await inside('mount', '-t', 'sysfs', 'sysfs', '/sys');
  await inside('mount', '-t', 'tmpfs', '-o', 'mode=0755,size=16m', 'tmpfs', '/sys/fs/cgroup');
  for (const c of [...cgroups].sort((a, b) => a.mount.length - b.mount.length)) {
    if (c.mount !== '/sys/fs/cgroup') await inside('mkdir', '-p', c.mount);
    const options = c.options.split(',').filter((o) => o !== 'rw' && o !== 'ro');
    await inside(
      'mount',
      '-t',
      c.type,
      ...(options.length === 0 ? [] : ['-o', options.join(',')]),
      'cgroup',
      c.mount,
    );
  }
  for (const dir of libvirtDirs) {
    const own = join(root, 'libvirt', dir);
    if (!existsSync(own)) {
      mkdirSync(dirname(own), { recursive: true, mode: 0o711 });
      // The configuration, not the machine's own domains and networks.
      if (dir === '/etc/libvirt')
        cpSync(dir, own, {
          recursive: true,
          filter: (path) => !/\/(qemu|autostart)\/[^/]+\.xml$/.test(path),
        });
      else directoriesLike(dir, own, 2);
    }
    await inside('mkdir', '-p', dir);
    await inside('mount', '--bind', own, dir);
  }
}

/** The same directories with the same owners and modes, without what is in them. */
function directoriesLike(source: string, target: string, depth: number): void {
  mkdirSync(target, { recursive: true });
  if (!existsSync(source)) return;
  const { uid, gid, mode } = statSync(source);
  chownSync(target, uid, gid);
  chmodSync(target, mode & 0o7777);
  if (depth === 0) return;
  for (const entry of readdirSync(source, { withFileTypes: true }))
    if (entry.isDirectory()) directoriesLike(join(source, entry.name), join(target, entry.name), depth - 1);
}

async function linkStands(root: string, number: number): Promise<boolean> {
  const { stdout } = await run('ip', ['-4', '-o', 'addr', 'show']);
  return stdout.includes(` ${labAddresses(root, number).machine}/30 `);
}

/** A routed veth pair between the machine and the host. */
async function labConnect(root: string, number: number, pid: number): Promise<void> {
  const { machine, host } = labAddresses(root, number);
  const outer = `bl${labName(root, number)}`;
  await run('ip', ['link', 'del', outer]).catch(() => undefined);
  await run('ip', ['link', 'add', outer, 'type', 'veth', 'peer', 'name', 'uplink', 'netns', String(pid)]);
  await run('ip', ['addr', 'add', `${machine}/30`, 'dev', outer]);
  await run('ip', ['link', 'set', outer, 'up']);
  const inside = (...args: string[]): ReturnType<typeof run> =>
    run('nsenter', ['--target', String(pid), '--net', '--', 'ip', ...args]);
  await inside('addr', 'add', `${host}/30`, 'dev', 'uplink');
  await inside('link', 'set', 'uplink', 'up');
}

/**
 * Takes a lab host away: its holder (and with it namespaces and links), what still runs in its cgroups, then these. Its
 * files stay. @throws Error naming the processes that do not end
 */
export async function labRemove(paths: Paths, lab: LabHost): Promise<void> {
  signalProcess(lab.identity, 'SIGKILL');
  await groupsRemove(ownCgroups(paths.root, lab.number).map((c) => c.dir));
  rmSync(recordFile(paths, lab.number), { force: true });
}
