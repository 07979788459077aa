import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { protocol } from '@berth/link';
import type { Assignment, AssignmentList, ReportBody, Tombstone } from '@berth/link';
import type { HostId, Isolation, PlacementSpec } from '@berth/model';
import { RuntimeError, SimulatedHost, SimulatedRuntime } from '@berth/runtime';
import type { RuntimeProbe, StepContext, WorkloadKey, WorkloadSpec } from '@berth/runtime';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Clock } from './clock.js';
import { HostNetworks } from './networks.js';
import { ImageFetch } from './image-fetch.js';
import { Journal } from './journal.js';
import { Placements } from './placements.js';
import { Runtimes } from './runtimes.js';
import { systemClock } from './system-clock.js';
import { SecretValues } from './secret-values.js';

/*
 * Both VM drivers on one host, each a simulated machine that outlives the agent. The journal is real and on disk; time
 * runs a hundred times as fast where the agent only waits.
 */
type Name = 'libvirt' | 'qemu';
type Wish = PlacementSpec['driver'];

const clock: Clock = { ...systemClock, sleep: (ms, signal) => systemClock.sleep(ms / 100, signal) };
const log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
/** A busy machine is waited for; what is seen ends the wait. */
const patient = { timeout: 20_000, interval: 2 };
const instanceId = '00000000-0000-4000-8000-0000000000aa' as WorkloadKey['instanceId'];
const otherId = '00000000-0000-4000-8000-0000000000bb' as WorkloadKey['instanceId'];
const digest = `sha256:${'a'.repeat(64)}`;

/** A driver that may be down, and says so at once when it starts what another one runs. */
class Driver extends SimulatedRuntime {
  override readonly isolations: readonly Isolation[] = ['vm'];

  constructor(
    override readonly name: Name,
    private readonly machine: Machine,
  ) {
    super(machine.hosts[name]);
  }

  private up(): void {
    if (this.machine.down.has(this.name)) throw new RuntimeError('hostFault', `${this.name} is down`);
  }
  override async probe(): Promise<RuntimeProbe> {
    const down = this.machine.down.has(this.name);
    if (down) await systemClock.sleep(30);
    return { ok: !down, reason: down ? 'down' : null, facets: [], facts: {} };
  }
  override recover(): ReturnType<SimulatedRuntime['recover']> {
    this.up();
    return super.recover();
  }
  override async prepare(spec: WorkloadSpec, ctx: StepContext): Promise<void> {
    this.up();
    const journal = await readFile(this.machine.journal(spec.instanceId), 'utf8');
    if (!journal.includes(`"runtime":"${this.name}"`))
      this.machine.faults.push('acted before it was on disk');
    return super.prepare(spec, ctx);
  }
  override async start(spec: WorkloadSpec, ctx: StepContext): Promise<void> {
    this.up();
    const running = this.machine.running(spec.instanceId);
    const other = running.find((r) => r !== `${this.name}/${spec.epoch}`);
    if (other !== undefined) this.machine.faults.push(`${this.name}/${spec.epoch} started beside ${other}`);
    return super.start(spec, ctx);
  }
  override async stop(key: WorkloadKey, grace: number, ctx: StepContext): Promise<void> {
    this.up();
    return super.stop(key, grace, ctx);
  }
  override async remove(key: WorkloadKey, ctx: StepContext): Promise<void> {
    this.up();
    this.machine.removed.push(`${this.name}/${key.epoch}`);
    return super.remove(key, ctx);
  }
}

/** A host with both drivers, and the agent on it, which may come and go. */
class Machine {
  readonly hosts = {
    libvirt: new SimulatedHost({ now: () => new Date(), isolations: ['vm'] }),
    qemu: new SimulatedHost({ now: () => new Date(), isolations: ['vm'] }),
  };
  readonly down = new Set<Name>();
  readonly faults: string[] = [];
  readonly removed: string[] = [];
  readonly reports: ReportBody[] = [];
  private revision = 0;
  private parts: { close(): Promise<void> }[] = [];
  private placements!: Placements;

  constructor(readonly dir: string) {}

  journal(id: string = instanceId): string {
    return join(this.dir, 'instances', `${id}.json`);
  }

  async start(): Promise<void> {
    const { journal } = await Journal.open(this.dir, () => new Date());
    const report = (body: ReportBody): void => void this.reports.push(body);
    const runtimes = new Runtimes([new Driver('libvirt', this), new Driver('qemu', this)], clock, log);
    const images = new ImageFetch(
      {
        has: () => Promise.resolve(true),
        rely: () => undefined,
        put: () => Promise.resolve(),
        open: () => Promise.reject(new Error('it holds nothing')),
      },
      report,
      { keep: () => Promise.resolve() },
    );
    const networks = new HostNetworks(null, clock, log);
    const secrets = new SecretValues();
    const common = { clock, log, journal, images, runtimes, networks, secrets, report };
    this.placements = new Placements({ ...common, bootId: 'b1', vmStarts: 2, unusedImages: () => undefined });
    this.placements.start();
    this.parts = [this.placements, networks, runtimes, journal];
  }

  async end(): Promise<void> {
    for (const part of this.parts) await part.close();
  }

  async list(assignments: readonly Assignment[], tombstones: readonly Tombstone[] = []): Promise<void> {
    this.revision += 1;
    const hostId = '00000000-0000-4000-8000-000000000001' as HostId;
    const about: Omit<AssignmentList, 'assignmentRev' | 'assignments' | 'tombstones'> = {
      protocol,
      hostId,
      storeIncarnation: 'one',
      session: 1,
      networks: [],
    };
    const list: AssignmentList = {
      ...about,
      assignmentRev: this.revision,
      assignments: [...assignments],
      tombstones: [...tombstones],
    };
    expect(await this.placements.apply(list)).toBeNull();
  }

  /** `driver/epoch` of everything that runs, or of one instance. */
  running(of?: string): string[] {
    return (['libvirt', 'qemu'] as const).flatMap((name) =>
      Object.values(this.hosts[name].state.workloads)
        .filter((w) => w.pid !== null && (of === undefined || w.spec.instanceId === of))
        .map((w) => `${name}/${w.spec.epoch}`),
    );
  }

  async runs(...wanted: string[]): Promise<void> {
    await expect.poll(() => this.running(), patient).toEqual(wanted);
  }
}

function assigned(
  epoch: number,
  driver: Wish,
  wanted: Assignment['wanted'] = 'running',
  id = instanceId,
): Assignment {
  const image = { kind: 'disk', digest, format: 'raw', sizeBytes: 1, virtualSizeMiB: 1, blobs: [] };
  const workload = {
    instanceId: id,
    epoch,
    project: 'p',
    name: 'web',
    uuid: id,
    isolation: 'vm',
    image,
    vcpus: 1,
    cpuMillis: null,
    memoryMiB: 16,
    rootVolume: { id, sizeMiB: 1 },
    volumes: [],
    nics: [],
    process: null,
    userData: null,
    restart: { policy: 'always', backoffSeconds: 1, maxBackoffSeconds: 1 },
    accel: 'any',
    driver,
  };
  return {
    instanceId: id,
    epoch,
    revision: epoch,
    wanted,
    stopGraceSeconds: 1,
    workload,
  } as unknown as Assignment;
}

let dir: string;
let machine: Machine;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'berth-drivers-'));
  machine = new Machine(dir);
});
afterEach(async () => {
  await machine.end();
  await rm(dir, { recursive: true, force: true });
  expect(machine.faults).toEqual([]);
});

describe('a placement', () => {
  it('that names no driver is with libvirt where it answers, else with qemu, and stays there', async () => {
    await machine.start();
    await machine.list([assigned(1, 'any')]);
    await machine.runs('libvirt/1');
    // It answers no more at the moment when the next epoch is prepared, though it was ready a moment ago.
    await machine.list([assigned(1, 'any', 'stopped')]);
    await machine.runs();
    machine.down.add('libvirt');
    const beside = assigned(1, 'any', 'running', otherId);
    await machine.list([beside]);
    await machine.runs('qemu/1');
    machine.down.delete('libvirt');
    await machine.end();
    await machine.start();
    machine.hosts.qemu.end(beside, { reason: 'guestCrash' });
    await machine.runs('qemu/1');
  });

  it('keeps its driver when the spec changes; the next epoch takes the new one, after the old one was cleared by its own', async () => {
    await machine.start();
    await machine.list([assigned(1, 'libvirt')]);
    await machine.runs('libvirt/1');
    await machine.list([assigned(1, 'qemu')]);
    machine.hosts.libvirt.end({ instanceId, epoch: 1 }, { reason: 'guestCrash' });
    await machine.runs('libvirt/1');
    await machine.list([assigned(1, 'qemu', 'stopped'), assigned(2, 'qemu')]);
    await machine.runs('qemu/2');
    expect(machine.removed).toEqual(['libvirt/1']);
    const said = machine.reports.filter((r) => r.kind === 'placement').map((r) => [r.epoch, r.driver]);
    expect(said).toContainEqual([1, 'libvirt']);
    expect(said).not.toContainEqual([1, 'qemu']);
    expect(said).toContainEqual([2, 'qemu']);
  });

  it('whose predecessor was made by a driver that is away now waits for it', async () => {
    await machine.start();
    await machine.list([assigned(1, 'libvirt')]);
    await machine.runs('libvirt/1');
    machine.down.add('libvirt');
    await machine.end();
    await machine.start();
    await machine.list([assigned(1, 'qemu', 'stopped'), assigned(2, 'qemu')]);
    const second = (): boolean => machine.reports.some((r) => r.kind === 'placement' && r.epoch === 2);
    await expect.poll(second, patient).toBe(true);
    expect(machine.running()).toEqual(['libvirt/1']);
    machine.down.delete('libvirt');
    await machine.runs('qemu/2');
  });

  it('of a journal of before is with whoever holds it, and nobody acts before both were asked', async () => {
    await machine.start();
    await machine.list([assigned(1, 'any')]);
    await machine.runs('libvirt/1');
    // The last thing that this agent writes.
    await expect.poll(() => readFile(machine.journal(), 'utf8'), patient).toContain('"started":{');
    await machine.end();
    const record = (await readFile(machine.journal(), 'utf8')).replace(',"runtime":"libvirt"', '');
    await writeFile(machine.journal(), record.replace('"driver":"any"', '"driver":"qemu"'));
    machine.down.add('libvirt');
    machine.reports.length = 0;
    await machine.start();
    // qemu holds nothing, and acts: for another instance.
    await machine.list([assigned(1, 'qemu'), assigned(1, 'qemu', 'running', otherId)]);
    await machine.runs('libvirt/1', 'qemu/1');
    const beyondWaiting = machine.reports.filter(
      (r) => r.kind === 'placement' && r.instanceId === instanceId && r.phase !== 'assigned',
    );
    expect(beyondWaiting).toEqual([]);
    machine.down.delete('libvirt');
    machine.hosts.libvirt.end({ instanceId, epoch: 1 }, { reason: 'guestCrash' });
    await machine.runs('libvirt/1', 'qemu/1');
  });

  it('that an agent left without a driver is taken up by the next one, once each has answered or is known to be away', async () => {
    for (const name of ['libvirt', 'qemu'] as const) machine.down.add(name);
    await machine.start();
    await machine.list([assigned(1, 'any')]);
    await machine.end();
    machine.down.delete('qemu');
    await machine.start();
    await machine.runs('qemu/1');
  });

  it('that was lost from the journal is taken over from the driver that runs it', async () => {
    await machine.start();
    await machine.list([assigned(1, 'qemu')]);
    await machine.runs('qemu/1');
    await machine.end();
    await rm(machine.journal());
    await machine.start();
    await machine.list([assigned(1, 'any')]);
    await expect.poll(() => readFile(machine.journal(), 'utf8'), patient).toContain('"runtime":"qemu"');
    machine.hosts.qemu.end({ instanceId, epoch: 1 }, { reason: 'guestCrash' });
    await machine.runs('qemu/1');
  });

  it('of which no record is left is removed from every driver', async () => {
    await machine.start();
    const tombstone = { id: 't1', kind: 'epoch', instanceId, epoch: 3 } as const;
    await machine.list([], [tombstone]);
    await expect.poll(() => machine.reports, patient).toContainEqual({ kind: 'tombstoneDone', id: 't1' });
    expect(machine.removed).toEqual(['libvirt/3', 'qemu/3']);
  });
});

type Step = `driver ${Wish}` | 'new epoch' | 'agent restart' | 'crash' | `${Name} ${'down' | 'up'}`;
const steps = fc.constantFrom<Step>(
  ...(['any', 'libvirt', 'qemu'] as const).map((wish) => `driver ${wish}` as const),
  'new epoch',
  'new epoch',
  'agent restart',
  'crash',
  'libvirt down',
  'libvirt up',
  'qemu down',
  'qemu up',
);

it('whatever is wished, restarted or away, never do two drivers run one instance, and the newest epoch runs in the end', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(steps, { minLength: 1, maxLength: 12 }), async (run) => {
      const own = await mkdtemp(join(dir, 'run-'));
      const host = new Machine(own);
      await host.start();
      let epoch = 1;
      let wish: Wish = 'any';
      const told = (): Promise<void> =>
        host.list(
          Array.from({ length: epoch }, (_, i) =>
            assigned(i + 1, wish, i + 1 === epoch ? 'running' : 'stopped'),
          ).slice(-2),
        );
      try {
        await told();
        for (const step of run) {
          const [first, second] = step.split(' ');
          if (first === 'driver') wish = second as Wish;
          else if (step === 'new epoch') epoch += 1;
          else if (step === 'agent restart') await host.end().then(() => host.start());
          else if (step === 'crash')
            for (const name of ['libvirt', 'qemu'] as const)
              for (const { spec } of Object.values(host.hosts[name].state.workloads))
                host.hosts[name].end(spec, { reason: 'guestCrash' });
          else if (second === 'down') host.down.add(first as Name);
          else host.down.delete(first as Name);
          await told();
          await systemClock.sleep(3);
        }
        host.down.clear();
        await told();
        await expect.poll(() => host.running().map((r) => r.split('/')[1]), patient).toEqual([String(epoch)]);
      } finally {
        await host.end();
        await rm(own, { recursive: true, force: true });
      }
      expect(host.faults).toEqual([]);
    }),
    { numRuns: 25 },
  );
}, 120_000);
