import { readdir, readFile, readlink, stat } from 'node:fs/promises';
import { isAlive, processIdentity, type ProcessIdentity } from '@berth/linux';
import type { VolumeId } from '@berth/model';
import { RuntimeError } from '@berth/runtime';
import { isBelowContainers } from '../qemu/vm-uids.js';

/** Finds the QEMU processes of domains by the UUID on their command line; libvirt's API does not tell the pid. */
export class QemuProcesses {
  readonly #known = new Map<string, ProcessIdentity>();

  /** Pid of the QEMU that runs the machine with this SMBIOS UUID, or null. */
  async find(uuid: string): Promise<number | null> {
    const known = this.#known.get(uuid);
    if (known !== undefined && isAlive(known)) return known.pid;
    this.#known.delete(uuid);
    for (const name of await readdir('/proc')) {
      if (!/^\d+$/.test(name) || !(await this.#runs(name, uuid))) continue;
      const identity = processIdentity(Number(name));
      if (identity === null) continue;
      this.#known.set(uuid, identity);
      return identity.pid;
    }
    return null;
  }

  async #runs(pid: string, uuid: string): Promise<boolean> {
    const args = await argumentsOf(Number(pid));
    const at = args.indexOf('-uuid');
    return at > 0 && args[at + 1] === uuid && /qemu/.test(args[0] ?? '');
  }
}

export async function argumentsOf(pid: number): Promise<string[]> {
  return (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0');
}

/** Pid of a QEMU that has this volume, whichever driver started it; null when none has. */
async function machineWith(volumeId: VolumeId): Promise<number | null> {
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const args = await argumentsOf(Number(name));
    if (!/qemu/.test(args[0] ?? '')) continue;
    // On the command line of one that is only beginning, and of one from which it was taken away since.
    const named = args.some((text) => text.includes(volumeId)) && !(await hasProcessors(name));
    if (!named && !(await hasOpen(name, volumeId))) continue;
    // What a container calls itself says nothing.
    const { uid } = await stat(`/proc/${name}`).catch(() => ({ uid: Infinity }));
    const identity = isBelowContainers(uid) ? processIdentity(Number(name)) : null;
    if (identity !== null && isAlive(identity)) return identity.pid;
  }
  return null;
}

/** Whatever the records say: what a QEMU has open is not changed under it. @throws RuntimeError hostFault */
export async function refuseUsed(
  volumeId: VolumeId,
  options: { readonly remedy?: string } = {},
): Promise<void> {
  const user = await machineWith(volumeId);
  if (user !== null)
    throw new RuntimeError('hostFault', `volume ${volumeId} is in use by QEMU, process ${user}`, options);
}

/**
 * Whether a QEMU has threads for the processors of its machine, which it makes once all disks of its command line are open
 * (qemu_create_early_backends before machine_run_board_init in its softmmu/vl.c). Their names need `-name …,debug-threads=on`.
 */
async function hasProcessors(pid: string): Promise<boolean> {
  const threads = await readdir(`/proc/${pid}/task`).catch(() => []);
  const names = threads.map((tid) => readFile(`/proc/${pid}/task/${tid}/comm`, 'utf8').catch(() => ''));
  return (await Promise.all(names)).some((comm) => /^(CPU \d+|ALL CPUs)\//.test(comm));
}

/** Whether a process has a file open whose path holds this text. One that ends meanwhile has none. */
async function hasOpen(pid: string, text: string): Promise<boolean> {
  const descriptors = await readdir(`/proc/${pid}/fd`).catch(() => []);
  const paths = descriptors.map((fd) => readlink(`/proc/${pid}/fd/${fd}`).catch(() => ''));
  return (await Promise.all(paths)).some((path) => path.includes(text));
}

/** CPU cap that the kernel enforces on a process, thousandths of a processor; null when there is none. */
export async function cpuCapMillis(pid: number): Promise<number | null> {
  for (const line of (await readFile(`/proc/${pid}/cgroup`, 'utf8')).trim().split('\n')) {
    const [, controllers = '', path = '/'] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    const unified = controllers === '';
    if (!unified && !controllers.split(',').includes('cpu')) continue;
    const cap = await smallestCap(unified ? '/sys/fs/cgroup' : '/sys/fs/cgroup/cpu', path, unified);
    if (cap !== null) return cap;
  }
  return null;
}

/** The smallest cap of a cgroup and its ancestors. */
async function smallestCap(mount: string, path: string, unified: boolean): Promise<number | null> {
  let cap: number | null = null;
  for (let at = path; at !== '' && at !== '/'; at = at.slice(0, at.lastIndexOf('/'))) {
    const own = unified ? await unifiedCap(mount + at) : await legacyCap(mount + at);
    if (own !== null) cap = Math.min(cap ?? own, own);
  }
  return cap;
}

async function unifiedCap(dir: string): Promise<number | null> {
  const [quota, period] = (await readFile(`${dir}/cpu.max`, 'utf8').catch(() => 'max 1')).trim().split(' ');
  return quota === 'max' ? null : Math.round((Number(quota) * 1000) / Number(period));
}

async function legacyCap(dir: string): Promise<number | null> {
  const quota = Number(await readFile(`${dir}/cpu.cfs_quota_us`, 'utf8').catch(() => '-1'));
  const period = Number(await readFile(`${dir}/cpu.cfs_period_us`, 'utf8').catch(() => '1'));
  return quota < 0 ? null : Math.round((quota * 1000) / period);
}
