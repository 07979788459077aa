import { randomUUID } from 'node:crypto';
import {
  Capabilities,
  type HostId,
  InstanceSpec,
  type InstanceId,
  layerDiskMiB,
  microvmMemoryMiB,
  resourcesOf,
} from '@berth/model';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decide, judge } from './decide.js';
import { filters, freeOf, refusalOf } from './filters.js';
import type { HostSnapshot, PlacementRequest, Policy, Snapshot } from './snapshot.js';

const digest = `sha256:${'1'.repeat(64)}`;

const capabilities = Capabilities.parse({
  arch: 'x86_64',
  cpus: 4,
  memoryMiB: 8192,
  diskMiB: 100_000,
  kernel: '6.1',
  cgroup: 'v2',
  isolation: { vm: { ok: true, drivers: ['libvirt'] }, container: { ok: true, drivers: ['oci'] } },
  accel: { kvm: { verdict: 'unmeasured', reason: 'measured: not yet' }, tcg: true },
  cpu: {
    vendor: 'GenuineIntel',
    model: 'x',
    virtualisation: 'vmx',
    secondLevelPaging: 'ept',
    nested: false,
    kvmDevice: true,
  },
  publishedPorts: { first: 1024, last: 32_767, held: ['tcp/7070'] },
  facets: [],
  tenantBoundary: false,
  versions: {},
});

function host(over: Partial<HostSnapshot> = {}): HostSnapshot {
  return {
    id: randomUUID() as HostId,
    name: 'h',
    labels: {},
    state: 'ready',
    schedulable: true,
    capabilities,
    capacity: { cpuMillis: 4000, memoryMiB: 8192, diskMiB: 100_000 },
    used: { cpuMillis: 0, memoryMiB: 0, diskMiB: 0 },
    instances: 0,
    ports: [],
    images: [],
    ...over,
  };
}

function request(
  spec: Partial<Parameters<typeof InstanceSpec.parse>[0] & object> = {},
  over: Partial<PlacementRequest> = {},
): PlacementRequest {
  const parsed = InstanceSpec.parse({ isolation: 'container', image: 'busybox', memoryMiB: 64, ...spec });
  return {
    instanceId: randomUUID() as InstanceId,
    spec: parsed,
    resources: resourcesOf(parsed),
    imageDigest: digest,
    project: 'shop',
    ipv6: false,
    waitsFor: null,
    volumeHost: null,
    ...over,
  };
}

const publishing = (...hostPorts: number[]) => ({
  nics: [{ ports: hostPorts.map((hostPort) => ({ hostPort, guestPort: 80 })) }],
});

const spread: Policy = { strategy: 'spread', seed: 's' };
const snap = (...hosts: HostSnapshot[]): Snapshot => ({ id: 'snap', hosts });

describe('each filter refuses with what it needs and what there is', () => {
  const cases: [string, HostSnapshot, PlacementRequest, { need: string; have: string }][] = [
    ['ready', host({ state: 'silent' }), request(), { need: 'ready', have: 'silent' }],
    ['schedulable', host({ schedulable: false }), request(), { need: 'schedulable', have: 'unschedulable' }],
    ['arch', host(), request({ placement: { arch: 'aarch64' } }), { need: 'aarch64', have: 'x86_64' }],
    [
      'isolation',
      host(),
      request({ isolation: 'microvm', memoryMiB: 96 }),
      { need: 'microvm', have: 'vm, container' },
    ],
    [
      'driver',
      host(),
      request({ isolation: 'vm', placement: { driver: 'qemu' } }),
      { need: 'qemu', have: 'libvirt' },
    ],
    [
      'accel',
      host(),
      request({ isolation: 'vm', placement: { accel: 'kvm' } }),
      { need: 'kvm usable', have: 'kvm unmeasured' },
    ],
    [
      'firmware',
      host(),
      request({ isolation: 'vm', firmware: { type: 'uefi' } }),
      { need: 'uefi', have: 'bios' },
    ],
    [
      'firmware',
      host({ capabilities: { ...capabilities, facets: ['uefi'] } }),
      request({ isolation: 'vm', firmware: { type: 'uefi', secureBoot: true } }),
      { need: 'secureBoot', have: 'bios, uefi' },
    ],
    ['devices', host(), request({ isolation: 'vm', tpm: true }), { need: 'tpm', have: 'no tpm' }],
    [
      'devices',
      host(),
      request({ isolation: 'container', process: { init: true } }),
      { need: 'init', have: 'no init' },
    ],
    [
      'devices',
      host({
        capabilities: {
          ...capabilities,
          isolation: { vm: { ok: true, drivers: ['qemu'] } },
          facets: ['display', 'tpm'],
        },
      }),
      request({ isolation: 'vm', tpm: true, displays: 2, placement: { driver: 'qemu' } }),
      { need: 'several displays', have: 'one display' },
    ],
    [
      'devices',
      host({ capabilities: { ...capabilities, devices: ['kvm', 'tun'] } }),
      request({ devices: ['tun', 'fuse'] }),
      { need: 'devices fuse', have: 'kvm, tun' },
    ],
    ['devices', host(), request({ devices: ['fuse'] }), { need: 'devices fuse', have: 'none' }],
    [
      'hostPaths',
      host({
        capabilities: {
          ...capabilities,
          hostPaths: [
            { name: 'data', readOnly: true },
            { name: 'spool', readOnly: false },
            { name: 'theirs', readOnly: true, projects: ['bank'] },
          ],
        },
      }),
      request({
        hostPaths: [
          { name: 'data', path: '/data', readOnly: false },
          { name: 'spool', path: '/spool', readOnly: false },
          { name: 'theirs', path: '/theirs' },
        ],
      }),
      { need: 'host paths data to write, theirs', have: 'data, spool to write' },
    ],
    [
      'hostPaths',
      host(),
      request({ hostPaths: [{ name: 'data', path: '/data' }] }),
      { need: 'host paths data', have: 'none' },
    ],
    ['devices', host(), request({ system: true }), { need: 'system containers', have: 'none' }],
    ['devices', host(), request({ dns: { search: [] } }), { need: 'dns', have: "its networks' own" }],
    [
      'devices',
      host({ capabilities: { ...capabilities, facets: ['security'] } }),
      request({ security: { nesting: true } }),
      { need: 'nesting', have: 'no nesting' },
    ],
    [
      'resources',
      host({ capabilities: { ...capabilities, facets: ['resources'], processors: '0-1' } }),
      request({ resources: { cpus: '0,3' } }),
      { need: 'processors 0,3', have: '0-1' },
    ],
    [
      'hugePages',
      host({ capabilities: { ...capabilities, hugePages: { '2MiB': 64, '1GiB': 0 } } }),
      request({ isolation: 'vm', hugePages: '2MiB', memoryMiB: 66 }),
      { need: '66 MiB in pages of 2MiB', have: '64 MiB' },
    ],
    [
      'numa',
      host({
        capabilities: {
          ...capabilities,
          facets: ['numa'],
          numa: [
            { id: 0, cpus: [0, 1], memoryMiB: 1024, distances: [10, 20] },
            { id: 1, cpus: [], memoryMiB: 4096, distances: [20, 10] },
          ],
        },
      }),
      request({ isolation: 'vm', vcpus: 2, memoryMiB: 1000, numa: { nodes: 1, placement: 'bind' } }),
      {
        need: '1 × 1000 MiB, 2 cpus, each in one node',
        have: 'node 0: 960 MiB, 2 cpus; node 1: 3840 MiB, 0 cpus',
      },
    ],
    [
      'numa',
      host({ capabilities: { ...capabilities, facets: ['numa'] } }),
      request({ isolation: 'vm', numa: { nodes: 1, placement: 'bind' } }),
      { need: '1 × 64 MiB, 1 cpus, each in one node', have: 'no nodes' },
    ],
    [
      'cpuModel',
      host({ capabilities: { ...capabilities, cpuModels: { tcg: ['Conroe', 'Nehalem'], kvm: ['EPYC'] } } }),
      request({ isolation: 'vm', cpu: { model: 'EPYC' } }),
      { need: 'EPYC', have: 'Conroe, Nehalem' },
    ],
    [
      'cpuModel',
      host({
        capabilities: {
          ...capabilities,
          accel: { kvm: { verdict: 'usable', reason: '' }, tcg: true },
          cpuModels: { tcg: ['Conroe'], kvm: ['EPYC'] },
        },
      }),
      request({ isolation: 'vm', cpu: { model: 'Conroe' } }),
      { need: 'Conroe', have: 'EPYC' },
    ],
    ['cpuModel', host(), request({ isolation: 'vm', cpu: { model: 'max' } }), { need: 'max', have: 'none' }],
    [
      'labels',
      host({ labels: { zone: 'a' } }),
      request({ placement: { selector: { zone: 'b' } } }),
      { need: 'zone=b', have: 'zone=a' },
    ],
    [
      'volume',
      host(),
      request({}, { volumeHost: { id: randomUUID() as HostId, name: 'other' } }),
      { need: 'volume on h', have: 'volume on other' },
    ],
    ['ipv6', host(), request({}, { ipv6: true }), { need: 'ipv6', have: 'no ipv6' }],
    [
      'ports',
      host({ ports: ['tcp/8080'] }),
      request(publishing(8081, 8080)),
      { need: 'tcp/8080 free', have: 'tcp/8080 taken' },
    ],
    ['ports', host(), request(publishing(7070)), { need: 'tcp/7070 free', have: 'tcp/7070 in use' }],
    ['ports', host(), request(publishing(80)), { need: 'tcp/80 free', have: '1024-32767' }],
    [
      'ports',
      host({ capabilities: Capabilities.parse({ ...capabilities, publishedPorts: undefined }) }),
      request(publishing(8080)),
      { need: 'tcp/8080 free', have: 'none' },
    ],
    [
      'cpu',
      host({ used: { cpuMillis: 3950, memoryMiB: 0, diskMiB: 0 } }),
      request(),
      { need: '100 millis', have: '50 millis' },
    ],
    [
      'memory',
      host({ used: { cpuMillis: 0, memoryMiB: 8190, diskMiB: 0 } }),
      request(),
      { need: '64 MiB', have: '2 MiB' },
    ],
    [
      'disk',
      host({ used: { cpuMillis: 0, memoryMiB: 0, diskMiB: 99_999 } }),
      request(),
      { need: '1024 MiB', have: '1 MiB' },
    ],
    [
      'dependencies',
      host(),
      request({}, { waitsFor: { need: 'db ready', have: 'starting', message: 'waits until db is ready' } }),
      { need: 'db ready', have: 'starting' },
    ],
  ];
  it.each(cases)('%s', (filter, h, r, expected) => {
    expect(refusalOf(h, r)).toMatchObject({ filter, ...expected });
  });

  it('has a case for every filter', () => {
    expect([...new Set(cases.map((c) => c[0]))]).toEqual(filters.map((f) => f.name));
  });
});

describe('the score', () => {
  const busy = host({ name: 'busy', used: { cpuMillis: 2000, memoryMiB: 4000, diskMiB: 0 } });
  const idle = host({ name: 'idle' });
  it('spreads to the emptier host', () =>
    expect(decide(snap(busy, idle), request(), spread).host).toBe('idle'));
  it('packs onto the fuller host', () =>
    expect(decide(snap(idle, busy), request(), { ...spread, strategy: 'pack' }).host).toBe('busy'));
  it('prefers a host that holds the image, between equals', () => {
    const holder = host({ name: 'holder', images: [digest] });
    expect(decide(snap(idle, holder), request(), spread).host).toBe('holder');
  });
});

it('a start does not need room for a disk that is booked already', () => {
  const full = host({ name: 'full', used: { cpuMillis: 0, memoryMiB: 0, diskMiB: 100_000 } });
  expect(
    judge(
      full,
      request(
        {},
        {
          volumeHost: { id: full.id, name: 'full' },
          resources: { cpuMillis: 100, memoryMiB: 64, diskMiB: 0 },
        },
      ),
      spread,
    ).fits,
  ).toBe(true);
});

const anyHost: fc.Arbitrary<HostSnapshot> = fc
  .record({
    id: fc.uuid(),
    cpu: fc.integer({ min: 0, max: 8000 }),
    mem: fc.integer({ min: 0, max: 16_384 }),
    disk: fc.integer({ min: 0, max: 200_000 }),
    usedCpu: fc.integer({ min: 0, max: 8000 }),
    usedMem: fc.integer({ min: 0, max: 16_384 }),
    usedDisk: fc.integer({ min: 0, max: 200_000 }),
    state: fc.constantFrom('new', 'ready', 'ready', 'ready', 'silent'),
    schedulable: fc.boolean(),
    holds: fc.boolean(),
    zone: fc.constantFrom('a', 'b'),
  })
  .map((r) =>
    host({
      id: r.id as HostId,
      name: `h${r.id.slice(0, 6)}`,
      state: r.state as HostSnapshot['state'],
      schedulable: r.schedulable,
      labels: { zone: r.zone },
      capacity: { cpuMillis: r.cpu, memoryMiB: r.mem, diskMiB: r.disk },
      used: { cpuMillis: r.usedCpu, memoryMiB: r.usedMem, diskMiB: r.usedDisk },
      images: r.holds ? [digest] : [],
    }),
  );
const anyRequest: fc.Arbitrary<PlacementRequest> = fc
  .record({
    isolation: fc.constantFrom('vm', 'container', 'microvm'),
    memoryMiB: fc.integer({ min: microvmMemoryMiB, max: 16_384 }),
    cpuMillis: fc.integer({ min: 10, max: 8000 }),
    zone: fc.option(fc.constantFrom('a', 'b')),
    sizeMiB: fc.integer({ min: layerDiskMiB, max: 100_000 }),
  })
  .map((r) =>
    request({
      isolation: r.isolation,
      memoryMiB: r.memoryMiB,
      cpuMillis: r.cpuMillis,
      rootDisk: { sizeMiB: r.sizeMiB },
      placement: { selector: r.zone === null ? {} : { zone: r.zone } },
    }),
  );
const anyPolicy: fc.Arbitrary<Policy> = fc.record({
  strategy: fc.constantFrom('spread', 'pack'),
  seed: fc.string(),
});

describe('for any hosts and any request', () => {
  it('never chooses a host that a filter refused, nor one without room', () => {
    fc.assert(
      fc.property(fc.array(anyHost, { maxLength: 80 }), anyRequest, anyPolicy, (hosts, r, policy) => {
        const d = decide({ id: 's', hosts }, r, policy);
        if (d.hostId === null) return hosts.every((h) => refusalOf(h, r) !== null);
        const h = hosts.find((x) => x.id === d.hostId);
        if (h === undefined) return false;
        const free = freeOf(h);
        return (
          refusalOf(h, r) === null &&
          free.cpuMillis >= r.resources.cpuMillis &&
          free.memoryMiB >= r.resources.memoryMiB &&
          free.diskMiB >= r.resources.diskMiB
        );
      }),
      { numRuns: 500 },
    );
  });

  it('gives the same answer for the same seed, whatever the order of the hosts', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(anyHost, { maxLength: 20, selector: (h) => h.id }),
        anyRequest,
        anyPolicy,
        (hosts, r, policy) => {
          const a = decide({ id: 's', hosts }, r, policy);
          const b = decide({ id: 's', hosts: [...hosts].reverse() }, r, policy);
          expect(b.hostId).toBe(a.hostId);
          expect(decide({ id: 's', hosts }, r, policy)).toEqual(a);
        },
      ),
    );
  });

  it('never goes over capacity when it places many in a row', () => {
    fc.assert(
      fc.property(
        fc.array(anyHost, { minLength: 1, maxLength: 5 }),
        fc.array(anyRequest, { maxLength: 40 }),
        anyPolicy,
        (hosts, requests, policy) => {
          let now = hosts.map((h) => ({ ...h, used: { cpuMillis: 0, memoryMiB: 0, diskMiB: 0 } }));
          for (const r of requests) {
            const d = decide({ id: 's', hosts: now }, r, policy);
            now = now.map((h) =>
              h.id === d.hostId
                ? {
                    ...h,
                    used: {
                      cpuMillis: h.used.cpuMillis + r.resources.cpuMillis,
                      memoryMiB: h.used.memoryMiB + r.resources.memoryMiB,
                      diskMiB: h.used.diskMiB + r.resources.diskMiB,
                    },
                  }
                : h,
            );
          }
          for (const h of now) {
            const free = freeOf(h);
            expect(Math.min(free.cpuMillis, free.memoryMiB, free.diskMiB)).toBeGreaterThanOrEqual(0);
          }
        },
      ),
    );
  });

  it('accounts for every host: chosen, best or refused, with numbers', () => {
    fc.assert(
      fc.property(fc.array(anyHost, { maxLength: 80 }), anyRequest, anyPolicy, (hosts, r, policy) => {
        const d = decide({ id: 's', hosts }, r, policy);
        const refused = d.rejected.reduce((n, x) => n + x.hosts, 0);
        expect(refused).toBe(hosts.filter((h) => refusalOf(h, r) !== null).length);
        expect(d.verdicts === null).toBe(hosts.length > 64);
        expect(d.best.length + d.nearest.length).toBeLessThanOrEqual(10);
      }),
    );
  });
});
