import type { MemoryPlug } from '../machine/machine-spec.js';
import type { ExecuteOptions, QmpExecutor } from '../qmp/commands.js';

const MIB = 2 ** 20;

/** The device by which a machine that runs grows, and what its guest uses of it. */
export interface PlugSeen extends MemoryPlug {
  readonly usedMiB: number;
}

/** By QEMU's own word, whichever driver started it (QMP `query-memory-devices`); null of one that cannot grow. */
export async function plugSeen(qmp: QmpExecutor, bounds: ExecuteOptions): Promise<PlugSeen | null> {
  for (const device of await qmp.execute('query-memory-devices', undefined, bounds)) {
    if (device.type !== 'virtio-mem') continue;
    const { size, 'max-size': max, 'requested-size': requested } = device.data;
    return { sizeMiB: max / MIB, requestedMiB: requested / MIB, usedMiB: size / MIB };
  }
  return null;
}

/** The same as a machine is made with it. */
export async function plugOf(qmp: QmpExecutor, bounds: ExecuteOptions): Promise<MemoryPlug | null> {
  const seen = await plugSeen(qmp, bounds);
  return seen === null ? null : { sizeMiB: seen.sizeMiB, requestedMiB: seen.requestedMiB };
}
