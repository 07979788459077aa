import type { InstanceId, NicId } from '@berth/model';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { undivided, type MachineSpec } from '../machine/machine-spec.js';
import { listRead } from '@berth/linux';
import { domainXml } from '../machine/domain-xml.js';
import { listText } from '../machine/numa-xml.js';
import { machineArguments } from './machine-arguments.js';
import { option, OptionError } from './options.js';

/** QEMU's reading of an option's value (util/keyval.c, qemu-option.c): a comma ends a value, two are one. */
function read(text: string): string[] {
  return text
    .replaceAll(',,', '\0')
    .split(',')
    .map((value) => value.replaceAll('\0', ','));
}

const NIC_ID = '11111111-2222-4333-8444-555555555555' as NicId;
const carried = (value: string): boolean => !value.includes('\0') && !/\p{Surrogate}/u.test(value);
const anyText = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string({ unit: fc.constantFrom(',', '=', '-', ' ', '"', '{', '\n', '\0', 'a', 'on', '\ud800') }),
);

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
const places = {
  qmpSocket: '/r/qmp',
  agentSocket: '/r/ga',
  exitFile: '/run/exit',
  tapDescriptors: [3],
  memoryDescriptor: null,
  vsockDescriptor: null,
};

describe('an option of QEMU', () => {
  it('is read by QEMU as it was written, whatever the values', () => {
    fc.assert(
      fc.property(fc.array(anyText, { minLength: 1, maxLength: 4 }), (values) => {
        const pairs = values.map((value, i) => [`key${i}`, value] as const);
        const write = (): [string, string] => option('-object', 'word', Object.fromEntries(pairs));
        if (!values.every(carried)) {
          expect(write).toThrow(OptionError);
          return;
        }
        const [flag, text] = write();
        expect(flag).toBe('-object');
        expect(read(text)).toEqual(['word', ...pairs.map(([key, value]) => `${key}=${value}`)]);
      }),
      { numRuns: 10_000 },
    );
  });

  it.each(['a b', 'a,b', 'A', '', 'a=b', '-a', 'a..b'])('refuses the key %j', (key) => {
    expect(() => option('-name', null, { [key]: 'x' })).toThrow(OptionError);
  });

  it('refuses a flag or head that is none of our words, and an option of nothing', () => {
    expect(() => option('name', null, { a: 1 })).toThrow(OptionError);
    expect(() => option('-name', 'a,b')).toThrow(OptionError);
    expect(() => option('-name', null, { a: null })).toThrow(OptionError);
  });

  it('writes switches and leaves out what is null', () => {
    expect(option('-machine', 'q35', { usb: false, a: null, graphics: true })).toEqual([
      '-machine',
      'q35,usb=off,graphics=on',
    ]);
  });
});

describe("a machine's arguments", () => {
  it('have the same flags and number whatever the strings of the machine', () => {
    const flags = (args: readonly string[]): string[] =>
      args.filter((_arg, i) => /^-[a-z]/.test(args[i] ?? ''));
    const firmware = { code: '/c', variables: '/v', secureBoot: true };
    const tpm = { socket: '/t', state: '/s' };
    const plain = machineArguments({ ...spec, firmware, tpm }, places);
    const text = anyText.filter(carried);
    fc.assert(
      fc.property(text, text, text, text, text, text, (title, disk, base, log, vnc, vars) => {
        const hostile: MachineSpec = {
          ...spec,
          title,
          disk: { ...spec.disk, path: `/${disk}`, base: { path: `/${base}`, format: 'raw' } },
          serialLog: `/${log}`,
          display: `/${vnc}`,
          firmware: { code: `/${base}`, variables: `/${vars}`, secureBoot: true },
          tpm: { socket: `/${vnc}`, state: `/${vars}` },
        };
        const args = machineArguments(hostile, places);
        expect(args.length).toBe(plain.length);
        expect(flags(args)).toEqual(flags(plain));
      }),
    );
  });

  it('state every format, keep the base read-only, and lock the process in', () => {
    const args = machineArguments(spec, places);
    const text = args.join(' ');
    expect(args).toContain('-nodefaults');
    expect(args).toContain('-no-user-config');
    expect(text).toContain(
      '-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny',
    );
    expect(text).toContain('-blockdev raw,node-name=base,file=base-file,read-only=on');
    expect(text).toContain('file,node-name=base-file,filename=/b/base,aio=threads,read-only=on');
    expect(text).toContain('-blockdev qcow2,node-name=root,file=root-file,backing=base');
    for (const probing of ['-drive', '-hda', '-cdrom', '-net', '-nic', '-serial', '-monitor'])
      expect(args).not.toContain(probing);
  });

  it('have memory that can be plugged only when told, last of what has a place on the bus', () => {
    expect(machineArguments(spec, places).join(' ')).not.toMatch(/maxmem|virtio-mem/);
    const text = machineArguments({ ...spec, plug: { sizeMiB: 256, requestedMiB: 32 } }, places).join(' ');
    expect(text).toContain(
      '-m size=64M,maxmem=320M -object memory-backend-ram,id=plug-memory,size=256M,reserve=off',
    );
    expect(text).toMatch(
      /-device virtio-mem-pci,id=plug,memdev=plug-memory,requested-size=32M,block-size=2M(?!.*-pci)/,
    );
  });

  it('have places for more processors only when told, and those that were plugged in one by one', () => {
    expect(machineArguments(spec, places).join(' ')).not.toMatch(/maxcpus|x86_64-cpu/);
    const machine = { ...spec, vcpus: 2, vcpuPlug: { most: 5, plugged: 2 } };
    const text = machineArguments(machine, places).join(' ');
    expect(text).toContain(
      '-smp cpus=2,maxcpus=5,sockets=1,cores=5,threads=1 ' +
        '-device qemu64-x86_64-cpu,id=vcpu2,socket-id=0,core-id=2,thread-id=0 ' +
        '-device qemu64-x86_64-cpu,id=vcpu3,socket-id=0,core-id=3,thread-id=0 ',
    );
    const host = machineArguments({ ...machine, accel: 'kvm' }, places).join(' ');
    expect(host).toContain('-device host-x86_64-cpu,id=vcpu2,');
  });

  it('have each nic in a port, beyond what QEMU gives away, and as before in none where there are none', () => {
    const devices = (changes: Partial<MachineSpec>): string[] => {
      const args = machineArguments({ ...spec, ...changes }, places);
      return args.filter((_arg, i) => args[i - 1] === '-device' || args[i - 1] === '-netdev');
    };
    const now = devices({});
    expect(now.filter((one) => one.startsWith('pcie-root-port'))).toEqual(
      [0, 1, 2, 3].map(
        (n) => `pcie-root-port,id=nic-port-${n},bus=pcie.0,addr=0x10.${n},multifunction=on,chassis=${n + 1}`,
      ),
    );
    expect(now).toContain(`tap,id=net-${NIC_ID},fd=3`);
    const nic = now.find((one) => one.includes('virtio-net-pci'));
    expect(nic).toBe(
      `driver=virtio-net-pci,id=nic-${NIC_ID},bus=nic-port-0,netdev=net-${NIC_ID},mac=52:54:00:01:02:03,romfile=`,
    );
    const before = devices({
      nicPorts: 0,
      nics: [{ id: NIC_ID, mac: '52:54:00:01:02:03', tap: 'bt-1', port: null }],
    });
    expect(before).toContain('tap,id=net0,fd=3');
    expect(before).toContain('virtio-net-pci,netdev=net0,mac=52:54:00:01:02:03,romfile=');
    expect(before.join(' ')).not.toMatch(/root-port|nic-/);
  });

  it('take KVM with the host processor only when told', () => {
    expect(machineArguments(spec, places).join(' ')).toContain('q35,accel=tcg');
    const kvm = machineArguments({ ...spec, accel: 'kvm' }, places).join(' ');
    expect(kvm).toContain('q35,accel=kvm');
    expect(kvm).toContain('-cpu host');
  });

  it('give the port of the guest agent an id, without which QEMU tells of nothing there', () => {
    const text = machineArguments(spec, places).join(' ');
    expect(text).toContain('virtserialport,id=agent,chardev=agent0,name=org.qemu.guest_agent.0');
    expect(text).toContain('socket,id=agent0,path=/r/ga,server=on,wait=off');
  });

  it('have a watchdog only when told; QEMU pauses what it is to turn off', () => {
    expect(machineArguments(spec, places).join(' ')).not.toMatch(/i6300esb|watchdog=/);
    const reset = machineArguments({ ...spec, watchdog: 'reset' }, places).join(' ');
    expect(reset).toMatch(/-action \S*watchdog=reset.* -device i6300esb/);
    expect(machineArguments({ ...spec, watchdog: 'poweroff' }, places).join(' ')).toContain('watchdog=pause');
  });

  it('have two flash chips only with UEFI, of which the guest writes the second; with secure boot only the firmware does', () => {
    expect(machineArguments(spec, places).join(' ')).not.toMatch(/pflash|smm/);
    const uefi = { code: '/c', variables: '/v', secureBoot: false };
    const text = machineArguments({ ...spec, firmware: uefi }, places).join(' ');
    expect(text).toContain('pflash0=firmware,pflash1=variables');
    expect(text).toContain(
      'filename=/c,aio=threads,read-only=on -blockdev raw,node-name=firmware,file=firmware-file,read-only=on',
    );
    expect(text).toContain('filename=/v,aio=threads -blockdev raw,node-name=variables,file=variables-file');
    expect(text).not.toMatch(/smm|secure/);
    const secure = machineArguments({ ...spec, firmware: { ...uefi, secureBoot: true } }, places).join(' ');
    expect(secure).toContain('pflash1=variables,smm=on');
    expect(secure).toContain('-global driver=cfi.pflash01,property=secure,value=on');
  });

  it('have their memory in huge pages only when told, and then all of it', () => {
    expect(machineArguments(spec, places).join(' ')).not.toMatch(/hugetlb|memory-backend/);
    const text = machineArguments({ ...spec, hugePages: '1GiB', memoryMiB: 2048 }, places).join(' ');
    expect(text).toMatch(/-machine \S*,memory-backend=pc\.ram/);
    expect(text).toContain(
      '-object memory-backend-memfd,id=pc.ram,size=2048M,hugetlb=on,hugetlbsize=1024M,share=on,prealloc=on',
    );
  });

  it('have a USB tablet and a balloon that reports only when told, in no other device’s place', () => {
    const devices = (changes: Partial<MachineSpec>): string[] => {
      const args = machineArguments({ ...spec, ...changes }, places);
      return args.filter((_arg, i) => args[i - 1] === '-device');
    };
    const before = devices({});
    expect(before.join(' ')).not.toMatch(/usb|xhci|reporting/);
    expect(before).toContain('virtio-tablet-pci');
    const now = devices({ usbTablet: true, freePageReporting: true });
    const usb = ['qemu-xhci,id=usb,addr=0x17,p2=4,p3=4', 'usb-tablet,bus=usb.0'];
    expect(now.filter((device) => !usb.includes(device))).toEqual(
      before.map((device) => (device.includes('balloon') ? `${device},free-page-reporting=on` : device)),
    );
    expect(now).toEqual(expect.arrayContaining(usb));
    expect(devices({ usbTablet: true, display: null }).join(' ')).not.toContain('usb');
  });

  it('have a card, a server and tablets of its own for each further screen, in no other device’s place', () => {
    const parts = (flag: string, changes: Partial<MachineSpec>): string[] => {
      const args = machineArguments({ ...spec, usbTablet: true, ...changes }, places);
      return args.filter((_arg, i) => args[i - 1] === flag);
    };
    expect(parts('-vnc', {})).toEqual(['vnc=unix:/r/vnc,share=ignore']);
    const two = { moreDisplays: ['/r/vnc1'] };
    expect(parts('-vnc', two)).toEqual([
      'vnc=unix:/r/vnc,display=screen0,share=ignore',
      'vnc=unix:/r/vnc1,id=vnc1,display=screen1,share=ignore',
    ]);
    const more = [
      'bochs-display,id=screen1,addr=0x14,vgamem=16M',
      'virtio-tablet-pci,addr=0x19,display=screen1',
      'usb-tablet,bus=usb.0,display=screen1',
    ];
    const now = parts('-device', two);
    expect(now).toEqual(expect.arrayContaining(more));
    expect(now.filter((device) => !more.includes(device))).toEqual(
      parts('-device', {}).map((device) => device.replace('VGA,', 'VGA,id=screen0,')),
    );
  });

  it('reach a TPM by its socket, only when told', () => {
    expect(machineArguments(spec, places).join(' ')).not.toContain('tpm');
    const text = machineArguments({ ...spec, tpm: { socket: '/t', state: '/s' } }, places).join(' ');
    expect(text).toContain('-chardev socket,id=tpm,path=/t -tpmdev emulator,id=tpm,chardev=tpm');
    expect(text).toContain('-device tpm-crb,id=tpm0,tpmdev=tpm');
    expect(text).not.toContain('/s ');
  });

  it('have nodes only when told: sockets and memory of their own, bound to nodes of the host', () => {
    const text = (changes: Partial<MachineSpec>): string =>
      machineArguments({ ...spec, ...changes }, places).join(' ');
    expect(text({})).not.toMatch(/numa|host-nodes|sockets|memory-backend/);
    const hosts = [
      { id: 3, cpus: [0] },
      { id: 1, cpus: [1] },
    ];
    expect(text({ numa: { nodes: 2, hosts } })).toContain(
      '-smp cpus=2,sockets=2,cores=1,threads=1 -m size=64M ' +
        '-object memory-backend-ram,id=ram-node0,size=32M,host-nodes=3,policy=bind ' +
        '-object memory-backend-ram,id=ram-node1,size=32M,host-nodes=1,policy=bind ' +
        '-numa node,nodeid=0,memdev=ram-node0 -numa cpu,node-id=0,socket-id=0 ' +
        '-numa node,nodeid=1,memdev=ram-node1 -numa cpu,node-id=1,socket-id=1 ',
    );
    expect(text({ numa: { nodes: 2, hosts: null }, hugePages: '2MiB' })).toContain(
      'memory-backend-memfd,id=ram-node1,size=32M,hugetlb=on,hugetlbsize=2M,share=on,prealloc=on ',
    );
    expect(text({ numa: { nodes: 2, hosts: null } })).not.toMatch(/memory-backend=|host-nodes/);
    const one = { numa: { nodes: 1, hosts: hosts.slice(1) }, plug: { sizeMiB: 256, requestedMiB: 0 } };
    expect(text(one)).toMatch(/-machine \S*,memory-backend=pc\.ram/);
    expect(text(one)).toContain('memory-backend-ram,id=pc.ram,size=64M,host-nodes=1,policy=bind ');
    expect(text(one)).toContain('id=plug-memory,size=256M,reserve=off,host-nodes=1,policy=bind ');
    expect(text(one)).not.toContain('-numa');
  });

  it('divide a machine among its nodes without a rest, whatever its sizes', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 8 }),
        fc.integer({ min: 1, max: 8 }),
        fc.integer({ min: 4, max: 512 }),
        (nodes, each, mib) => {
          const machine = { ...spec, vcpus: nodes * each, memoryMiB: nodes * mib };
          const args = machineArguments({ ...machine, numa: { nodes, hosts: null } }, places).join(' ');
          const sizes = [...args.matchAll(/id=ram-node\d,size=(\d+)M/g)].map(([, size]) => Number(size));
          expect(sizes).toEqual(nodes === 1 ? [] : Array.from({ length: nodes }, () => mib));
          const text = domainXml({ ...machine, numa: { nodes, hosts: null } });
          const cells = [...text.matchAll(/<cell id="\d" cpus="([-\d]+)" memory="(\d+)"/g)];
          const cpus = cells.flatMap(([, list = '']) => listRead(list));
          expect(cpus).toEqual(nodes === 1 ? [] : Array.from({ length: nodes * each }, (_, cpu) => cpu));
          expect(cells.map(([, , memory]) => Number(memory))).toEqual(sizes);
        },
      ),
    );
  });

  it('list processors as the kernel reads them', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.integer({ min: 0, max: 300 })), (cpus) => {
        expect(listRead(listText(cpus))).toEqual([...cpus].sort((a, b) => a - b));
      }),
    );
  });

  it('have a vsock device by a descriptor only when told, in no other device’s place', () => {
    const devices = (changes: Partial<MachineSpec>, vsockDescriptor: number | null): string[] => {
      const args = machineArguments({ ...spec, ...changes }, { ...places, vsockDescriptor });
      return args.filter((_arg, i) => args[i - 1] === '-device');
    };
    const before = devices({}, null);
    expect(before.join(' ')).not.toContain('vsock');
    const device = 'vhost-vsock-pci,id=vsock0,addr=0x1c,guest-cid=65540,vhostfd=4';
    const now = devices({ vsockCid: 65_540 }, 4);
    expect(now.filter((one) => one !== device)).toEqual(before);
    expect(now).toContain(device);
    expect(() => devices({ vsockCid: 65_540 }, null)).toThrow(/no descriptor/);
  });

  it('have the processor that was asked for, under either acceleration', () => {
    const cpu = (accel: 'kvm' | 'tcg', cpuModel: string | null): string | undefined => {
      const args = machineArguments({ ...spec, accel, cpuModel }, places);
      return args[args.indexOf('-cpu') + 1];
    };
    expect([cpu('tcg', null), cpu('kvm', null)]).toEqual(['qemu64', 'host']);
    expect([cpu('kvm', 'host-passthrough'), cpu('tcg', 'max')]).toEqual(['host', 'max']);
    expect(cpu('kvm', 'Opteron_G1')).toBe('Opteron_G1');
    expect(() => cpu('tcg', 'max,+vmx')).toThrow(OptionError);
  });

  it('need a descriptor for each nic', () => {
    expect(() => machineArguments(spec, { ...places, tapDescriptors: [] })).toThrow(/no tap descriptor/);
  });
});
