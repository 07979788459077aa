import type { VcpuPlug } from '../machine/machine-spec.js';
import type { ExecuteOptions, QmpExecutor } from '../qmp/commands.js';

/** The virtual processors of a machine that runs. */
export interface VcpusSeen {
  /** What its guest booted with: no command takes them away. */
  readonly boot: number;
  /** With those that were plugged in. */
  readonly now: number;
  /** All places that it has. */
  readonly most: number;
}

/** What was plugged in has a name, and what the machine was made with has none (QOM). */
export const PLUGGED = /^\/machine\/peripheral\//;

/** By QEMU's own word, whichever driver started it (QMP `query-hotpluggable-cpus`). */
export async function vcpusSeen(qmp: QmpExecutor, bounds: ExecuteOptions): Promise<VcpusSeen> {
  const seen = { boot: 0, now: 0, most: 0 };
  for (const place of await qmp.execute('query-hotpluggable-cpus', undefined, bounds)) {
    const count = place['vcpus-count'];
    const path = place['qom-path'];
    seen.most += count;
    if (path !== undefined) seen.now += count;
    if (path !== undefined && !PLUGGED.test(path)) seen.boot += count;
  }
  return seen;
}

/** The same as a machine is made with it. */
export const vcpuPlugOf = ({ boot, now, most }: VcpusSeen): VcpuPlug | null =>
  most === boot ? null : { most, plugged: now - boot };
