import { expect, it } from 'vitest';
import { firmwareFacet, firmwareKind, type FirmwareKind, FirmwareSpec } from './firmware.js';
import { InstanceSpec } from './instance.js';
import { fieldChanges } from './spec-change.js';

const vm = { isolation: 'vm', image: 'disk', memoryMiB: 64 };
const refusals = (spec: object): [string, string][] =>
  (InstanceSpec.safeParse(spec).error?.issues ?? []).map((i) => [i.path.join('.'), i.message]);

it('secure boot needs UEFI, UEFI needs memory, and a container has no firmware', () => {
  expect(refusals({ ...vm, firmware: { type: 'uefi', secureBoot: true } })).toEqual([]);
  expect(refusals({ ...vm, firmware: { type: 'bios', secureBoot: true } })).toEqual([
    ['firmware.secureBoot', expect.stringContaining('uefi')],
  ]);
  expect(refusals({ ...vm, memoryMiB: 63, firmware: { type: 'uefi' } })).toEqual([
    ['memoryMiB', expect.stringContaining('64 MiB')],
  ]);
  expect(refusals({ ...vm, memoryMiB: 63, firmware: { type: 'bios' } })).toEqual([]);
  expect(refusals({ ...vm, isolation: 'container', firmware: { type: 'bios' } })).toEqual([
    ['firmware', expect.stringContaining('isolation vm')],
  ]);
  const huge = { ...vm, memoryMiB: 1025, hugePages: '2MiB' };
  expect(refusals(huge)).toEqual([['memoryMiB', expect.stringContaining('multiple of 2')]]);
  expect(refusals({ ...huge, memoryMiB: 1024, maxMemoryMiB: 2048 })).toEqual([
    ['maxMemoryMiB', expect.stringContaining('leave one out')],
  ]);
  expect(refusals({ ...huge, memoryMiB: 3072, hugePages: '1GiB' })).toEqual([]);
  expect(refusals({ ...huge, memoryMiB: 1024, isolation: 'microvm' })).toEqual([
    ['hugePages', expect.stringContaining('leave it out')],
  ]);
  const two = { ...vm, vcpus: 2, memoryMiB: 1024, numa: { nodes: 2 } };
  expect(refusals(two)).toEqual([]);
  expect(refusals({ ...two, vcpus: 3, memoryMiB: 1025 })).toEqual([
    ['vcpus', expect.stringContaining('multiple of 2, for the 2 nodes of numa.nodes')],
    ['memoryMiB', expect.stringContaining('multiple of 2')],
  ]);
  expect(refusals({ ...two, memoryMiB: 1026, hugePages: '2MiB' })).toEqual([
    ['memoryMiB', expect.stringContaining('multiple of 4')],
  ]);
  expect(refusals({ ...two, maxVcpus: 4, maxMemoryMiB: 2048 })).toEqual([
    ['maxVcpus', expect.stringContaining('leave one out')],
    ['maxMemoryMiB', expect.stringContaining('leave one out')],
  ]);
  expect(refusals({ ...two, numa: { placement: 'bind' }, maxVcpus: 4, maxMemoryMiB: 2048 })).toEqual([]);
  expect(refusals({ ...two, numa: { nodes: 9, placement: 'near' } }).map(([path]) => path)).toEqual([
    'numa.nodes',
    'numa.placement',
  ]);
  for (const isolation of ['container', 'microvm']) {
    expect(refusals({ ...vm, memoryMiB: 96, isolation, numa: {} })).toEqual([
      ['numa', expect.stringContaining('leave it out')],
    ]);
    expect(refusals({ ...vm, memoryMiB: 96, isolation, vsock: true })).toEqual([
      ['vsock', expect.stringContaining('leave it out')],
    ]);
    expect(refusals({ ...vm, memoryMiB: 96, isolation, usbTablet: false })).toEqual([
      ['usbTablet', expect.stringContaining('no display')],
    ]);
  }
  for (const isolation of ['container', 'microvm'])
    expect(refusals({ ...vm, memoryMiB: 96, isolation, displays: 1 })).toEqual([
      ['displays', expect.stringContaining('no display')],
    ]);
  for (const driver of ['any', 'libvirt'])
    expect(refusals({ ...vm, displays: 2, placement: { driver } })).toEqual([
      ['displays', expect.stringContaining('placement.driver qemu')],
    ]);
  expect(refusals({ ...vm, displays: 4, placement: { driver: 'qemu' } })).toEqual([]);
  expect(refusals({ ...vm, displays: 1 })).toEqual([]);
  expect(refusals({ ...vm, displays: 5, placement: { driver: 'qemu' } }).map(([path]) => path)).toEqual([
    'displays',
  ]);
  expect(refusals({ ...vm, isolation: 'container', tpm: true })).toEqual([
    ['tpm', expect.stringContaining('isolation vm')],
  ]);
});

it('is one of three kinds, of which every host has one', () => {
  const kind = (spec?: object): FirmwareKind =>
    firmwareKind(spec === undefined ? undefined : FirmwareSpec.parse(spec));
  expect([kind(), kind({ type: 'bios' })]).toEqual(['bios', 'bios']);
  expect(kind({ type: 'uefi' })).toBe('uefi');
  expect(kind({ type: 'uefi', secureBoot: true })).toBe('secureBoot');
  expect((['bios', 'uefi', 'secureBoot'] as const).map(firmwareFacet)).toEqual([null, 'uefi', 'secureBoot']);
});

it('is kept by a run as it began', () => {
  const spec = (change: object): InstanceSpec => InstanceSpec.parse({ ...vm, ...change });
  const changes = fieldChanges(
    { spec: spec({ firmware: { type: 'uefi' } }), labels: {} },
    { spec: spec({ firmware: { type: 'uefi', secureBoot: true } }), labels: {} },
  );
  expect(changes).toEqual([
    { path: '/spec/firmware/secureBoot', effect: 'nextStart', from: false, to: true },
  ]);
});

it('a processor is a name, and the host’s own only under KVM', () => {
  const cpu = (model: string, accel = 'any') => refusals({ ...vm, cpu: { model }, placement: { accel } });
  expect([cpu('Nehalem'), cpu('max', 'kvm'), cpu('host-passthrough', 'kvm')]).toEqual([[], [], []]);
  expect(cpu('host-passthrough')).toEqual([['cpu.model', expect.stringContaining('accel kvm')]]);
  for (const bad of ['host', 'base', 'max,+vmx', ''])
    expect(cpu(bad)).toEqual([['cpu.model', expect.any(String)]]);
  expect(refusals({ ...vm, isolation: 'container', cpu: { model: 'max' } })).toEqual([
    ['cpu', expect.stringContaining('isolation vm')],
  ]);
});
