import { processUsage } from '@berth/linux';
import type { Usage } from '@berth/model';
import type { WorkloadKey } from '@berth/runtime';
import type { Machine, MachineDriver } from './machine-driver.js';

/** What every machine that runs has used. One that ends meanwhile is left out. */
export async function machinesUsage<M extends Machine>(
  driver: MachineDriver<M>,
): Promise<(WorkloadKey & Usage)[]> {
  const running = (await driver.list()).filter((machine) => machine.power !== null);
  const all = await Promise.all(running.map((machine) => usageOf(driver, machine)));
  return all.filter((usage) => usage !== null);
}

/** Of the QEMU process; what its guest does not use of its memory was never resident. Null when it ended meanwhile. */
async function usageOf<M extends Machine>(
  driver: MachineDriver<M>,
  machine: M,
): Promise<(WorkloadKey & Usage) | null> {
  const pid = await driver.pid(machine);
  const used = pid === null ? null : await processUsage(pid);
  const block = await driver.blockBytes(machine);
  if (used === null || block === null) return null;
  const { instanceId, epoch } = machine;
  return { instanceId, epoch, ...used, blockReadBytes: block.read, blockWriteBytes: block.write };
}
