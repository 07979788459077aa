import { randomUUID } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { listRead, numaNodes, run } from '@berth/linux';
import { bindableMiB, type HostNumaNode, type InstanceId, numaRoom, type VolumeId } from '@berth/model';
import type { Runtime, WorkloadSpec } from '@berth/runtime';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { domainXml } from '../machine/domain-xml.js';
import type { MachineSpec } from '../machine/machine-spec.js';
import type { QemuRuntime } from '../qemu/qemu-runtime.js';
import { QemuHost, step, TestHost } from '../testing/host.js';
import { sampleDisk, serialSays, shellSays } from '../testing/sample-guest.js';
import { HostChoices } from './host-choices.js';
import type { LibvirtRuntime } from './libvirt-runtime.js';
import { machineShape } from './machine-shape.js';
import { NumaBindings, nodesFor, type NodeLeft, type NumaHost } from './numa-bindings.js';
import { Preparation } from './preparation.js';

const key = (n: number) => ({
  instanceId: `00000000-0000-4000-8000-00000000000${n}` as InstanceId,
  epoch: 1,
});

const hostNodes: fc.Arbitrary<NodeLeft[]> = fc
  .array(fc.record({ cpus: fc.integer({ min: 0, max: 8 }), leftMiB: fc.integer({ min: -64, max: 4096 }) }), {
    minLength: 0,
    maxLength: 4,
  })
  .map((nodes) =>
    nodes.map(({ cpus, leftMiB }, id) => ({
      ...{ id, leftMiB, memoryMiB: 4096 },
      cpus: Array.from({ length: cpus }, (_, cpu) => id * 8 + cpu),
      distances: nodes.map((_, to) => 10 + 10 * Math.abs(id - to)),
    })),
  );
const need = fc.record({
  nodes: fc.integer({ min: 1, max: 8 }),
  memoryMiB: fc.integer({ min: 1, max: 2048 }),
  vcpus: fc.integer({ min: 1, max: 4 }),
});

describe('nodes of a host', () => {
  it('are found for all nodes of a machine where there is room for all, different ones as far as may be', () => {
    fc.assert(
      fc.property(hostNodes, need, (host, wanted) => {
        const room = (node: NodeLeft): number => Math.max(0, numaRoom(wanted, node, node.leftMiB));
        const all = host.reduce((sum, node) => sum + room(node), 0);
        const chosen = nodesFor(wanted, host);
        expect(chosen === null).toBe(all < wanted.nodes);
        if (chosen === null) return;
        expect(chosen.length).toBe(wanted.nodes);
        for (const node of host)
          expect(chosen.filter((id) => id === node.id).length).toBeLessThanOrEqual(room(node));
        const usable = host.filter((node) => room(node) > 0).length;
        expect(new Set(chosen).size).toBe(Math.min(usable, wanted.nodes));
      }),
    );
  });

  it('are taken near each other', () => {
    const node = (id: number, leftMiB: number, distances: number[]): NodeLeft => {
      return { id, leftMiB, memoryMiB: 4096, cpus: [id], distances };
    };
    const host = [node(0, 900, [10, 31, 21]), node(1, 800, [31, 10, 31]), node(2, 700, [21, 31, 10])];
    expect(nodesFor({ nodes: 2, memoryMiB: 100, vcpus: 1 }, host)).toEqual([0, 2]);
  });
});

/** Two nodes with nothing in huge pages but what a test puts there. */
class TwoNodes implements NumaHost {
  constructor(public all: HostNumaNode[]) {}
  free = 0;
  nodes(): HostNumaNode[] {
    return this.all;
  }
  hugeMiB(_node: number, size: string, of: 'nr' | 'free'): number {
    return of === 'free' && size === '2MiB' ? this.free : 0;
  }
}
const twoNodes = (): TwoNodes =>
  new TwoNodes([
    { id: 0, cpus: [0, 1], memoryMiB: 1024, distances: [10, 20] },
    { id: 3, cpus: [2, 3], memoryMiB: 2048, distances: [20, 10] },
  ]);

describe('what machines are bound to', () => {
  let dir: string;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'berth-bound-'));
  });
  afterAll(() => rmSync(dir, { recursive: true }));
  const path = (): string => join(dir, randomUUID(), 'numa.json');

  it('is never more than a node has, kept for the epoch, over ends of an agent, and free again after it', async () => {
    const deeds = fc.array(
      fc.record({
        deed: fc.constantFrom('ensure', 'release', 'agentEnds'),
        of: fc.integer({ min: 0, max: 4 }),
        nodes: fc.integer({ min: 1, max: 3 }),
        memoryMiB: fc.integer({ min: 50, max: 900 }),
      }),
      { maxLength: 25 },
    );
    await fc.assert(
      fc.asyncProperty(deeds, async (all) => {
        const [file, host] = [path(), twoNodes()];
        let bindings = new NumaBindings(file, host);
        const has = new Map<number, { nodes: number; memoryMiB: number; ids: number[] }>();
        for (const { deed, of, nodes, memoryMiB } of all) {
          if (deed === 'agentEnds') bindings = new NumaBindings(file, host);
          if (deed === 'release') {
            await bindings.release(key(of));
            has.delete(of);
          }
          if (deed === 'ensure') {
            const had = has.get(of);
            const wanted = { nodes, memoryMiB, vcpus: 1 };
            const ids = await bindings.ensure(key(of), wanted, null).then(
              (hosts) => hosts.map(({ id }) => id),
              (error: Error) => {
                expect(error.message).toContain('each in one node of its host');
                return null;
              },
            );
            if (ids === null) continue;
            if (had?.nodes === nodes && had.memoryMiB === memoryMiB) expect(ids).toEqual(had.ids);
            has.set(of, { nodes, memoryMiB, ids });
          }
          for (const { id, memoryMiB: size } of host.all) {
            const bound = [...has.values()].reduce(
              (sum, one) => sum + one.memoryMiB * one.ids.filter((node) => node === id).length,
              0,
            );
            expect(bound).toBeLessThanOrEqual(bindableMiB(size));
          }
        }
        for (let n = 0; n <= 4; n += 1) expect(await bindings.of(key(n))).toEqual(has.get(n)?.ids ?? null);
      }),
      { numRuns: 60 },
    );
  });

  it('is another node where the one that it had is gone, and for huge pages one that has them free', async () => {
    const host = twoNodes();
    const bindings = new NumaBindings(path(), host);
    const one = { nodes: 1, memoryMiB: 512, vcpus: 2 };
    expect(await bindings.ensure(key(1), one, null)).toEqual([{ id: 3, cpus: [2, 3] }]);
    host.all = host.all.slice(0, 1);
    expect(await bindings.ensure(key(1), one, null)).toEqual([{ id: 0, cpus: [0, 1] }]);
    const refused = bindings.ensure(key(2), one, '2MiB');
    await expect(refused).rejects.toMatchObject({
      code: 'hostFault',
      message: expect.stringContaining('512 MiB in pages of 2MiB and 2 processors') as string,
      remedy: expect.stringContaining('numa.placement') as string,
    });
    host.free = 512;
    expect(await bindings.ensure(key(2), one, '2MiB')).toEqual([{ id: 0, cpus: [0, 1] }]);
    // What is in huge pages takes no ordinary memory.
    expect(await bindings.ensure(key(3), { ...one, memoryMiB: 448 }, null)).toHaveLength(1);
    await expect(bindings.ensure(key(4), one, null)).rejects.toThrow('node 0 has 0 MiB and 2');
  });
});

let disk: Buffer;
beforeAll(async () => {
  disk = await sampleDisk();
}, 300_000);

describe.each(['libvirt', 'qemu'] as const)('nodes of a machine under %s', (driver) => {
  let host: TestHost | QemuHost;
  let runtime: (QemuRuntime | LibvirtRuntime) & Required<Pick<Runtime, 'logs'>>;
  beforeAll(async () => {
    host = driver === 'libvirt' ? await TestHost.start() : new QemuHost();
    runtime = host.runtime() as unknown as typeof runtime;
  });
  afterAll(() => host.stop(), 120_000);

  const observed = async ({ instanceId }: WorkloadSpec) =>
    (await runtime.recover()).find((seen) => seen.instanceId === instanceId);
  const gone = async (spec: WorkloadSpec): Promise<void> => {
    await runtime.stop(spec, 0, step(60_000));
    await runtime.remove(spec, step(60_000));
    await runtime.removeVolume(spec.rootVolume.id, step(60_000));
  };
  const shape = async (spec: WorkloadSpec) => machineShape(await runtime.monitor(spec), [], {});
  /** Mappings of a process that are bound to a node, and where its threads may run, by their names. */
  const bound = (pid: number): number =>
    readFileSync(`/proc/${pid}/numa_maps`, 'utf8')
      .split('\n')
      .filter((line) => / bind(=static)?:\d/.test(line)).length;
  const threads = (pid: number): [name: string, cpus: number[]][] =>
    readdirSync(`/proc/${pid}/task`).map((thread) => {
      const text = readFileSync(`/proc/${pid}/task/${thread}/status`, 'utf8');
      const cpus = /^Cpus_allowed_list:\s*(\S+)$/m.exec(text)?.[1] ?? '';
      return [/^Name:\s*(.*)$/m.exec(text)?.[1] ?? '', listRead(cpus)];
    });

  it('are seen by its guest with their memory and processors, bound on the host, and the same after a suspend', async () => {
    const rootVolume = { id: randomUUID() as VolumeId, sizeMiB: 64 };
    const numa = { nodes: 2, placement: 'bind' } as const;
    const spec = host.specOf(disk, { rootVolume, vcpus: 2, memoryMiB: 256, numa });
    await runtime.prepare(spec, step(60_000));
    await runtime.start(spec, step(60_000));
    await serialSays(runtime, spec, /berth-ready/);
    const seen = async (): Promise<void> => {
      const at = '/sys/devices/system/node';
      expect(await shellSays(runtime, spec, `cat ${at}/online`, '[-0-9]+')).toBe('0-1');
      for (const node of [0, 1]) {
        expect(await shellSays(runtime, spec, `cat ${at}/node${node}/cpulist`, '[-,0-9]+')).toBe(`${node}`);
        const total = `sed -n 's/.*MemTotal: *\\([0-9]*\\) kB/\\1/p' ${at}/node${node}/meminfo`;
        const mib = Number(await shellSays(runtime, spec, total, '\\d+')) / 1024;
        // What firmware and kernel keep of each apart.
        expect([mib > 64, mib <= 128]).toEqual([true, true]);
      }
    };
    const there = numaNodes();
    const isBound = async (): Promise<void> => {
      const { numaHostNodes = [], pid } = (await observed(spec)) ?? {};
      expect(numaHostNodes).toHaveLength(2);
      expect(new Set(numaHostNodes).size).toBe(Math.min(2, there.length));
      expect(bound(pid ?? 0)).toBeGreaterThanOrEqual(2);
      const cpus = (id: number | undefined) => there.find((node) => node.id === id)?.cpus ?? [];
      const vcpus = threads(pid ?? 0).filter(([name]) => name.startsWith('CPU '));
      expect(vcpus.map(([, where]) => where).sort()).toEqual(numaHostNodes.map(cpus).sort());
    };
    await seen();
    await isBound();
    expect(await shape(spec)).toMatchObject({ numaNodes: 2, hugePages: null });

    await runtime.suspend(spec, step(60_000));
    expect((await observed(spec))?.numaHostNodes).toHaveLength(2);
    await runtime.start({ ...spec, numa: { nodes: 1, placement: 'bind' } }, step(60_000));
    await seen();
    await isBound();
    expect(await shape(spec)).toMatchObject({ numaNodes: 2 });
    await gone(spec);
  }, 300_000);

  it('may be one, bound with all that it can get, or several in huge pages', async () => {
    const grown = {
      ...{ minMemoryMiB: 32, maxMemoryMiB: 160, minVcpus: 1, maxVcpus: 2 },
      numa: { nodes: 1, placement: 'bind' },
    } as const;
    const one = host.spec('steady', grown);
    await runtime.prepare(one, step(60_000));
    await runtime.start(one, step(60_000));
    const { numaHostNodes, pid } = (await observed(one)) ?? {};
    expect(numaHostNodes).toHaveLength(1);
    expect(bound(pid ?? 0)).toBeGreaterThanOrEqual(2);
    const cpus = numaNodes().find(({ id }) => id === numaHostNodes?.[0])?.cpus;
    for (const thread of threads(pid ?? 0)) expect(thread).toEqual([thread[0], cpus]);
    await runtime.stop(one, 0, step(60_000));
    await runtime.start({ ...one, numa: undefined }, step(60_000));
    expect((await observed(one))?.numaHostNodes).toBeUndefined();
    await gone(one);

    const pool = '/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages';
    const reserved = readFileSync(pool, 'utf8');
    writeFileSync(pool, String(Number(reserved) + 16));
    try {
      const numa = { nodes: 2, placement: 'any' } as const;
      const huge = host.spec('steady', { vcpus: 2, hugePages: '2MiB', numa });
      await runtime.prepare(huge, step(60_000));
      await runtime.start(huge, step(60_000));
      expect(await shape(huge)).toMatchObject({ hugePages: '2MiB', numaNodes: 2, memoryMiB: 32 });
      expect((await observed(huge))?.numaHostNodes).toBeUndefined();
      await gone(huge);
    } finally {
      writeFileSync(pool, reserved);
    }
  });

  it('are refused where what its epoch has makes no equal ones', async () => {
    const spec = host.spec('steady', { vcpus: 1, numa: { nodes: 2, placement: 'any' } });
    await runtime.prepare(spec, step(60_000));
    await expect(runtime.start(spec, step(60_000))).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining('no 2 equal nodes') as string,
    });
    await gone(spec);
  });
});

it('libvirt validates every division and binding', async () => {
  const host = await TestHost.start();
  try {
    const records = { seedPath: () => '/seed' } as never;
    const logs = { prepare: () => Promise.resolve('/log') } as never;
    const parts = new Preparation(host.parts(), records, logs, 'libvirt', new HostChoices(host.dir));
    const spec = host.spec('steady', { vcpus: 4, memoryMiB: 64 });
    const shape = { accel: 'tcg', display: false, scsi: true } as const;
    const machine = await parts.machine(spec, { uid: 0, gid: 0 }, AbortSignal.timeout(10_000), shape);
    await host.parts().volumes.remove(spec.rootVolume.id);
    const [id = 0] = numaNodes().map((node) => node.id);
    const hosts = [id, id].map((node) => ({ id: node, cpus: [0, 1, 3] }));
    const variants: Partial<MachineSpec>[] = [
      { numa: { nodes: 2, hosts: null } },
      { numa: { nodes: 4, hosts: null }, hugePages: '2MiB', cpuMillis: 1500 },
      { numa: { nodes: 2, hosts }, hugePages: '2MiB' },
      { numa: { nodes: 2, hosts }, cpuMillis: 1500 },
      { numa: { nodes: 1, hosts: hosts.slice(1) } },
      {
        numa: { nodes: 1, hosts: hosts.slice(1) },
        plug: { sizeMiB: 128, requestedMiB: 0 },
        vcpuPlug: { most: 6, plugged: 0 },
      },
    ];
    for (const variant of variants) {
      const file = join(host.dir, 'nodes.xml');
      const text = domainXml({ ...machine, ...variant, uuid: randomUUID() });
      writeFileSync(file, text.replace(/<name>[^<]*/, '<name>nodes'));
      await run('virsh', ['-c', host.uri, 'define', '--validate', file]);
      const { stdout } = await run('virsh', ['-c', host.uri, 'dumpxml', '--inactive', 'nodes']);
      await run('virsh', ['-c', host.uri, 'undefine', 'nodes']);
      const count = (what: string): number => stdout.split(what).length - 1;
      const { nodes, hosts: bound } = variant.numa ?? { nodes: 1, hosts: null };
      expect([variant, count('<cell '), count('<memnode '), count('<vcpupin ')]).toEqual([
        variant,
        nodes > 1 || variant.plug !== undefined ? nodes : 0,
        bound !== null && (nodes > 1 || variant.plug !== undefined) ? nodes : 0,
        bound !== null && nodes > 1 ? 4 : 0,
      ]);
    }
  } finally {
    await host.stop();
  }
});
