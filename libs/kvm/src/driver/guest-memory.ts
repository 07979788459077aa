import type { GuestMemory } from '@berth/model';
import type { TypedValue } from '../libvirt/protocol.js';

/* What a guest tells of its memory through its balloon: every so often QEMU asks, and a guest with the driver answers. Pure. */

/** Between two questions of a balloon to its guest, seconds. */
export const BALLOON_SECONDS = 10;

type Told = Omit<GuestMemory, 'ageMs'>;

/** QEMU's names of what a guest told (QOM `guest-stats`), all in bytes or numbers of times. */
const qemuNames = {
  sizeBytes: 'stat-total-memory',
  freeBytes: 'stat-free-memory',
  availableBytes: 'stat-available-memory',
  cacheBytes: 'stat-disk-caches',
  swapInBytes: 'stat-swap-in',
  swapOutBytes: 'stat-swap-out',
  majorFaults: 'stat-major-faults',
  minorFaults: 'stat-minor-faults',
} as const satisfies Record<keyof Told, string>;

/** libvirt's names (group `balloon`), in KiB where they are amounts. What it calls available is all there is. */
const libvirtNames = {
  sizeBytes: 'available',
  freeBytes: 'unused',
  availableBytes: 'usable',
  cacheBytes: 'disk_caches',
  swapInBytes: 'swap_in',
  swapOutBytes: 'swap_out',
  majorFaults: 'major_fault',
  minorFaults: 'minor_fault',
} as const satisfies Record<keyof Told, string>;

/** @param answer QOM `guest-stats` of a balloon @param now milliseconds since the epoch @returns null when its guest never told */
export function guestMemoryOfQemu(answer: unknown, now: number): GuestMemory | null {
  const { stats, 'last-update': last } = Object(answer) as Record<string, unknown>;
  const told = Object(stats) as Record<string, unknown>;
  return guestMemory(last, now, (key) => told[qemuNames[key]]);
}

/** @param stats libvirt's figures of a domain @returns null when its guest never told */
export function guestMemoryOfLibvirt(
  stats: ReadonlyMap<string, TypedValue>,
  now: number,
): GuestMemory | null {
  return guestMemory(stats.get('balloon.last-update'), now, (key) => {
    const value = stats.get(`balloon.${libvirtNames[key]}`);
    return value !== undefined && key.endsWith('Bytes') ? Number(value) * 1024 : value;
  });
}

function guestMemory(last: unknown, now: number, of: (key: keyof Told) => unknown): GuestMemory | null {
  const seconds = Number(last ?? 0);
  if (!Number.isFinite(seconds) || seconds <= 0) return null;
  const told: Partial<Record<keyof Told, number>> = {};
  for (const key of Object.keys(qemuNames) as (keyof Told)[]) {
    const value = of(key);
    const number = value === undefined ? NaN : Number(value);
    // What a guest does not tell is all ones.
    if (Number.isSafeInteger(number) && number >= 0) told[key] = number;
  }
  // A clock that was set back makes no word of the future.
  return { ageMs: Math.min(Math.max(0, Math.round(now - seconds * 1000)), Number.MAX_SAFE_INTEGER), ...told };
}
