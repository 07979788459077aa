import { spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { closeSync, existsSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run, vsockRefusal } from '@berth/linux';
import type { InstanceId } from '@berth/model';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { machineArguments } from '../qemu/machine-arguments.js';
import { domainXml } from '../machine/domain-xml.js';
import type { MachineSpec } from '../machine/machine-spec.js';
import { QemuHost, step, TestHost } from '../testing/host.js';
import { machineShape } from './machine-shape.js';
import { MachineShape } from './workload-record.js';
import { Preparation } from './preparation.js';
import { HostChoices } from './host-choices.js';
import { VsockCids, type VsockHost } from './vsock-cids.js';

const key = (n: number) => ({
  instanceId: `00000000-0000-4000-8000-00000000000${n}` as InstanceId,
  epoch: 1,
});

/** A host on which other programs have context ids too. */
class OtherVsocks implements VsockHost {
  readonly foreign = new Set<number>();
  no: string | null = null;
  refusal(): string | null {
    return this.no;
  }
  isFree(cid: number): boolean {
    return !this.foreign.has(cid);
  }
}

describe('context ids of a host', () => {
  let dir: string;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'berth-cids-'));
  });
  afterAll(() => rmSync(dir, { recursive: true }));
  const path = (): string => join(dir, randomUUID(), 'cids.json');

  const deeds = fc.array(
    fc.record({
      deed: fc.constantFrom('ensure', 'release', 'agentEnds', 'taken', 'nextTaken'),
      of: fc.integer({ min: 0, max: 5 }),
    }),
    { maxLength: 30 },
  );

  it('are each of one epoch and no other program’s, and kept until they are given back or another program took one', async () => {
    await fc.assert(
      fc.asyncProperty(deeds, async (all) => {
        const [file, host] = [path(), new OtherVsocks()];
        let cids = new VsockCids(file, host);
        const has = new Map<number, number>();
        for (const { deed, of } of all) {
          const had = has.get(of);
          if (deed === 'agentEnds') cids = new VsockCids(file, host);
          if (deed === 'taken' && had !== undefined) host.foreign.add(had);
          // What would be chosen next is another's already.
          if (deed === 'nextTaken' && had !== undefined) host.foreign.add(had + 1);
          if (deed === 'release') {
            await cids.release(key(of));
            has.delete(of);
          }
          if (deed === 'ensure') {
            const cid = await cids.ensure(key(of));
            expect(cid).toBeGreaterThan(2);
            expect(cid).toBeLessThan(0xffff_ffff);
            expect(host.foreign.has(cid)).toBe(false);
            if (had !== undefined && !host.foreign.has(had)) expect(cid).toBe(had);
            has.set(of, cid);
          }
          expect(new Set(has.values()).size).toBe(has.size);
        }
        for (let n = 0; n <= 5; n += 1) expect(await cids.of(key(n))).toBe(has.get(n) ?? null);
        if (has.size === 0) expect(existsSync(file)).toBe(false);
      }),
      { numRuns: 60 },
    );
  });

  it('are not the first ones again, and an epoch after another has another', async () => {
    const cids = new VsockCids(path(), new OtherVsocks());
    const first = await cids.ensure(key(1));
    await cids.release(key(1));
    expect(await cids.ensure({ ...key(1), epoch: 2 })).not.toBe(first);
    expect(first).toBeGreaterThanOrEqual(0x1_0000);
  });

  it('are refused with a remedy where there is no device, and what is damaged is not taken for empty', async () => {
    const host = new OtherVsocks();
    host.no = 'ENOENT';
    const file = join(dir, 'damaged.json');
    await expect(new VsockCids(file, host).ensure(key(1))).rejects.toMatchObject({
      code: 'hostFault',
      remedy: expect.stringContaining('modprobe vhost_vsock') as string,
    });
    host.no = null;
    writeFileSync(file, '{"version":1,"values":{"a":2}}');
    await expect(new VsockCids(file, host).ensure(key(1))).rejects.toThrow('cannot be read');
  });
});

describe('a machine with a vsock device', () => {
  let host: TestHost;
  beforeAll(async () => {
    host = await TestHost.start();
  });
  afterAll(() => host.stop());
  const able = vsockRefusal() === null;
  /** Ids are given as on any host; what then fails is the start, for the device alone. */
  const given = () => new HostChoices(join(host.dir, randomUUID()), { vsock: new OtherVsocks() });

  /** What the driver would be given. */
  async function machineOf(choices: HostChoices, had?: Partial<MachineShape>): Promise<MachineSpec> {
    const spec = host.spec('steady', had === undefined ? { vsock: true } : {});
    const records = { seedPath: () => '/seed' } as never;
    const logs = { prepare: () => Promise.resolve('/log') } as never;
    const parts = new Preparation(host.parts(), records, logs, 'libvirt', choices);
    const shape = { accel: 'tcg', display: false, scsi: true, ...had } as const;
    const machine = await parts.machine(spec, { uid: 0, gid: 0 }, AbortSignal.timeout(10_000), shape);
    await host.parts().volumes.remove(spec.rootVolume.id);
    return machine;
  }

  it('is what QEMU takes, but for the kernel’s side of it', async () => {
    const machine = await machineOf(given());
    const places = { qmpSocket: '/q', agentSocket: '/a', exitFile: '/e', tapDescriptors: [] };
    const all = machineArguments(machine, { ...places, memoryDescriptor: null, vsockDescriptor: 3 });
    const device = all.find((one) => one.startsWith('vhost-vsock-pci,')) ?? '';
    const fd = openSync('/dev/null', 'r+');
    try {
      const tried = (value: string): string =>
        spawnSync(
          'qemu-system-x86_64',
          ['-S', '-nodefaults', '-display', 'none', '-M', machine.machineType, '-device', value],
          { stdio: ['ignore', 'ignore', 'pipe', fd], encoding: 'utf8', timeout: 30_000 },
        ).stderr;
      expect(tried(device)).toContain('vhost_set_owner failed: Inappropriate ioctl for device');
      expect(tried(`${device},wrong=on`)).toContain('vhost-vsock-pci.wrong');
      expect(tried(device.replace(/guest-cid=\d+/, 'guest-cid=2'))).toContain('greater than 2');
    } finally {
      closeSync(fd);
    }
  });

  it('starts by a QEMU of our own but for the kernel’s side of it', async () => {
    const lone = new QemuHost();
    const choices = given();
    const { vsock } = choices;
    const runtime = lone.runtime({ choices });
    const spec = lone.spec('steady', { vsock: true });
    await runtime.prepare(spec, step(60_000));
    const started = runtime.start(spec, step(60_000));
    if (able) {
      await started;
      expect(await machineShape(await runtime.monitor(spec), [], {})).toMatchObject({ vsock: true });
    } else await expect(started).rejects.toThrow(/ENOENT.*vhost-vsock/);
    await runtime.stop(spec, 0, step(60_000));
    await runtime.remove(spec, step(60_000));
    expect(await vsock.of(spec)).toBeNull();
    expect(lone.leftovers(spec)).toEqual([]);
    await lone.stop();
  });

  it('is what libvirt validates, and starts but for the kernel’s side of it', async () => {
    const choices = given();
    const { vsock } = choices;
    const machine = await machineOf(choices);
    const file = join(host.dir, 'vsock.xml');
    writeFileSync(file, domainXml(machine).replace(/<name>[^<]*/, '<name>sockets'));
    const virsh = async (...args: string[]): Promise<string> =>
      (await run('virsh', ['-c', host.uri, ...args])).stdout;
    await virsh('define', '--validate', file);
    expect(await virsh('dumpxml', '--inactive', 'sockets')).toContain(
      `<cid auto='no' address='${machine.vsockCid}'/>`,
    );
    await virsh('undefine', 'sockets');
    const runtime = host.runtime({ choices });
    const spec = host.spec('steady', { vsock: true });
    await runtime.prepare(spec, step(60_000));
    const started = runtime.start(spec, step(60_000));
    if (able) await started;
    else await expect(started).rejects.toThrow(/vhost-vsock/);
    const seen = (await runtime.recover()).find(({ instanceId }) => instanceId === spec.instanceId);
    expect(seen?.vsockCid).toBe(await vsock.of(spec));
    expect(seen?.vsockCid).toBeGreaterThan(2);
    await runtime.stop(spec, 0, step(60_000));
    await runtime.remove(spec, step(60_000));
    expect(await vsock.of(spec)).toBeNull();
    await runtime.removeVolume(spec.rootVolume.id, step(60_000));
  });

  it('has one after its suspension if it had one before, whatever its spec asks for by then', async () => {
    const choices = given();
    expect((await machineOf(choices, { vsock: true })).vsockCid).toBeGreaterThan(2);
    expect((await machineOf(choices, MachineShapeOfBefore)).vsockCid).toBeNull();
  });

  it('is offered where the kernel and QEMU have it', async () => {
    const { facets } = await host.runtime().probe();
    expect(facets.includes('vsock')).toBe(able);
  });
});

/** Suspended by a version that knew no vsock. */
const MachineShapeOfBefore: Partial<MachineShape> = {
  vsock: MachineShape.shape.vsock.parse(undefined),
};
