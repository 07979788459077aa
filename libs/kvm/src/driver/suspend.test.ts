import { readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { run } from '@berth/linux';
import type { Observation, WorkloadSpec } from '@berth/runtime';
import { VolumePool } from '@berth/storage';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import type { QmpExecutor } from '../qmp/commands.js';
import { saveMemory } from '../qemu/memory-stream.js';
import { eventually, QemuHost, serialText, step, TestHost } from '../testing/host.js';
import { domainName } from '../machine/metadata.js';
import { ownEpochDirectory } from './epoch-files.js';
import { qemuAccount } from './qemu-account.js';
import type { VmRuntime } from './vm-runtime.js';

/*
 * What a runtime does that is killed while it suspends a machine or brings it back. A fault point at which it never goes
 * on, its connections closed: that is what a kill leaves.
 */
let held: { point: string; reached: () => void } | null = null;
vi.mock('@berth/faults', () => ({
  faultPoint: (point: string): Promise<void> | undefined => {
    if (point !== held?.point) return undefined;
    held.reached();
    return new Promise(() => undefined);
  },
}));
afterEach(() => (held = null));

const boots = (text: string): number => text.split('boots=').length - 1;

const clearing = {
  libvirt: ['libvirt.destroyed', 'libvirt.undefined'],
  qemu: ['qemu.ended', 'qemu.cgroup.removed'],
} as const;
const launching = {
  libvirt: ['libvirt.defined', 'libvirt.created'],
  qemu: [
    'qemu.files.given',
    'qemu.recorded',
    'qemu.cgroup.made',
    'qemu.spawned',
    'qemu.confined',
    'qemu.pid.recorded',
    'qemu.greeted',
    'qemu.continued',
  ],
} as const;

describe.each(['libvirt', 'qemu'] as const)('a machine that is suspended under %s', (driver) => {
  let host: TestHost | QemuHost;
  let runtime: VmRuntime<never>;
  /** The next life of the agent. */
  const reborn = (): void => {
    if (host instanceof TestHost) host.cutShort(runtime);
    else void runtime.close();
    runtime = host.runtime() as unknown as VmRuntime<never>;
  };
  beforeAll(async () => {
    host = driver === 'libvirt' ? await TestHost.start() : new QemuHost();
    runtime = host.runtime() as unknown as VmRuntime<never>;
  });
  afterAll(() => host.stop());

  const seen = async (spec: WorkloadSpec): Promise<Observation | undefined> =>
    (await runtime.recover()).find((o) => o.instanceId === spec.instanceId);
  const heard = async (spec: WorkloadSpec, times: number): Promise<true> =>
    eventually(`${times} boots`, async () =>
      boots(await serialText(runtime, spec)) === times ? true : undefined,
    );
  const running = async (changes: Partial<WorkloadSpec> = {}): Promise<WorkloadSpec> => {
    const spec = host.spec('steady', changes);
    await runtime.prepare(spec, step());
    await runtime.start(spec, step());
    await heard(spec, 1);
    return spec;
  };
  /** It lives: only then it heeds a polite stop. It booted so many times, and nothing of it is left. */
  const endsWell = async (spec: WorkloadSpec, times = 1): Promise<void> => {
    expect(await seen(spec)).toMatchObject({ phase: 'running', power: 'running' });
    await runtime.stop(spec, 20, step());
    expect(await seen(spec)).toMatchObject({ phase: 'ended', exit: { reason: 'stopped' } });
    expect(boots(await serialText(runtime, spec))).toBe(times);
    await runtime.remove(spec, step());
    await runtime.removeVolume(spec.rootVolume.id, step());
    expect(await host.leftovers(spec)).toEqual([]);
  };
  /** Kills the runtime when it comes by this point. */
  const killedAt = async (point: string, work: () => Promise<unknown>): Promise<void> => {
    await new Promise<void>((resolve, reject) => {
      held = { point, reached: resolve };
      work().then(
        () => reject(new Error(`it did not come by ${point}`)),
        (error: unknown) => reject(error as Error),
      );
    });
    held = null;
    reborn();
  };
  const memory = (spec: WorkloadSpec): string => join(host.dir, 'volumes', spec.rootVolume.id, 'memory');

  it.each([
    'vm.suspend.recorded',
    'vm.memory.saved',
    'vm.suspended.recorded',
    ...clearing[driver],
    'vm.suspended',
  ])('by an agent that is killed at %s is suspended by the next', async (point) => {
    const spec = await running();
    await killedAt(point, () => runtime.suspend(spec, step()));
    // A look alone runs nothing, whatever it finds.
    expect(['running', 'paused', 'suspended']).toContain((await seen(spec))?.power);
    await runtime.suspend(spec, step());
    expect(await seen(spec)).toMatchObject({ phase: 'running', power: 'suspended', pid: null });
    expect(statSync(memory(spec)).mode & 0o777).toBe(0o600);
    await runtime.start(spec, step());
    await endsWell(spec);
  });

  it.each(['vm.suspend.recorded', 'vm.memory.saved'])(
    'by an agent that is killed at %s goes on when that is wanted by then',
    async (point) => {
      const spec = await running();
      await killedAt(point, () => runtime.suspend(spec, step()));
      // As an agent does: by what it sees.
      if ((await seen(spec))?.power === 'suspended') await runtime.start(spec, step());
      else await runtime.resume(spec, step());
      await endsWell(spec);
    },
  );

  it.each(['vm.restore.recorded', ...launching[driver], 'vm.restored', 'vm.restored.recorded'])(
    'and is brought back by an agent that is killed at %s is brought back by the next, once',
    async (point) => {
      const spec = await running();
      await runtime.suspend(spec, step());
      await killedAt(point, () => runtime.start(spec, step()));
      const power = (await seen(spec))?.power;
      expect(power).toBe(point === 'vm.restored.recorded' ? 'paused' : 'suspended');
      await runtime.prepare(spec, step());
      await runtime.start(spec, step());
      if (power === 'paused') await runtime.resume(spec, step());
      expect(() => statSync(memory(spec))).toThrow('ENOENT');
      await endsWell(spec);
    },
  );

  it('and was about to be brought back is stopped for good: it boots then', async () => {
    for (const point of ['vm.restored', 'vm.suspended.discarded']) {
      const spec = await running();
      await runtime.suspend(spec, step());
      await killedAt(point, () =>
        point === 'vm.restored' ? runtime.start(spec, step()) : runtime.stop(spec, 20, step()),
      );
      await runtime.stop(spec, 20, step());
      expect(await seen(spec)).toMatchObject({ phase: 'ended', exit: { reason: 'stopped' } });
      expect(() => statSync(memory(spec))).toThrow('ENOENT');
      await runtime.start(spec, step());
      await heard(spec, 2);
      await endsWell(spec, 2);
    }
  });

  it('is there after the host was booted, when nothing of its run is', async () => {
    const spec = await running();
    await runtime.suspend(spec, step());
    const record = join(host.dir, 'state', spec.instanceId, '1.json');
    const before = JSON.parse(readFileSync(record, 'utf8')) as object;
    writeFileSync(record, JSON.stringify({ ...before, bootId: '11111111-2222-3333-4444-555555555555' }));
    rmSync(join(host.dir, 'run', spec.instanceId), { recursive: true, force: true });
    reborn();
    expect(await seen(spec)).toMatchObject({ phase: 'running', power: 'suspended', exit: null });
    await runtime.prepare(spec, step());
    await runtime.start(spec, step());
    await endsWell(spec);
  });

  it('comes back with the processors and the memory it had, whatever is asked of the next run', async () => {
    const spec = await running({ vcpus: 2 });
    await runtime.suspend(spec, step());
    const changed = { ...spec, vcpus: 1, memoryMiB: 48 };
    await runtime.prepare(changed, step());
    await runtime.start(changed, step());
    const { memoryBytes } = await runtime.limits(spec);
    expect(memoryBytes).toBe(32 * 2 ** 20);
    await endsWell(spec);
  });

  it('and whose memory is damaged stays suspended, says so, and can be stopped and booted', async () => {
    const spec = await running();
    await runtime.suspend(spec, step());
    truncateSync(memory(spec), Math.floor(statSync(memory(spec)).size / 2));
    await expect(runtime.start(spec, step())).rejects.toMatchObject({
      code: 'hostFault',
      remedy: expect.stringContaining('Stop it') as string,
    });
    expect(await seen(spec)).toMatchObject({ phase: 'running', power: 'suspended' });
    await runtime.stop(spec, 20, step());
    await runtime.start(spec, step());
    await heard(spec, 2);
    await endsWell(spec, 2);
  });

  it('needs room for its memory, and runs on without it', async () => {
    const spec = await running();
    const volumes = new VolumePool({ dir: join(host.dir, 'volumes'), reserveMiB: 2 ** 30 });
    void runtime.close();
    runtime = host.runtime({ volumes }) as unknown as VmRuntime<never>;
    await expect(runtime.suspend(spec, step())).rejects.toMatchObject({
      code: 'noSpace',
      remedy: expect.stringContaining('Delete') as string,
    });
    expect(await seen(spec)).toMatchObject({ phase: 'running', power: 'running' });
    reborn();
    await endsWell(spec);
  });

  if (driver === 'libvirt')
    it('and that somebody else boots has the memory of that boot, and no other', async () => {
      const spec = await running();
      const libvirtd = host as TestHost;
      const virsh = (...args: string[]): Promise<unknown> => run('virsh', ['-c', libvirtd.uri, ...args]);
      const xml = (await run('virsh', ['-c', libvirtd.uri, 'dumpxml', '--inactive', spec.uuid])).stdout;
      await runtime.suspend(spec, step());
      const path = join(host.dir, 'again.xml');
      writeFileSync(path, xml);
      await virsh('define', path);
      // Gone with the suspended machine, and wanted by the definition for its display.
      await ownEpochDirectory(join(host.dir, 'run'), spec, await qemuAccount('libvirt-qemu'));
      await virsh('start', domainName('test-host', spec.instanceId));
      await heard(spec, 2);
      expect(await seen(spec)).toMatchObject({ phase: 'running', power: 'running' });
      expect(() => statSync(memory(spec))).toThrow('ENOENT');
      await endsWell(spec, 2);
    });
});

describe('a QEMU that hands its memory over', () => {
  it('gets no more of the disk than there is to give, and leaves no file', async () => {
    const host = new QemuHost();
    const path = join(host.dir, 'memory.part');
    let cancelled = false;
    const qemu = {
      execute: (command: string, args?: { uri?: string }) => {
        if (command === 'query-migrate')
          return Promise.resolve({ status: cancelled ? 'cancelled' : 'active' });
        if (command === 'migrate_cancel') cancelled = true;
        if (command !== 'migrate') return Promise.resolve({});
        const socket = connect(String(args?.uri).replace('unix:', ''));
        socket.on('error', () => undefined);
        // Four times what is to give, and then it holds the line.
        let chunks = 640;
        const more = (): void =>
          void (socket.destroyed || chunks-- === 0 || socket.write(Buffer.alloc(65_536), more));
        more();
        return Promise.resolve({});
      },
    } as unknown as QmpExecutor;
    const way = { socketPath: join(host.dir, 'run', 'mem'), uid: 0 };
    await expect(saveMemory(qemu, way, { path, limitBytes: 10_000_000 }, step())).rejects.toMatchObject({
      code: 'noSpace',
    });
    expect(cancelled).toBe(true);
    for (const file of [path, way.socketPath]) expect(() => statSync(file)).toThrow('ENOENT');
    await host.stop();
  });
});
