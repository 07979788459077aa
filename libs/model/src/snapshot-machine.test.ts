import fc from 'fast-check';
import { expect, it } from 'vitest';
import { misfits, plugSizeMiB, type SnapshotMachine, type WantedMachine } from './snapshot-machine.js';

const noNics: SnapshotMachine['nics'] = [];
const oneNic: SnapshotMachine['nics'] = [{ id: 'a' as never, mac: '02:00:00:00:00:01' }];
const noDrives: SnapshotMachine['cdroms'] = [];
const oneDrive: SnapshotMachine['cdroms'] = [{ bus: 'sata', digest: 'sha256:a' as never }];

const had: fc.Arbitrary<SnapshotMachine> = fc
  .record({
    driver: fc.constantFrom('libvirt', 'qemu'),
    accel: fc.constantFrom('kvm' as const, 'tcg' as const),
    vcpus: fc.integer({ min: 1, max: 64 }),
    bootMiB: fc.integer({ min: 64, max: 4096 }),
    plugMiB: fc.constantFrom(0, 128, 512),
    used: fc.integer({ min: 0, max: 64 }),
    cpuModel: fc.constantFrom(null, 'max', 'Skylake-Server'),
    firmware: fc.constantFrom('bios' as const, 'uefi' as const),
    tpm: fc.boolean(),
    hugePages: fc.constantFrom(null, '2MiB' as const),
    vsock: fc.boolean(),
    numaNodes: fc.integer({ min: 1, max: 8 }),
    watchdog: fc.constantFrom(null, 'reset'),
    usbTablet: fc.constantFrom(null, true, false),
    displays: fc.constantFrom(null, 1, 2),
    cdroms: fc.constantFrom(noDrives, oneDrive),
    more: fc.constantFrom(null, 1, 5),
    nics: fc.constantFrom(noNics, oneNic),
  })
  .map(({ used, more, ...machine }) => ({
    ...machine,
    mostVcpus: more === null ? null : machine.vcpus + more,
    requestedMiB: machine.plugMiB === 0 ? 0 : used * 2,
  }));

/** A spec that asks for just that machine. */
const same = (machine: SnapshotMachine): WantedMachine => ({
  ...machine,
  memoryMiB: machine.bootMiB + machine.requestedMiB,
  maxMemoryMiB: machine.plugMiB === 0 ? null : machine.bootMiB + machine.plugMiB,
  maxVcpus: machine.mostVcpus,
  usbTablet: machine.usbTablet ?? true,
  displays: machine.displays ?? 1,
});

it('finds nothing where a machine is asked for as it was, nor where any will do', () => {
  fc.assert(
    fc.property(had, (machine) => {
      expect(misfits(machine, same(machine))).toEqual([]);
      expect(misfits(machine, { ...same(machine), accel: 'any', driver: 'any' })).toEqual([]);
      expect(plugSizeMiB(machine.bootMiB, machine.bootMiB + machine.plugMiB)).toBe(machine.plugMiB);
    }),
  );
});

it('names each field that is another by now, and doing as it says is enough', () => {
  const others: Readonly<Record<string, (m: WantedMachine) => Partial<WantedMachine>>> = {
    vcpus: (m) => ({ vcpus: m.vcpus + 1 }),
    maxVcpus: (m) => ({ maxVcpus: m.vcpus + 9 }),
    memoryMiB: (m) => ({ memoryMiB: m.memoryMiB - 1 }),
    cdroms: () => ({ cdroms: [{ bus: 'sata', digest: null }] }),
    maxMemoryMiB: () => ({ maxMemoryMiB: 2 ** 20 }),
    'cpu/model': () => ({ cpuModel: 'qemu64' }),
    firmware: () => ({ firmware: 'secureBoot' }),
    tpm: (m) => ({ tpm: !m.tpm }),
    hugePages: () => ({ hugePages: '1GiB' }),
    vsock: (m) => ({ vsock: !m.vsock }),
    'numa/nodes': (m) => ({ numaNodes: m.numaNodes === 1 ? 2 : 1 }),
    'watchdog/action': () => ({ watchdog: 'pause' }),
    'placement/accel': (m) => ({ accel: m.accel === 'kvm' ? 'tcg' : 'kvm' }),
    'placement/driver': (m) => ({ driver: m.driver === 'qemu' ? 'libvirt' : 'qemu' }),
    nics: () => ({ nics: [{ id: 'b' as never, mac: '02:00:00:00:00:02' }] }),
  };
  fc.assert(
    fc.property(had, fc.subarray(Object.keys(others)), (machine, fields) => {
      const spec = same(machine);
      const changed = fields.reduce((s, field) => ({ ...s, ...others[field]?.(spec) }), spec);
      const found = misfits(machine, changed);
      expect(found.map(({ field }) => field).sort()).toEqual([...fields].sort());
      for (const { message, remedy } of found) expect(message.length * remedy.length).toBeGreaterThan(0);
      const back = found.reduce(
        (s, { field }) => ({ ...s, ...Object.fromEntries(keysOf(field, spec)) }),
        changed,
      );
      expect(misfits(machine, back)).toEqual([]);
    }),
  );
});

/** The parts of a wanted machine that a field of a spec is. */
function keysOf(field: string, spec: WantedMachine): [string, unknown][] {
  const names: Readonly<Record<string, keyof WantedMachine>> = {
    'cpu/model': 'cpuModel',
    'watchdog/action': 'watchdog',
    'numa/nodes': 'numaNodes',
    'placement/accel': 'accel',
    'placement/driver': 'driver',
  };
  const name = names[field] ?? (field as keyof WantedMachine);
  return [[name, spec[name]]];
}
