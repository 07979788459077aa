import { DOMParser } from '@xmldom/xmldom';
import type { InstanceId, NicId } from '@berth/model';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { domainXml } from './domain-xml.js';
import { undivided, type MachineSpec } from './machine-spec.js';
import { grafted } from './memory-xml.js';
import { domainName, parsed, plugDocument, readCid, readMetadata, readNic } from './metadata.js';
import { renderXml, xml, XmlError } from './xml.js';

const NIC_ID = '11111111-2222-4333-8444-555555555555' as NicId;
const spec: MachineSpec = {
  instanceId: '6f1d2f7e-2a0b-4c57-9df5-7b7d4a2a1c11' as InstanceId,
  epoch: 3,
  title: 'default/web',
  hostTag: 'h1',
  uuid: '0b0f7c0e-6f0e-4a54-8a4e-2f8b6a3f9d10',
  accel: 'tcg',
  machineType: 'q35',
  vcpus: 2,
  vcpuPlug: null,
  cpuMillis: 1500,
  memoryMiB: 64,
  plug: null,
  disk: { path: '/v/disk.qcow2', base: { path: '/b/base', format: 'raw' }, cache: 'none' },
  scsi: true,
  volumes: [],
  seedPath: '/s/seed.iso',
  nics: [{ id: NIC_ID, mac: '52:54:00:01:02:03', tap: 'bt-1', port: 0 }],
  cdroms: [],
  nicPorts: 4,
  display: '/r/vnc',
  moreDisplays: [],
  watchdog: null,
  firmware: null,
  cpuModel: null,
  tpm: null,
  hugePages: null,
  vsockCid: null,
  numa: undivided,
  usbTablet: false,
  freePageReporting: false,
  serialLog: '/l/1.log',
};
const parse = (text: string): ReturnType<DOMParser['parseFromString']> =>
  new DOMParser().parseFromString(text, 'text/xml');

describe('the XML writer', () => {
  const anyText = fc.oneof(
    fc.string({ unit: 'grapheme' }),
    fc.string({ unit: 'binary' }),
    fc.string({
      unit: fc.constantFrom(
        '<',
        '>',
        '&',
        '"',
        "'",
        ']]>',
        '<!--',
        '&#0;',
        '<![CDATA[',
        '\n',
        '\0',
        'a',
        ' ',
      ),
    }),
  );
  it('gives 10,000 strings back from a parser, as text and as attribute, or refuses them', () => {
    fc.assert(
      fc.property(anyText, (text) => {
        let written: string;
        try {
          written = renderXml(xml('a', { k: text }, xml('b', {}, `.${text}.`)));
        } catch (error) {
          expect(error).toBeInstanceOf(XmlError);
          return;
        }
        const root = parse(written).documentElement;
        expect(root?.getAttribute('k')).toBe(text);
        expect(root?.getElementsByTagName('b').item(0)?.textContent).toBe(`.${text}.`);
      }),
      { numRuns: 10_000, examples: [['\u2028'], ['\u2029'], ['\u0085'], ['\t\r\n']] },
    );
  });

  it.each(['\0', '\u0001', '\u001f', '\ufffe', '\ud800'])(
    'refuses a character XML cannot carry (%j)',
    (bad) => {
      expect(() => renderXml(xml('a', {}, `x${bad}`))).toThrow(XmlError);
      expect(() => renderXml(xml('a', { k: bad }))).toThrow(XmlError);
    },
  );

  it.each(['a b', '1a', 'a>', '', 'a:b:c'])('refuses the name %j', (name) => {
    expect(() => renderXml(xml(name))).toThrow(XmlError);
  });
});

describe('the domain document', () => {
  it('cannot be broken out of by a hostile title or path', () => {
    const title = `</title><devices><disk/>"'&`;
    const document = parse(domainXml({ ...spec, title, serialLog: '/l/"><x/>' }));
    expect(document.getElementsByTagName('title').item(0)?.textContent).toBe(title);
    expect(document.getElementsByTagName('disk').length).toBe(2);
    expect(document.getElementsByTagName('x').length).toBe(0);
  });

  it('names every format and leaves the shared base its owner', () => {
    const text = domainXml(spec);
    expect(text).toContain('type="qcow2"');
    expect(text).toContain('<format type="raw"/>');
    expect(text).toMatch(/<source file="\/b\/base">\s*<seclabel model="dac" relabel="no"\/>/);
    expect(text).toMatch(/<backingStore\/>/);
  });

  it('takes KVM with the host processor only when told', () => {
    expect(domainXml(spec)).toContain('<domain type="qemu">');
    const kvm = domainXml({ ...spec, accel: 'kvm' });
    expect(kvm).toContain('<domain type="kvm">');
    expect(kvm).toContain('mode="host-passthrough"');
  });

  it('caps the whole machine, and has no tuning without a cap', () => {
    expect(domainXml(spec)).toContain('<global_quota>150000</global_quota>');
    expect(domainXml({ ...spec, cpuMillis: null })).not.toContain('cputune');
  });

  it('states all ports of a machine that has some for nics, and otherwise none; each nic has a name', () => {
    const ports = (changes: Partial<MachineSpec>): number =>
      domainXml({ ...spec, ...changes }).split('model="pcie-root-port"').length - 1;
    // Root disk, seed, serial ports, random numbers, balloon, tablet, SCSI; and those for nics.
    expect(ports({})).toBe(7 + 4);
    expect(ports({ nicPorts: 8 })).toBe(7 + 8);
    expect(ports({ display: null, seedPath: null, scsi: false })).toBe(4 + 4);
    expect(ports({ nicPorts: 0 })).toBe(0);
    const named = new RegExp(`<mac address="52:54:00:01:02:03"/>[^]*<alias name="ua-nic-${NIC_ID}"/>`);
    expect(domainXml(spec)).toMatch(named);
    expect(readNic(domainXml(spec), `ua-nic-${NIC_ID}`)).toContain('52:54:00:01:02:03');
    expect(readNic(domainXml(spec), 'ua-nic-other')).toBeNull();
  });

  it('has memory that can be plugged only when told, and asks its guest for some of it anew', () => {
    expect(domainXml(spec)).not.toMatch(/maxMemory|numa|virtio-mem/);
    const text = domainXml({ ...spec, plug: { sizeMiB: 256, requestedMiB: 32 } });
    expect(text).toContain('<maxMemory slots="1" unit="MiB">320</maxMemory>');
    expect(text).toContain('<memory unit="MiB">320</memory>');
    expect(text).toContain('<cell id="0" cpus="0-1" memory="64" unit="MiB"/>');
    const again = plugDocument(text, 8) ?? '';
    expect(again).toMatch(/^<memory model="virtio-mem">/);
    expect(again).toContain('<size unit="MiB">256</size>');
    expect(again).toContain('<requested unit="MiB">8</requested>');
    expect(plugDocument(domainXml(spec), 8)).toBeNull();
  });

  it('has places for more processors only when told, in one socket', () => {
    expect(domainXml(spec)).not.toMatch(/current=|topology/);
    const text = domainXml({
      ...spec,
      vcpus: 2,
      vcpuPlug: { most: 5, plugged: 1 },
      plug: { sizeMiB: 256, requestedMiB: 0 },
    });
    expect(text).toContain('<vcpu placement="static" current="3">5</vcpu>');
    expect(text).toContain('<topology sockets="1" dies="1" cores="5" threads="1"/>');
    expect(text).toContain('<cell id="0" cpus="0-4" memory="64" unit="MiB"/>');
  });

  it('carries instance, epoch and host, and a foreign document carries nothing', () => {
    const own = {
      hostTag: 'h1',
      instanceId: spec.instanceId,
      epoch: 3,
      watchdogOff: false,
      agentPort: false,
    };
    expect(readMetadata(parsed(domainXml(spec)))).toEqual(own);
    expect(readMetadata(parsed('<domain><name>berth-x</name></domain>'))).toBeNull();
    expect(readMetadata(parsed(domainXml(spec).replace('epoch="3"', 'epoch="x"')))).toBeNull();
  });

  it('has a watchdog only when told; one that turns it off pauses it, which its metadata tells', () => {
    expect(domainXml(spec)).not.toContain('i6300esb');
    for (const action of ['reset', 'pause', 'none', 'poweroff'] as const) {
      const text = domainXml({ ...spec, watchdog: action });
      const said = parse(text).getElementsByTagName('watchdog').item(0)?.getAttribute('action');
      expect(said).toBe(action === 'poweroff' ? 'pause' : action);
      expect(readMetadata(parsed(text))?.watchdogOff).toBe(action === 'poweroff');
    }
  });

  it('has flash chips only with UEFI, named to the last, and system management mode only with secure boot', () => {
    expect(domainXml(spec)).not.toMatch(/loader|nvram|smm/);
    const uefi = { code: '/"><c>', variables: '/&<v>', secureBoot: false };
    const document = parse(domainXml({ ...spec, firmware: uefi }));
    const loader = document.getElementsByTagName('loader').item(0);
    expect(loader?.textContent).toBe(uefi.code);
    for (const [name, value] of Object.entries({ type: 'pflash', readonly: 'yes', secure: 'no' }))
      expect(loader?.getAttribute(name)).toBe(value);
    expect(document.getElementsByTagName('nvram').item(0)?.textContent).toBe(uefi.variables);
    expect(document.getElementsByTagName('smm').length).toBe(0);
    const secure = domainXml({ ...spec, firmware: { ...uefi, secureBoot: true } });
    expect(secure).toContain('secure="yes"');
    expect(secure).toContain('<smm state="on"/>');
  });

  it('has its memory in huge pages only when told', () => {
    expect(domainXml(spec)).not.toContain('memoryBacking');
    const text = domainXml({ ...spec, hugePages: '2MiB' }).replace(/\s*\n\s*/g, '');
    expect(text).toContain(
      '<memoryBacking><hugepages><page size="2" unit="M"/></hugepages><source type="memfd"/>' +
        '<access mode="shared"/><allocation mode="immediate"/></memoryBacking>',
    );
  });

  it('has a USB tablet and a balloon that reports only when told, and a tablet of virtio always', () => {
    const virtio = '<input type="tablet" bus="virtio"/>';
    const before = domainXml(spec);
    expect(before).toContain('<controller type="usb" model="none"/>');
    expect(before).toContain(virtio);
    expect(before).not.toContain('freePageReporting');
    const now = domainXml({ ...spec, usbTablet: true, freePageReporting: true });
    expect(now).toMatch(/model="qemu-xhci" ports="4">\s*<address [^>]*bus="0x00" slot="0x17"/);
    expect(now).toContain('<input type="tablet" bus="usb"/>');
    expect(now).toContain(virtio);
    expect(now).toContain('<memballoon model="virtio" autodeflate="on" freePageReporting="on"/>');
    expect(domainXml({ ...spec, usbTablet: true, display: null })).toContain('type="usb" model="none"');
  });

  it('reaches a TPM of ours by its socket, only when told', () => {
    expect(domainXml(spec)).not.toContain('tpm');
    const socket = `/"><tpm/>&`;
    const document = parse(domainXml({ ...spec, tpm: { socket, state: '/s' } }));
    expect(document.getElementsByTagName('tpm').length).toBe(1);
    const backend = document.getElementsByTagName('backend');
    const external = [...backend].find((one) => one.getAttribute('type') === 'external');
    const source = external?.getElementsByTagName('source').item(0);
    expect(source?.getAttribute('path')).toBe(socket);
    expect(source?.getAttribute('mode')).toBe('connect');
  });

  it('has nodes only when told, and where they are on the host goes with a run', () => {
    const flat = (changes: Partial<MachineSpec>): string =>
      domainXml({ ...spec, ...changes }).replace(/>\s*\n\s*</g, '><');
    expect(flat({})).not.toMatch(/numa|cpuset|topology|vcpupin/);
    const on = (...ids: number[]) => ids.map((id) => ({ id, cpus: [2 * id, 2 * id + 1] }));
    const two = flat({ numa: { nodes: 2, hosts: on(3, 1) } });
    expect(two).toContain('<vcpu placement="static" cpuset="2-3,6-7">2</vcpu>');
    expect(two).toContain(
      '<cputune><vcpupin vcpu="0" cpuset="6-7"/><vcpupin vcpu="1" cpuset="2-3"/><global_period>',
    );
    expect(two).toContain(
      '<numatune><memory mode="strict" nodeset="1,3"/><memnode cellid="0" mode="strict" nodeset="3"/>' +
        '<memnode cellid="1" mode="strict" nodeset="1"/></numatune>',
    );
    expect(two).toContain('<topology sockets="2" dies="1" cores="1" threads="1"/>');
    expect(two).toContain('<cell id="1" cpus="1" memory="32" unit="MiB"/>');
    const one = flat({ numa: { nodes: 1, hosts: on(1) } });
    expect(one).toContain('<numatune><memory mode="strict" nodeset="1"/></numatune>');
    expect(one).not.toMatch(/<cell|vcpupin|topology/);

    const moved = grafted(two, flat({ epoch: 4, numa: { nodes: 2, hosts: on(0, 2) } }));
    expect(moved).toContain('cpuset="0-1,4-5"');
    expect(moved).toMatch(/<vcpupin vcpu="0" cpuset="0-1"\/><vcpupin vcpu="1" cpuset="4-5"\/>/);
    expect(moved).toContain('nodeset="0,2"');
    expect(moved).not.toMatch(/nodeset="1|nodeset="3|cpuset="6/);
    expect(moved).toContain('<global_quota>150000</global_quota>');
    const free = grafted(two, flat({ epoch: 4, numa: { nodes: 2, hosts: null } }));
    expect(free).not.toMatch(/numatune|cpuset|vcpupin/);
    expect(free).toContain('<cell id="1"');
  });

  it('has a vsock device only when told, with the id that it was given, in no port of its own', () => {
    const ports = (text: string): number => text.split('model="pcie-root-port"').length;
    const before = domainXml(spec);
    expect(before).not.toContain('vsock');
    expect(readCid(parsed(before))).toBeNull();
    const now = domainXml({ ...spec, vsockCid: 65_540 });
    expect(now).toMatch(
      /<vsock model="virtio">\s*<cid auto="no" address="65540"\/>\s*<address [^>]*bus="0x00" slot="0x1c"/,
    );
    expect(ports(now)).toBe(ports(before));
    // A memory of an earlier epoch goes on with the id of this one.
    const other = domainXml({ ...spec, epoch: 4, vsockCid: 65_541 });
    expect(readCid(parsed(grafted(now, other)))).toBe(65_541);
  });

  it('has the processor that was asked for, and libvirt changes nothing about it', () => {
    const cpu = (accel: 'kvm' | 'tcg', cpuModel: string | null) => {
      const element = parse(domainXml({ ...spec, accel, cpuModel }))
        .getElementsByTagName('cpu')
        .item(0);
      expect(element?.getAttribute('check')).toBe('none');
      return [element?.getAttribute('mode'), element?.getElementsByTagName('model').item(0)?.textContent];
    };
    expect(cpu('tcg', null)).toEqual(['custom', 'qemu64']);
    expect(cpu('kvm', null)).toEqual(['host-passthrough', undefined]);
    expect(cpu('kvm', 'host-passthrough')).toEqual(['host-passthrough', undefined]);
    expect(cpu('tcg', 'max')).toEqual(['maximum', undefined]);
    expect(cpu('kvm', '<Nehalem>')).toEqual(['custom', '<Nehalem>']);
  });

  it('is named per host and instance, the same for every epoch', () => {
    expect(domainName('h1', spec.instanceId)).toMatch(/^berth-[0-9a-f]{12}-6f1d2f7e$/);
    expect(domainName('h2', spec.instanceId)).not.toBe(domainName('h1', spec.instanceId));
  });
});
