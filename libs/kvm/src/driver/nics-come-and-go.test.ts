import { randomUUID } from 'node:crypto';
import { createTap, Netlink } from '@berth/linux';
import type { NetworkId, NicId, VolumeId } from '@berth/model';
import type { Runtime, WorkloadHas, WorkloadKey, WorkloadNic, WorkloadSpec } from '@berth/runtime';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { eventually, QemuHost, step, TestHost } from '../testing/host.js';
import { sampleDisk, serialSays, shellSays } from '../testing/sample-guest.js';
import type { NicAttacher, NicSeen } from './ports.js';
import type { VmRuntime } from './vm-runtime.js';

/* The sample guest: Debian's cloud kernel with virtio_net, and a shell on its serial line. One boot for each driver. */
let disk: Buffer;

beforeAll(async () => {
  disk = await sampleDisk();
}, 300_000);

/** Where a life of the agent stands still for ever, as if it were killed there. */
let held: { point: string; reached: () => void } | null = null;
vi.mock('@berth/faults', () => ({
  faultPoint: (point: string): Promise<void> | undefined => {
    if (point !== held?.point) return undefined;
    held.reached();
    return new Promise(() => undefined);
  },
}));

/** Taps on no bridge: what the network room does with them has its own tests. */
class Taps implements NicAttacher {
  readonly nics = new Map<string, NicSeen>();

  constructor(private readonly prefix: string) {}

  ensure(): Promise<void> {
    return Promise.resolve();
  }

  release = this.ensure;

  attachTap(key: WorkloadKey, nic: WorkloadNic, owner: { uid: number; gid: number }) {
    const { id: nicId, networkId, mac, ipv4 } = nic;
    const { instanceId, epoch } = key;
    const ifname = `${this.prefix}${nicId.slice(0, 6)}`;
    if (!this.nics.has(nicId)) createTap(ifname, owner);
    Netlink.with(undefined, (n) => n.setLink(ifname, { up: true }));
    const addresses = { mac, ipv4 };
    this.nics.set(nicId, { instanceId, epoch, nicId, networkId, addresses, ifname, kind: 'tap' });
    return Promise.resolve({ ifname });
  }

  /** Taps that a process has open and that are up have a carrier. */
  carriers(): string[] {
    return Netlink.with(undefined, (n) => n.links())
      .filter(({ name }) => name.startsWith(this.prefix))
      .map(({ name }) => name)
      .sort();
  }

  silence(_key: WorkloadKey, nicId: NicId): Promise<void> {
    const nic = this.nics.get(nicId);
    if (nic !== undefined) Netlink.with(undefined, (n) => n.setLink(nic.ifname, { up: false }));
    return Promise.resolve();
  }

  detachNic(_key: WorkloadKey, nicId: NicId): Promise<void> {
    const nic = this.nics.get(nicId);
    if (nic !== undefined) Netlink.with(undefined, (n) => n.deleteLink(nic.ifname));
    this.nics.delete(nicId);
    return Promise.resolve();
  }

  async detach(key: WorkloadKey): Promise<void> {
    for (const { nicId } of [...this.nics.values()]) await this.detachNic(key, nicId);
  }

  inventory(): Promise<readonly NicSeen[]> {
    return Promise.resolve([...this.nics.values()]);
  }
}

const nicOf = (last: number): WorkloadNic => ({
  id: randomUUID() as NicId,
  networkId: randomUUID() as NetworkId,
  mac: `02:00:00:00:00:0${last}`,
  ipv4: `10.0.0.${last}`,
});

describe.each(['libvirt', 'qemu'] as const)('nics of a machine under %s', (driver) => {
  let host: TestHost | QemuHost;
  let runtime: VmRuntime<never> & Required<Pick<Runtime, 'logs'>>;
  let spec: WorkloadSpec;
  const network = new Taps(`bn${process.pid % 10_000}`);
  const [first, second, third] = [nicOf(1), nicOf(2), nicOf(3)];
  /** The next life of the agent, after one that ended or, `cut`, was killed in the middle of something. */
  const reborn = async (cut = false): Promise<void> => {
    if (!cut) await runtime?.close();
    else if (host instanceof TestHost) host.cutShort(runtime);
    else void runtime.close();
    runtime = host.runtime({ network }) as unknown as typeof runtime;
  };
  beforeAll(async () => {
    host = driver === 'libvirt' ? await TestHost.start() : new QemuHost();
    await reborn();
    const rootVolume = { id: randomUUID() as VolumeId, sizeMiB: 64 };
    spec = host.specOf(disk, { memoryMiB: 192, rootVolume, nics: [first] });
    await runtime.prepare(spec, step(60_000));
    await runtime.start(spec, step(60_000));
    await serialSays(runtime, spec, /berth-ready/);
  }, 300_000);
  afterAll(async () => {
    await runtime.stop(spec, 0, step());
    await runtime.remove(spec, step());
    await host.stop();
    expect(network.carriers()).toEqual([]);
  }, 120_000);

  const bring = (...nics: WorkloadNic[]): Promise<WorkloadHas> =>
    runtime.update({ ...spec, nics }, step(60_000));
  const ids = (...nics: WorkloadNic[]): NicId[] => nics.map(({ id }) => id).sort();
  const has = async (...nics: WorkloadNic[]): Promise<NicId[]> => {
    const { nics: had = [], unsettled } = await bring(...nics);
    expect(unsettled).toEqual([]);
    return [...had].sort();
  };

  /** MACs of the guest's nics, as its kernel says. */
  async function guestSees(): Promise<string[]> {
    const command = "cat /sys/class/net/*/address | tr '\\n' ,";
    const macs = await shellSays(runtime, spec, command, '[0-9a-f:,]+');
    return macs
      .split(',')
      .filter((mac) => mac.startsWith('02:'))
      .sort();
  }
  const sees = (...nics: WorkloadNic[]): Promise<true> =>
    eventually(
      'what the guest sees',
      async () =>
        String(await guestSees()) === String(nics.map(({ mac }) => mac).sort()) ? true : undefined,
      60_000,
    );

  it('come and go as its guest sees them, and those it has survive a suspend', async () => {
    await sees(first);
    for (let n = 0; n < 2; n += 1) expect(await has(first, second)).toEqual(ids(first, second));
    await sees(first, second);

    // A later life of the agent finds them, and one that it started with goes, too.
    await reborn();
    expect(await has(second, third)).toEqual(ids(second, third));
    await sees(second, third);
    expect(network.nics.size).toBe(2);

    await runtime.suspend({ ...spec, nics: [second, third] }, step(60_000));
    await runtime.prepare({ ...spec, nics: [second] }, step(60_000));
    await runtime.start({ ...spec, nics: [second] }, step(60_000));
    await sees(second, third);
    expect(await has(second)).toEqual(ids(second));
    await sees(second);

    // One that stands still lets go of nothing, and nothing passes what is to go; it goes when the guest can do it.
    await runtime.pause(spec, step());
    const still = await bring();
    expect(still.nics).toEqual(ids(second));
    expect(still.unsettled).toEqual([
      { field: 'nics', why: `its guest has not let go of nic ${second.mac}` },
    ]);
    await runtime.resume(spec, step());
    await eventually(
      'it let go',
      async () => ((await bring()).unsettled.length === 0 ? true : undefined),
      60_000,
    );
    expect(network.nics.size).toBe(0);
    await sees();
  }, 400_000);

  it('are what is asked for, whatever step an agent was killed at', async () => {
    const killedAt = async (point: string, ...wanted: WorkloadNic[]): Promise<void> => {
      await new Promise<void>((reached, failed) => {
        held = { point, reached };
        bring(...wanted).then(() => failed(new Error(`it never came to ${point}`)), failed);
      });
      held = null;
      await reborn(true);
    };
    const goes = (): Promise<true> =>
      eventually(
        'it has none',
        async () => ((await bring()).unsettled.length === 0 ? true : undefined),
        60_000,
      );
    // What had no device yet goes with its tap; what had one stays.
    await killedAt('vm.nic.made', first);
    expect(await has()).toEqual([]);
    expect(network.nics.size).toBe(0);
    await killedAt('vm.nic.made', first);
    expect(await has(first)).toEqual(ids(first));
    await killedAt('vm.nic.plugged', first, second);
    expect(await has(first, second)).toEqual(ids(first, second));
    await sees(first, second);
    for (const point of ['vm.nic.silenced', 'vm.nic.unplugged', 'vm.nic.dropped', 'vm.nic.detached']) {
      await killedAt(point, second);
      await eventually(
        point,
        async () => ((await bring(second)).unsettled.length === 0 ? true : undefined),
        60_000,
      );
      expect([...network.nics.keys()]).toEqual(ids(second));
      await sees(second);
      expect(await has(first, second)).toEqual(ids(first, second));
    }
    await goes();
    await sees();
  }, 400_000);

  it('have as many slots as a machine has, and one more is told', async () => {
    const more = [4, 5, 6, 7, 8].map(nicOf);
    const fits = more.slice(0, 4);
    expect(await has(...fits)).toEqual(ids(...fits));
    const full = await bring(...more);
    expect(full.unsettled).toEqual([{ field: 'nics', why: `it has no slot for nic ${more[4]?.mac}` }]);
    expect([...network.nics.keys()].sort()).toEqual(ids(...fits));
    await sees(...fits);
  }, 400_000);
});
