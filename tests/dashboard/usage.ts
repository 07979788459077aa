import type { UsageAnswer } from '@berth/link';
import type { InstanceId } from '@berth/model';

const everySeconds = 15;
const MiB = 1024 ** 2;

/** What a host would have measured of one instance in the hour before `now` (milliseconds): a day's waves, made short. */
export function hourOfUsage(instanceId: InstanceId, now: number): UsageAnswer {
  const count = 3600 / everySeconds - 1;
  let work = 0;
  const samples = Array.from({ length: count }, (_, i) => {
    const wave = 1 + Math.sin(i / 14) * 0.6 + Math.sin(i / 3) * 0.2;
    work += wave * everySeconds;
    const sum = (perSecond: number): number => Math.round(work * perSecond);
    return {
      at: now - (count - 1 - i) * everySeconds * 1000,
      host: {
        cpuMicros: sum(900_000),
        memoryBytes: Math.round((2200 + wave * 300) * MiB),
        diskBytes: Math.round((6000 + i) * MiB),
      },
      instances: [
        {
          instanceId,
          epoch: 1,
          cpuMicros: sum(40_000),
          memoryBytes: Math.round((60 + wave * 8) * MiB),
          blockReadBytes: sum(3000),
          blockWriteBytes: sum(24_000),
          receivedBytes: sum(80_000),
          sentBytes: sum(310_000),
          guest: {
            ageMs: 5_000,
            sizeBytes: 120 * MiB,
            availableBytes: Math.round((80 - wave * 12) * MiB),
          },
          receivedPackets: sum(60),
          sentPackets: sum(220),
          operations: {
            reads: sum(4),
            writes: sum(20),
            flushes: sum(3),
            readMicros: sum(4 * 250),
            writeMicros: sum(20 * 900),
            flushMicros: sum(3 * 4000),
          },
        },
      ],
    };
  });
  return { now, samples, more: false };
}
