import { DOMParser } from '@xmldom/xmldom';
import { hugePageMiB, type InstanceId, type NicId, type VolumeId } from '@berth/model';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { machineArguments } from '../qemu/machine-arguments.js';
import { mediumDocument } from './cdrom-xml.js';
import { domainXml, nicXml } from './domain-xml.js';
import { cdromDevice, nicPortsFor, undivided, userAlias, type MachineSpec } from './machine-spec.js';
import { grafted, memorySnapshotXml } from './memory-xml.js';
import { volumeXml } from './volume-xml.js';

/*
 * Machines of any shape, through both writers. What people or the host may choose freely is text at named places; a machine is
 * written twice, once with a mark at each place and once with hostile text, and must differ in nothing but that text.
 */

const uuid = (n: number): string => `00000000-0000-4000-8000-00000000000${n}`;
const size = fc.integer({ min: 1, max: 2 ** 20 });
const switches = fc.boolean();
const rate = fc.option(fc.integer({ min: 1, max: 2 ** 40 }), { nil: undefined });
const limits = fc.record({
  readBytesPerSecond: rate,
  writeBytesPerSecond: rate,
  readOperationsPerSecond: rate,
  writeOperationsPerSecond: rate,
});

/** Everything of a machine that is no text. */
const shapes = fc.record({
  accel: fc.constantFrom('kvm' as const, 'tcg' as const),
  cpuModel: fc.constantFrom(null, 'max', 'Nehalem', 'host-passthrough'),
  machineType: fc.constantFrom('q35', 'pc-q35-7.2'),
  vcpus: fc.integer({ min: 1, max: 8 }),
  more: fc.option(fc.integer({ min: 1, max: 8 })),
  cpuMillis: fc.option(size),
  memoryMiB: fc.integer({ min: 1, max: 512 }),
  plug: fc.option(fc.record({ sizeMiB: size, requestedMiB: size })),
  hugePages: fc.constantFrom(null, ...(Object.keys(hugePageMiB) as (keyof typeof hugePageMiB)[])),
  secureBoot: fc.option(switches),
  tpm: switches,
  baseFormat: fc.constantFrom('qcow2' as const, 'raw' as const),
  cache: fc.constantFrom('none' as const, 'writeback' as const),
  seed: switches,
  volumes: fc.array(
    fc.record({ format: fc.constantFrom('qcow2' as const, 'raw' as const), readOnly: switches, limits }),
    { maxLength: 3 },
  ),
  cdroms: fc.array(
    fc.record({
      bus: fc.constantFrom('sata' as const, 'scsi' as const),
      bootFirst: switches,
      full: switches,
    }),
    { maxLength: 4 },
  ),
  nics: fc.integer({ min: 0, max: 4 }),
  screens: fc.integer({ min: 0, max: 4 }),
  usbTablet: switches,
  vsockCid: fc.option(fc.integer({ min: 3, max: 2 ** 31 })),
  freePageReporting: switches,
  watchdog: fc.constantFrom(null, 'reset' as const, 'poweroff' as const, 'pause' as const, 'none' as const),
  direct: switches,
});
type Shape = typeof shapes extends fc.Arbitrary<infer S> ? S : never;

/** @param text what stands at a place */
function machineOf(shape: Shape, text: (place: string) => string, epoch = 3): MachineSpec {
  const path = (place: string): string => `/${text(place)}`;
  const [display = null, ...moreDisplays] = Array.from({ length: shape.screens }, (_, i) => path(`vnc${i}`));
  const { secureBoot, vcpus, more, cdroms, volumes, hugePages, plug } = shape;
  const small = more === null && plug === null && hugePages === null;
  const direct = {
    ...{ kernel: path('kernel'), initrd: path('initrd'), root: path('root'), config: path('config') },
  };
  return {
    instanceId: uuid(1) as InstanceId,
    epoch,
    title: text('title'),
    hostTag: 'h1',
    uuid: uuid(2),
    accel: shape.accel,
    cpuModel: shape.cpuModel,
    machineType: shape.machineType,
    vcpus,
    vcpuPlug: more === null ? null : { most: vcpus + more, plugged: more - 1 },
    cpuMillis: shape.cpuMillis,
    memoryMiB: shape.memoryMiB,
    plug: hugePages === null ? plug : null,
    hugePages,
    numa: small && shape.memoryMiB % 2 === 0 && vcpus % 2 === 0 ? { nodes: 2, hosts: null } : undivided,
    firmware: secureBoot === null ? null : { code: path('code'), variables: path('variables'), secureBoot },
    tpm: shape.tpm ? { socket: path('tpm'), state: path('state') } : null,
    disk: {
      path: path('disk'),
      base: { path: path('base'), format: shape.baseFormat },
      cache: shape.cache,
    },
    scsi: true,
    volumes: volumes.map((volume, target) => ({
      ...volume,
      limits: JSON.parse(JSON.stringify(volume.limits)) as object,
      volumeId: uuid(3 + target) as VolumeId,
      path: path(`volume${target}`),
      cache: shape.cache,
      target,
    })),
    cdroms: cdroms.map(({ full, ...drive }, i) => ({ ...drive, medium: full ? path(`medium${i}`) : null })),
    seedPath: shape.seed ? path('seed') : null,
    nics: Array.from({ length: shape.nics }, (_, port) => ({
      id: uuid(6 + port) as NicId,
      mac: `52:54:00:00:00:0${port}`,
      tap: `bt-${port}`,
      port,
    })),
    nicPorts: nicPortsFor(shape.nics),
    display,
    moreDisplays,
    usbTablet: shape.usbTablet,
    vsockCid: shape.vsockCid,
    freePageReporting: shape.freePageReporting,
    watchdog: shape.watchdog,
    serialLog: path('log'),
    ...(shape.direct ? { direct } : {}),
  };
}

/** Text that both writers can carry, of what parsers take for more than text. */
const hostile = fc
  .array(
    fc.oneof(
      fc.string({ unit: 'grapheme', maxLength: 8 }),
      fc.constantFrom(...[',', '=', ',,', ',host=', ',port=1', 'on', '-S', '--', ' ', '\n', '\t', '\r']),
      fc.constantFrom(...['<', '>', '&', '"', "'", ']]>', '<!--', '&#0;', '</title>', '<devices>', '\u0085']),
      fc.constantFrom(...['{', '"}', '\\', '$(id)', '`id`', '../', '%s', 'json:', 'tcp:1', 'unix:', '/']),
    ),
    { maxLength: 6 },
  )
  .map((parts) => parts.join(''))
  .filter((text) => /^[\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]*$/u.test(text));
/** In a document that was read and is written again, where a line end in a path of the host's own would be a space. */
const oneLine =
  (text: (place: string) => string) =>
  (place: string): string =>
    text(place).replaceAll(/[\t\n\r\u0085]/g, '');
const markOf = (place: string): string => `@${place}@`;
/** What stands at each place, by its name: several texts in turn. */
const texts = fc.array(hostile, { minLength: 1, maxLength: 5 }).map((all) => (place: string): string => {
  const sum = [...place].reduce((n, letter) => n * 31 + letter.charCodeAt(0), 7);
  return all[sum % all.length] ?? '';
});
const filled = (written: string, text: (place: string) => string): string =>
  written.replaceAll(/@([a-z]+\d?)@/g, (_, place: string) => text(place));

const args = (machine: MachineSpec): string[] =>
  machineArguments(machine, {
    qmpSocket: '/r/qmp',
    agentSocket: '/r/ga',
    exitFile: '/r/exit',
    tapDescriptors: machine.nics.map((_nic, i) => 3 + i),
    memoryDescriptor: null,
    vsockDescriptor: machine.vsockCid === null ? null : 9,
  });

/** QEMU's reading of an option's value: a comma ends a value, two are one. */
const partsOf = (value: string): string[] =>
  value
    .replaceAll(',,', '\0')
    .split(',')
    .map((part) => part.replaceAll('\0', ','));
/** Of all arguments; what these flags are given is no option, and read as it is. */
const partsOfAll = (all: readonly string[]): string[][] =>
  all.map((arg, i) => (['-kernel', '-initrd'].includes(all[i - 1] ?? '') ? [arg] : partsOf(arg)));

type Element = NonNullable<ReturnType<DOMParser['parseFromString']>['documentElement']>;
/** A document as its reader has it: names and attributes of elements, and the text of those that have no others in them. */
function tree(element: Element): unknown {
  const inner = [...element.childNodes].filter(
    (node): node is Element => node.nodeType === node.ELEMENT_NODE,
  );
  const attributes = [...element.attributes].map(({ name, value }) => [name, value]);
  return [element.nodeName, attributes, inner.length === 0 ? element.textContent : inner.map(tree)];
}
function read(document: string): unknown {
  const { documentElement } = new DOMParser().parseFromString(document, 'text/xml');
  return documentElement === null ? null : tree(documentElement);
}
/** The same with text in place of marks. */
const treeFilled = (plain: unknown, text: (place: string) => string): unknown =>
  JSON.parse(JSON.stringify(plain), (_key, value: unknown) =>
    typeof value === 'string' ? filled(value, text) : value,
  );
const runs = { numRuns: 150 };

describe('a machine of any shape', () => {
  it('is the same machine to QEMU whatever its texts are, each in its place', () => {
    fc.assert(
      fc.property(shapes, texts, (shape, text) => {
        const [plain, full] = [args(machineOf(shape, markOf)), args(machineOf(shape, text))];
        expect(partsOfAll(full)).toEqual(
          partsOfAll(plain).map((parts) => parts.map((part) => filled(part, text))),
        );
      }),
      runs,
    );
  });

  it('is the same machine to libvirt whatever its texts are, each in its place', () => {
    fc.assert(
      fc.property(shapes, texts, (shape, text) => {
        const [plain, full] = [machineOf(shape, markOf), machineOf(shape, text)];
        const same = (write: (machine: MachineSpec) => string): void =>
          expect(read(write(full))).toEqual(treeFilled(read(write(plain)), text));
        same(domainXml);
        for (const i of plain.volumes.keys()) same(({ volumes }) => volumeXml(volumes[i]!));
        for (const i of plain.nics.keys()) same(({ nics }) => nicXml(nics[i]!));
        // What is changed while it runs, in its own document.
        const flat = oneLine(text);
        const flatter = machineOf(shape, flat);
        for (const [i, { medium }] of plain.cdroms.entries()) {
          const disk = mediumDocument(domainXml(flatter), i, flatter.cdroms[i]?.medium ?? null) ?? '';
          expect(disk).toContain(userAlias(cdromDevice(i)));
          const marked = mediumDocument(domainXml(plain), i, medium) ?? '';
          expect(read(disk)).toEqual(treeFilled(read(marked), flat));
        }
        same((machine) => memorySnapshotXml(machine.serialLog, ['vda']));
      }),
      runs,
    );
  });

  it('goes on from a memory with the texts of its new run, each in its place', () => {
    fc.assert(
      fc.property(shapes, texts.map(oneLine), texts.map(oneLine), (shape, had, text) => {
        const saved = domainXml(machineOf(shape, had));
        const plain = grafted(saved, domainXml(machineOf(shape, markOf, 4)));
        expect(read(grafted(saved, domainXml(machineOf(shape, text, 4))))).toEqual(
          treeFilled(read(plain), text),
        );
      }),
      { numRuns: 50 },
    );
  });

  it('listens on sockets of its own directory and is reached by no port, of TCP or any other', () => {
    fc.assert(
      fc.property(shapes, (shape) => {
        const all = args(machineOf(shape, markOf));
        const after = (flag: string): string[][] =>
          all.flatMap((arg, i) => (all[i - 1] === flag ? [partsOf(arg)] : []));
        for (const banned of BANNED) expect(all).not.toContain(banned);
        for (const [type = '', ...rest] of after('-chardev')) {
          expect(['socket', 'file', 'pipe', 'null', 'ringbuf']).toContain(type);
          if (type === 'socket') expect(rest.some((part) => part.startsWith('path=/'))).toBe(true);
        }
        for (const [server = '', ...rest] of after('-vnc')) {
          expect(server).toMatch(/^vnc=unix:\//);
          expect(rest.filter((part) => /^(websocket|to|reverse|tls)/.test(part))).toEqual([]);
        }
        expect(after('-netdev').map(([type]) => type)).toEqual(Array(shape.nics).fill('tap'));
        const everywhere = partsOfAll(all).flat();
        expect(
          everywhere.filter((part) => /^(host|port|ipv[46]|telnet|websocket|hostfwd)=/.test(part)),
        ).toEqual([]);

        const document = new DOMParser().parseFromString(domainXml(machineOf(shape, markOf)), 'text/xml');
        const elements = (tag: string) => [...document.getElementsByTagName(tag)];
        for (const listen of elements('listen')) {
          expect(listen.getAttribute('type')).toBe('socket');
          expect(listen.getAttribute('socket')).toMatch(/^\//);
        }
        for (const graphics of elements('graphics')) {
          expect(graphics.getAttribute('type')).toBe('vnc');
          expect(
            ['port', 'autoport', 'websocket', 'listen'].filter((name) => graphics.hasAttribute(name)),
          ).toEqual([]);
          expect(graphics.getElementsByTagName('listen').length).toBe(1);
        }
        for (const tag of [
          'serial',
          'console',
          'channel',
          'parallel',
          'backend',
          'rng',
          'redirdev',
          'interface',
        ])
          for (const element of elements(tag))
            expect(['tcp', 'udp', 'spicevmc', 'network', 'user', 'server', 'client']).not.toContain(
              element.getAttribute('type'),
            );
        expect(elements('commandline')).toEqual([]);
      }),
      runs,
    );
  });
});

/** Options by which QEMU would listen somewhere, or open what nobody named. */
const BANNED = [
  ...['-qmp', '-qmp-pretty', '-monitor', '-serial', '-parallel', '-gdb', '-s', '-spice', '-incoming'],
  ...['-net', '-nic', '-drive', '-cdrom', '-hda', '-hdb', '-fda', '-usbdevice', '-virtfs', '-fsdev'],
];
