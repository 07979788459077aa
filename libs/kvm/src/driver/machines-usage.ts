import { processUsage } from '@berth/linux';
import type { Usage } from '@berth/model';
import type { WorkloadKey } from '@berth/runtime';
import type { Machine, MachineDriver } from './machine-driver.js';
import { disksTogether, type MachineFigures } from './machine-figures.js';

/** A QEMU answers in a millisecond. One that hangs tells nothing of itself, and holds up the others for so long at most. */
const FIGURES_MS = 2_000;

/** What every machine that runs has used, or one of them. One that ends meanwhile is left out. */
export async function machinesUsage<M extends Machine>(
  driver: MachineDriver<M>,
  of?: WorkloadKey,
): Promise<(WorkloadKey & Usage)[]> {
  const found = of === undefined ? await driver.list() : [await driver.find(of)];
  const running = found.filter((machine) => machine !== null && machine.power !== null) as M[];
  const wanted = running.filter((machine) => of === undefined || machine.epoch === of.epoch);
  const all = await Promise.all(wanted.map((machine) => usageOf(driver, machine)));
  return all.filter((usage) => usage !== null);
}

/** Of the QEMU process; what its guest does not use of its memory was never resident. Null when it ended meanwhile. */
async function usageOf<M extends Machine>(
  driver: MachineDriver<M>,
  machine: M,
): Promise<(WorkloadKey & Usage) | null> {
  const figures = machine.guessed === true ? null : await driver.figures(machine, { timeoutMs: FIGURES_MS });
  const pid = await driver.pid(machine);
  // After the figures: a process that is there now did not end before it could tell them.
  const used = pid === null ? null : await processUsage(pid);
  if (used === null) return null;
  const { instanceId, epoch } = machine;
  const guest = figures?.guest ?? null;
  return { instanceId, epoch, ...used, ...diskUsage(figures), ...(guest === null ? {} : { guest }) };
}

function diskUsage(figures: MachineFigures | null): Omit<Usage, 'cpuMicros' | 'memoryBytes'> {
  if (figures === null || figures.disks.length === 0) return { blockReadBytes: null, blockWriteBytes: null };
  const { disks } = figures;
  return {
    blockReadBytes: disks.reduce((sum, disk) => sum + disk.readBytes, 0),
    blockWriteBytes: disks.reduce((sum, disk) => sum + disk.writtenBytes, 0),
    operations: disksTogether(disks),
    disks: disks.flatMap(({ volumeId, ...did }) => (volumeId === undefined ? [] : [{ volumeId, ...did }])),
  };
}
