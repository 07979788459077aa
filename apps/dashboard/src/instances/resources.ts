import type { Instance } from '../api/client.js';

/** Share and bounds of a container beside its size, in few words; empty where it has the defaults. Pure. */
export function resourcesOf({ resources = {} }: Instance['spec']): string {
  const { pids, cpuWeight, cpus, memoryHighMiB, swapMiB, io = {} } = resources;
  const words: readonly (readonly [value: number | string | undefined, before: string, after: string])[] = [
    [pids, '', ' processes'],
    [cpuWeight, 'cpu weight ', ''],
    [cpus, 'on processors ', ''],
    [memoryHighMiB, 'memory taken back above ', ' MiB'],
    [swapMiB, '', ' MiB swap'],
    [io.readMiBPerSecond, 'reads ', ' MiB/s'],
    [io.writeMiBPerSecond, 'writes ', ' MiB/s'],
    [io.readOperationsPerSecond, '', ' reads/s'],
    [io.writeOperationsPerSecond, '', ' writes/s'],
    [io.weight, 'disk weight ', ''],
  ];
  return words
    .flatMap(([value, before, after]) => (value === undefined ? [] : [`${before}${value}${after}`]))
    .join(', ');
}
