import type { DiskActivity, DiskUsage, GuestMemory, VolumeId } from '@berth/model';
import type { TypedValue } from '../libvirt/protocol.js';
import { ROOT_NODE } from '../qemu/machine-parts.js';
import type { QueryBlockstatsResult } from '../qmp/schema.gen.js';
import { dataVolumeOf, isFlash } from './attached-disks.js';

/* What a machine tells of itself beside what its process shows. Pure. */

/** Figures of a machine that runs. */
export interface MachineFigures {
  readonly disks: readonly DiskFigures[];
  /** Null when it has no balloon, or its guest never told. */
  readonly guest: GuestMemory | null;
}

/** `volumeId` is null for the root disk, and absent for a disk that is no volume of its user's: a seed, a kernel's root. */
export type DiskFigures = Omit<DiskUsage, 'volumeId'> & { readonly volumeId?: VolumeId | null };

/** A counter as JSON can carry it. */
const counter = (n: number): number => Math.min(Math.max(Math.round(n), 0), Number.MAX_SAFE_INTEGER);
const micros = (ns: number): number => counter(ns / 1000);

/** By QEMU's own word (QMP `query-blockstats`), of a machine of our driver. */
export function disksOfQemu(answer: readonly QueryBlockstatsResult[]): DiskFigures[] {
  return answer.filter((one) => !isFlash(one)).map((one) => ({ ...roleOf(one), ...activityOfQemu(one) }));
}

function roleOf(one: QueryBlockstatsResult): Pick<DiskFigures, 'volumeId'> {
  if (one['node-name'] === ROOT_NODE) return { volumeId: null };
  const data = dataVolumeOf(one);
  return data === null ? {} : { volumeId: data.volumeId };
}

function activityOfQemu({ stats }: QueryBlockstatsResult): Omit<DiskFigures, 'volumeId'> {
  return {
    readBytes: counter(stats.rd_bytes),
    writtenBytes: counter(stats.wr_bytes),
    reads: counter(stats.rd_operations),
    writes: counter(stats.wr_operations),
    flushes: counter(stats.flush_operations),
    readMicros: micros(stats.rd_total_time_ns),
    writeMicros: micros(stats.wr_total_time_ns),
    flushMicros: micros(stats.flush_total_time_ns),
    failedReads: counter(stats.failed_rd_operations),
    failedWrites: counter(stats.failed_wr_operations),
    failedFlushes: counter(stats.failed_flush_operations),
  };
}

/**
 * By libvirt's figures of a domain (virConnectGetAllDomainStats, group `block`). Which operations failed is not among them. A disk
 * of which it knows no counters, since another job has the domain, is left out.
 * @param roles which volume stands behind each of libvirt's names of disks, null for the root disk
 */
export function disksOfLibvirt(
  stats: ReadonlyMap<string, TypedValue>,
  roles: ReadonlyMap<string, VolumeId | null>,
): DiskFigures[] {
  const count = Number(stats.get('block.count') ?? 0);
  const disks: DiskFigures[] = [];
  for (let i = 0; i < count; i++) {
    const of = (name: string): number | undefined => {
      const value = stats.get(`block.${i}.${name}`);
      return value === undefined ? undefined : Number(value);
    };
    if (of('rd.reqs') === undefined) continue;
    const role = roles.get(String(stats.get(`block.${i}.name`)));
    disks.push({
      ...(role === undefined ? {} : { volumeId: role }),
      readBytes: counter(of('rd.bytes') ?? 0),
      writtenBytes: counter(of('wr.bytes') ?? 0),
      reads: counter(of('rd.reqs') ?? 0),
      writes: counter(of('wr.reqs') ?? 0),
      flushes: counter(of('fl.reqs') ?? 0),
      readMicros: micros(of('rd.times') ?? 0),
      writeMicros: micros(of('wr.times') ?? 0),
      flushMicros: micros(of('fl.times') ?? 0),
    });
  }
  return disks;
}

/** All disks together; what one of them does not tell is not told. */
export function disksTogether(disks: readonly DiskFigures[]): DiskActivity {
  const sum = (of: (disk: DiskFigures) => number): number => counter(disks.reduce((n, d) => n + of(d), 0));
  const known = disks.every((d) => d.failedReads !== undefined);
  return {
    reads: sum((d) => d.reads),
    writes: sum((d) => d.writes),
    flushes: sum((d) => d.flushes),
    readMicros: sum((d) => d.readMicros),
    writeMicros: sum((d) => d.writeMicros),
    flushMicros: sum((d) => d.flushMicros),
    ...(known && {
      failedReads: sum((d) => d.failedReads ?? 0),
      failedWrites: sum((d) => d.failedWrites ?? 0),
      failedFlushes: sum((d) => d.failedFlushes ?? 0),
    }),
  };
}
