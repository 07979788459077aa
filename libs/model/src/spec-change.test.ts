import fc from 'fast-check';
import { expect, it } from 'vitest';
import { InstanceSpec } from './instance.js';
import { sizeFields, sizesNow, sizesOf } from './sizes.js';
import { fieldChanges } from './spec-change.js';

const spec = (change: object): InstanceSpec =>
  InstanceSpec.parse({ isolation: 'vm', image: 'disk', memoryMiB: 64, ...change });
const changes = (was: object, wanted: object, labels = {}) =>
  fieldChanges({ spec: spec(was), labels: {} }, { spec: spec(wanted), labels });

it('names each field with its values and when it takes effect', () => {
  const nic = { network: 'back', ports: [{ hostPort: 8080, guestPort: 80 }] };
  expect(
    changes(
      { rootDisk: { sizeMiB: 64 }, nics: [{ network: 'default' }, { network: 'back' }] },
      {
        memoryMiB: 128,
        rootDisk: { sizeMiB: 128 },
        nics: [{ network: 'default' }, nic],
        placement: { driver: 'qemu' },
        volumes: [{ name: 'data' }],
      },
      { 'app/tier': 'web' },
    ),
  ).toEqual([
    { path: '/labels/app~1tier', effect: 'now', from: null, to: 'web' },
    { path: '/spec/memoryMiB', effect: 'nextStart', from: 64, to: 128 },
    { path: '/spec/nics/1/ports', effect: 'now', from: null, to: [{ ...nic.ports[0], protocol: 'tcp' }] },
    { path: '/spec/placement/driver', effect: 'nextStart', from: 'any', to: 'qemu' },
    { path: '/spec/rootDisk/sizeMiB', effect: 'now', from: 64, to: 128 },
    { path: '/spec/volumes', effect: 'now', from: [], to: [expect.objectContaining({ name: 'data' })] },
  ]);
});

it('limits a nic while it runs', () => {
  const nics = (limits: object) => ({ nics: [{ network: 'default', limits }] });
  expect(changes(nics({ ingressMbps: 10 }), nics({ ingressMbps: 20, egressMbps: 5 }))).toMatchObject([
    { path: '/spec/nics/0/limits/egressMbps', effect: 'now', from: null, to: 5 },
    { path: '/spec/nics/0/limits/ingressMbps', effect: 'now', from: 10, to: 20 },
  ]);
});

it('changes what is in a drive while it runs, and drives at the next start, each by its place', () => {
  const sata = { bus: 'sata', bootFirst: false, force: false };
  const [a, b] = [{ image: 'a' }, { image: 'b', force: true }];
  expect(changes({ cdroms: [a] }, { cdroms: [b, a] })).toEqual([
    { path: '/spec/cdroms/0/force', effect: 'now', from: false, to: true },
    { path: '/spec/cdroms/0/image', effect: 'now', from: 'a', to: 'b' },
    { path: '/spec/cdroms/1', effect: 'nextStart', from: null, to: { ...sata, image: 'a' } },
  ]);
  expect(changes({ cdroms: [a, {}] }, { cdroms: [{ bus: 'scsi', bootFirst: true }] })).toMatchObject([
    { path: '/spec/cdroms/0/bootFirst', effect: 'nextStart' },
    { path: '/spec/cdroms/0/bus', effect: 'nextStart' },
    { path: '/spec/cdroms/0/image', effect: 'now', from: 'a', to: null },
    { path: '/spec/cdroms/1', effect: 'nextStart', to: null },
  ]);
  expect(changes({}, { cdroms: [a] })).toMatchObject([{ path: '/spec/cdroms', effect: 'nextStart' }]);
  for (const isolation of ['microvm', 'container'])
    expect(
      InstanceSpec.safeParse({ isolation, image: 'web', memoryMiB: 128, cdroms: [a] }).error?.issues,
    ).toMatchObject([{ path: ['cdroms'] }]);
});

it('lets nics come to a machine that runs and leave it, but for the address of one that stays', () => {
  const nics = [{ network: 'default' }, { network: 'back' }];
  expect(changes({ nics }, { nics: nics.slice(1) })).toMatchObject([{ path: '/spec/nics', effect: 'now' }]);
  expect(changes({ nics }, { nics: [nics[0], { network: 'other' }] })).toMatchObject([
    { path: '/spec/nics/1/network', effect: 'now', from: 'back', to: 'other' },
  ]);
  const at = (address: string, network = 'back') => ({ nics: [nics[0], { network, address }] });
  expect(changes(at('10.0.0.2'), at('10.0.0.3'))).toMatchObject([
    { path: '/spec/nics/1/address', effect: 'nextStart' },
  ]);
  expect(changes(at('10.0.0.2'), at('10.0.0.3', 'other'))).toMatchObject([
    { path: '/spec/nics/1/address', effect: 'now' },
    { path: '/spec/nics/1/network', effect: 'now' },
  ]);
  const container = { isolation: 'container', image: 'web' };
  expect(changes({ ...container, nics }, { ...container, nics: nics.slice(1) })).toMatchObject([
    { path: '/spec/nics', effect: 'nextStart' },
  ]);
});

it('changes sizes while it runs where its isolation can', () => {
  const sizes = { cpuMillis: 500, memoryMiB: 128 };
  const container = { isolation: 'container', image: 'web' };
  expect(changes({ ...container, memoryMiB: 64 }, { ...container, ...sizes })).toMatchObject([
    { path: '/spec/cpuMillis', effect: 'now', from: null, to: 500 },
    { path: '/spec/memoryMiB', effect: 'now', from: 64, to: 128 },
  ]);
  expect(changes({}, { ...sizes, vcpus: 2 })).toMatchObject([
    { path: '/spec/cpuMillis', effect: 'now' },
    { path: '/spec/memoryMiB', effect: 'nextStart' },
    { path: '/spec/vcpus', effect: 'nextStart' },
  ]);
});

it('changes the memory of a machine within what it began with and its maximum, whatever its spec says since', () => {
  const has = { vcpus: 1, cpuMillis: null, memoryMiB: 96, minMemoryMiB: 64, maxMemoryMiB: 256 };
  const effect = (was: object, wanted: object) =>
    fieldChanges({ spec: spec(was), labels: {} }, { spec: spec(wanted), labels: {} }, has).map((c) => [
      c.path,
      c.effect,
    ]);
  const max = { maxMemoryMiB: 256 };
  expect(effect({ ...max, memoryMiB: 96 }, { ...max, memoryMiB: 64 })).toEqual([['/spec/memoryMiB', 'now']]);
  expect(effect({ ...max, memoryMiB: 96 }, { ...max, memoryMiB: 256 })).toEqual([['/spec/memoryMiB', 'now']]);
  expect(effect({ ...max, memoryMiB: 96 }, { ...max, memoryMiB: 63 })).toEqual([
    ['/spec/memoryMiB', 'nextStart'],
  ]);
  // A maximum that was asked for since counts with the next start.
  const higher = { maxMemoryMiB: 512 };
  expect(effect({ ...max, memoryMiB: 96 }, { ...higher, memoryMiB: 300 })).toEqual([
    ['/spec/maxMemoryMiB', 'nextStart'],
    ['/spec/memoryMiB', 'nextStart'],
  ]);
  expect(effect({ ...higher, memoryMiB: 300 }, { ...higher, memoryMiB: 200 })).toEqual([
    ['/spec/memoryMiB', 'now'],
  ]);
});

it('changes the processors of a machine within those it began with and its maximum', () => {
  const has = { vcpus: 3, minVcpus: 2, maxVcpus: 4, cpuMillis: null, memoryMiB: 64 };
  const effect = (vcpus: number, max = 4) =>
    fieldChanges(
      { spec: spec({ vcpus: 3, maxVcpus: 4, memoryMiB: 64 }), labels: {} },
      { spec: spec({ vcpus, maxVcpus: max, memoryMiB: 64 }), labels: {} },
      has,
    ).map((c) => [c.path, c.effect]);
  expect(effect(4)).toEqual([['/spec/vcpus', 'now']]);
  expect(effect(2)).toEqual([['/spec/vcpus', 'now']]);
  expect(effect(1)).toEqual([['/spec/vcpus', 'nextStart']]);
  expect(effect(6, 8)).toEqual([
    ['/spec/maxVcpus', 'nextStart'],
    ['/spec/vcpus', 'nextStart'],
  ]);
});

it('says now of exactly the sizes that an epoch is to have at once', () => {
  const some = fc.record({
    isolation: fc.constantFrom('vm' as const, 'container' as const),
    cpuMillis: fc.option(fc.integer({ min: 10, max: 4000 }), { nil: undefined }),
    memoryMiB: fc.integer({ min: 4, max: 64 }),
    vcpus: fc.integer({ min: 1, max: 4 }),
    moreMiB: fc.option(fc.integer({ min: 0, max: 64 }), { nil: undefined }),
    moreVcpus: fc.option(fc.integer({ min: 0, max: 4 }), { nil: undefined }),
  });
  fc.assert(
    fc.property(some, some, ({ isolation, ...was }, { isolation: _, ...wanted }) => {
      const of = ({ vcpus, moreMiB, moreVcpus, ...rest }: typeof was) =>
        spec({
          isolation,
          ...rest,
          ...(isolation === 'vm'
            ? {
                vcpus,
                maxVcpus: moreVcpus === undefined ? undefined : vcpus + moreVcpus,
                maxMemoryMiB: moreMiB === undefined ? undefined : rest.memoryMiB + moreMiB,
              }
            : {}),
        });
      const [before, after] = [of(was), of(wanted)];
      const has = sizesOf(before);
      const now = sizesNow(has, after);
      const said = fieldChanges({ spec: before, labels: {} }, { spec: after, labels: {} });
      for (const field of sizeFields) {
        const effect = said.find(({ path }) => path === `/spec/${field}`)?.effect;
        expect(effect).toBe(
          has[field] === sizesOf(after)[field] ? undefined : now[field] === has[field] ? 'nextStart' : 'now',
        );
      }
    }),
  );
});

it('finds nothing in what is the same, whatever the order of its keys', () => {
  const turned = (value: unknown): unknown =>
    typeof value !== 'object' || value === null
      ? value
      : Array.isArray(value)
        ? value.map(turned)
        : Object.fromEntries(
            Object.entries(value)
              .reverse()
              .map(([k, v]) => [k, turned(v)]),
          );
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (env) => {
      const one = { spec: { isolation: 'vm', env } as unknown as InstanceSpec, labels: {} };
      expect(fieldChanges(one, turned(one) as typeof one)).toEqual([]);
    }),
  );
});
