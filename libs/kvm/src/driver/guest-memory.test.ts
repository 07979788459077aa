import { GuestMemory, guestUsedBytes, staleGuestMs } from '@berth/model';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { wantsPeriod } from '../machine/balloon-period.js';
import { parsed } from '../machine/metadata.js';
import { guestMemoryOfLibvirt, guestMemoryOfQemu } from './guest-memory.js';

const KIB = 1024;
/** As QEMU writes what a guest does not tell: -1 without its sign. */
const NOT_TOLD = 2 ** 64 - 1;

const qemu = {
  'last-update': 1_700_000_000,
  stats: {
    'stat-total-memory': 500 * KIB,
    'stat-free-memory': 100 * KIB,
    'stat-available-memory': 300 * KIB,
    'stat-disk-caches': 150 * KIB,
    'stat-swap-in': 0,
    'stat-swap-out': NOT_TOLD,
    'stat-major-faults': 7,
    'stat-minor-faults': 8000,
    'stat-htlb-pgalloc': 0,
    'stat-htlb-pgfail': 0,
  },
};
const libvirt = new Map<string, number | bigint>([
  ['balloon.current', 512n],
  ['balloon.maximum', 512n],
  ['balloon.last-update', 1_700_000_000n],
  ['balloon.available', 500n],
  ['balloon.unused', 100n],
  ['balloon.usable', 300n],
  ['balloon.disk_caches', 150n],
  ['balloon.swap_in', 0n],
  ['balloon.major_fault', 7n],
  ['balloon.minor_fault', 8000n],
  ['balloon.rss', 9n],
]);
const told = {
  ageMs: 4_000,
  sizeBytes: 500 * KIB,
  freeBytes: 100 * KIB,
  availableBytes: 300 * KIB,
  cacheBytes: 150 * KIB,
  swapInBytes: 0,
  majorFaults: 7,
  minorFaults: 8000,
};
const now = 1_700_000_004_000;

describe('what a guest tells by its balloon', () => {
  it('is the same by either way, and what it does not tell is absent', () => {
    expect(guestMemoryOfQemu(qemu, now)).toEqual(told);
    expect(guestMemoryOfLibvirt(libvirt, now)).toEqual(told);
  });

  it('is nothing before it told, and never from the future', () => {
    expect(guestMemoryOfQemu({ ...qemu, 'last-update': 0 }, now)).toBeNull();
    expect(guestMemoryOfLibvirt(new Map([['balloon.current', 512n]]), now)).toBeNull();
    expect(guestMemoryOfQemu(qemu, now - 60_000)?.ageMs).toBe(0);
  });

  it('is true of now only while it is new', () => {
    expect(guestUsedBytes(told)).toBe(200 * KIB);
    expect(guestUsedBytes({ ...told, ageMs: staleGuestMs })).toBe(200 * KIB);
    expect(guestUsedBytes({ ...told, ageMs: staleGuestMs + 1 })).toBeNull();
    expect(guestUsedBytes({ ageMs: 0, sizeBytes: 1 })).toBeNull();
    expect(guestUsedBytes({ ageMs: 0, sizeBytes: 1, availableBytes: 2 })).toBe(0);
    expect(guestUsedBytes(undefined)).toBeNull();
  });

  it('fits the link whatever a guest makes of it', () => {
    const any = fc.oneof(fc.anything(), fc.double(), fc.maxSafeNat());
    const stats = fc.dictionary(fc.constantFrom(...Object.keys(qemu.stats)), any);
    const answers = fc.oneof(fc.anything(), fc.record({ 'last-update': any, stats: fc.oneof(stats, any) }));
    fc.assert(
      fc.property(answers, fc.maxSafeNat(), (answer, at) => {
        const read = guestMemoryOfQemu(answer, at);
        if (read !== null) GuestMemory.parse(read);
      }),
    );
    const values = fc.oneof(
      fc.bigInt({ min: -1n, max: 2n ** 64n - 1n }),
      fc.string(),
      fc.double(),
      fc.boolean(),
    );
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...libvirt.keys()), values), (all) => {
        const read = guestMemoryOfLibvirt(new Map(Object.entries(all)), now);
        if (read !== null) GuestMemory.parse(read);
      }),
    );
  });
});

it('a balloon is told its period once, and a domain without one never', () => {
  const domain = (balloon: string) => parsed(`<domain><devices>${balloon}</devices></domain>`);
  expect(wantsPeriod(domain("<memballoon model='virtio'><alias name='balloon0'/></memballoon>"))).toBe(true);
  expect(wantsPeriod(domain("<memballoon model='virtio'><stats period='10'/></memballoon>"))).toBe(false);
  expect(wantsPeriod(domain("<memballoon model='none'/>"))).toBe(false);
  expect(wantsPeriod(domain(''))).toBe(false);
});
