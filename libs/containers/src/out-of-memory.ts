import { type MemoryEnd, outOfMemoryType } from '@berth/model';
import type { Observation } from '@berth/runtime';

const mib = (bytes: number): string => `${Math.round((bytes * 10) / 2 ** 20) / 10} MiB`;

/** `its limit is 32 MiB, and the most that it held was 31.9 MiB`. Pure. */
export function memoryText({ limitBytes, peakBytes }: MemoryEnd): string {
  const limit = limitBytes === null ? 'it has no limit' : `its limit is ${mib(limitBytes)}`;
  return peakBytes === null ? limit : `${limit}, and the most that it held was ${mib(peakBytes)}`;
}

type Conditions = NonNullable<Observation['conditions']>;

/**
 * What is said of a container that runs on without a process that the kernel killed. How many there were is not part of it: a program that is
 * killed again and again would be news every time. Pure.
 */
export function memoryConditions(memory: MemoryEnd | null): Conditions {
  if (memory === null || memory.oomKills === 0) return [];
  return [
    {
      type: outOfMemoryType,
      reason: 'ProcessKilled',
      message: `the kernel killed a process of it for want of memory: ${memoryText(memory)}`,
      remedy:
        'raise memoryMiB, which takes effect at once, or have it use less; restart it if it does not begin again what was killed',
    },
  ];
}
