import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { output } from './berth.js';

const exec = promisify(execFile);
const repository = new URL('../../', import.meta.url).pathname;

/** The sample images, built once and kept. */
export async function samples(): Promise<{ container: string; disk: string }> {
  const dir = join(repository, '.berth/samples');
  await exec(join(repository, 'tools/samples/build'), [dir], { timeout: 240_000 });
  return { container: join(dir, 'busybox.oci.tar'), disk: join(dir, 'tiny.qcow2') };
}

const read = (path: string): string | null => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
};

const pids = (): string[] => readdirSync('/proc').filter((n) => /^\d+$/.test(n));

export interface ContainerInit {
  readonly pid: number;
  /** Its pid in its own namespace. */
  readonly innerPid: number;
  readonly uidMap: { readonly inside: number; readonly outside: number; readonly count: number };
  readonly limits: { readonly memoryBytes: number; readonly cpuMillis: number };
}

/** The first process of the container whose environment holds `variable`, as the host sees it. */
export function containerInit(variable: string): Promise<ContainerInit | undefined> {
  for (const pid of pids()) {
    const inner = /^NSpid:.*\t(\d+)$/m.exec(read(`/proc/${pid}/status`) ?? '')?.[1];
    if (inner !== '1' || !(read(`/proc/${pid}/environ`) ?? '').split('\0').includes(variable)) continue;
    const [inside, outside, count] = (read(`/proc/${pid}/uid_map`) ?? '').trim().split(/\s+/).map(Number);
    return Promise.resolve({
      pid: Number(pid),
      innerPid: Number(inner),
      uidMap: { inside: inside ?? -1, outside: outside ?? -1, count: count ?? -1 },
      limits: limitsOf(pid),
    });
  }
  return Promise.resolve(undefined);
}

/** What the cgroups of a process enforce, v1 or v2. */
function limitsOf(pid: string): { memoryBytes: number; cpuMillis: number } {
  const groups = (read(`/proc/${pid}/cgroup`) ?? '')
    .trim()
    .split('\n')
    .map((l) => l.split(':'));
  const group = (controller: string): string =>
    groups.find((g) => g[1]?.split(',').includes(controller))?.[2] ?? '';
  const v1 = (controller: string, file: string): string | null =>
    read(join('/sys/fs/cgroup', controller, group(controller), file));
  const v2 = (file: string): string | null =>
    read(join('/sys/fs/cgroup', groups.find((g) => g[1] === '')?.[2] ?? '', file));
  const quota = v1('cpu', 'cpu.cfs_quota_us') ?? v2('cpu.max')?.split(' ')[0];
  const period = v1('cpu', 'cpu.cfs_period_us') ?? v2('cpu.max')?.split(' ')[1];
  return {
    memoryBytes: Number(v1('memory', 'memory.limit_in_bytes') ?? v2('memory.max')),
    cpuMillis: Math.round((Number(quota) / Number(period)) * 1000),
  };
}

/** A process in the namespaces of each host of this Berth: the machine itself, and the holder of each lab host. */
function hostProcesses(root: string): string[] {
  const dir = join(root, 'run/berth/components');
  const holders = readdirSync(dir)
    .filter((name) => /^lab-\d+\.json$/.test(name))
    .map((name) => JSON.parse(readFileSync(join(dir, name), 'utf8')) as { identity: { pid: number } });
  return [String(process.pid), ...holders.map((h) => String(h.identity.pid))];
}

/** Command lines of the QEMUs that run the machine of this UUID. */
export function qemuCommands(uuid: string): string[] {
  return pids()
    .map((p) => (read(`/proc/${p}/cmdline`) ?? '').replaceAll('\0', ' '))
    .filter((command) => command.includes(`-uuid ${uuid} `));
}

/** Pids of the QEMUs that run the machine of this UUID. */
export function qemuPids(uuid: string): number[] {
  return pids()
    .filter((p) => (read(`/proc/${p}/cmdline`) ?? '').replaceAll('\0', ' ').includes(`-uuid ${uuid} `))
    .map(Number);
}

function cgroups(): string[] {
  const found: string[] = [];
  const walk = (dir: string): void => {
    for (const entry of readdirSync(dir, { withFileTypes: true })) {
      if (!entry.isDirectory()) continue;
      const path = join(dir, entry.name);
      if (/berth|machine\/qemu/.test(path)) found.push(path);
      walk(path);
    }
  };
  if (existsSync('/sys/fs/cgroup')) walk('/sys/fs/cgroup');
  return found;
}

/** Uid ranges that are still taken. */
function uidRanges(path: string): string[] {
  return Object.keys((JSON.parse(readFileSync(path, 'utf8')) as { ranges: object }).ranges).map(
    (r) => `uid range of ${r}`,
  );
}

function files(root: string): string[] {
  const found: string[] = [];
  const walk = (dir: string): void => {
    for (const entry of readdirSync(dir, { withFileTypes: true })) {
      const path = join(dir, entry.name);
      // Kept on purpose: the database, image content, logs of daemons, and in the agents' journals the highest epoch of
      // each instance that was here (a lower one is refused even after it is gone).
      if (/\/(postgres|blobs|layers|images|log|libvirtd?|supervisor|reports|journal)(\/|$)/.test(path))
        continue;
      if (entry.isDirectory()) walk(path);
      // Measured once per boot in the background, so it may come after the first look.
      else if (['accel.json', 'qemu-answers.json'].includes(entry.name)) continue;
      else if (entry.name === 'uid-ranges.json') found.push(...uidRanges(path));
      else found.push(path.slice(root.length));
    }
  };
  walk(root);
  return found.sort();
}

/** Everything instances could leave behind on the machine, by kind and name. Only what belongs to this Berth counts. */
export async function hostState(root: string): Promise<Record<string, readonly string[]>> {
  const lines = (text: string): string[] => text.split('\n').filter((l) => l !== '');
  const namespaces = hostProcesses(root);
  const inside = async (pid: string, ...args: string[]): Promise<string[]> =>
    lines(await output('nsenter', '--target', pid, '--net', '--mount', '--', ...args).catch(() => ''));
  const each = async (...args: string[]): Promise<string[]> =>
    (await Promise.all(namespaces.map((p) => inside(p, ...args)))).flat().sort();
  const commands = pids().map((p) => (read(`/proc/${p}/cmdline`) ?? '').replaceAll('\0', ' '));
  return {
    links: (await each('ip', '-br', 'link')).map((l) => l.split(/[\s@]/)[0] ?? '').filter((n) => n !== ''),
    nft: await each('nft', 'list', 'tables'),
    domains: await each('virsh', 'list', '--all', '--name'),
    mounts: (await each('cat', '/proc/self/mountinfo'))
      .map((l) => l.split(' ')[4] ?? '')
      .filter((m) => m.startsWith(root))
      .sort(),
    cgroups: cgroups().sort(),
    processes: commands
      .filter((c) => c.includes(root) && /qemu|conmon|runc|dnsmasq/.test(c))
      .map((c) => c.split(' ')[0] ?? '')
      .sort(),
    files: files(root),
  };
}
