import { randomInt, randomUUID } from 'node:crypto';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Netlink, run } from '@berth/linux';
import { storageErrorType, type NetworkId, type NicId } from '@berth/model';
import { HostNetwork } from '@berth/network';
import type { Runtime, WorkloadKey, WorkloadSpec } from '@berth/runtime';
import type { ConformanceHarness, WorkloadKind } from '@berth/runtime/conformance';
import { VolumePool } from '@berth/storage';
import type { VmRuntimeOptions } from '../index.js';
import { WRITTEN } from './boot-sector.js';
import { isIso, tpmsOf, type VmHost } from './host.js';

/** A host that makes runtimes of one driver. */
export interface DriverHost extends VmHost {
  runtime(overrides?: Partial<VmRuntimeOptions>): Runtime & { close(): Promise<void> };
  leftovers(key: WorkloadKey): Promise<string[]> | string[];
  /** Leaves what only this driver makes. */
  driverDebris(spec: WorkloadSpec): Promise<void>;
}

const size = (mib: number): string => `size=${mib}m,mode=0711`;

/** A network and a small file system beside a host; made before it, because a libvirtd sees no later mount. */
export class VmSurroundings {
  private readonly dir = mkdtempSync(join(tmpdir(), 'berth-around-'));
  readonly network: HostNetwork;
  readonly small = join(this.dir, 'small');
  private readonly networkId = randomUUID() as NetworkId;
  private readonly subnet = `10.${randomInt(64, 224)}.${randomInt(0, 256)}`;
  private address = 10;

  private constructor() {
    chmodSync(this.dir, 0o711);
    for (const name of ['small', 'net-state', 'net-run']) mkdirSync(join(this.dir, name), { mode: 0o755 });
    this.network = new HostNetwork({
      stateDir: join(this.dir, 'net-state'),
      runDir: join(this.dir, 'net-run'),
    });
  }

  static async make(): Promise<VmSurroundings> {
    const made = new VmSurroundings();
    await run('mount', ['-t', 'tmpfs', '-o', size(20), 'berth-test', made.small]);
    return made;
  }

  async end(): Promise<void> {
    await run('umount', [this.small]);
    await this.network.release(this.networkId);
    rmSync(this.dir, { recursive: true, force: true });
  }

  /** Gives a spec a nic on the one network. */
  connected(spec: WorkloadSpec): WorkloadSpec {
    const octet = (this.address += 1);
    const mac = `52:54:00:be:00:${octet.toString(16).padStart(2, '0')}`;
    const ipv4 = `${this.subnet}.${octet}`;
    const network = { id: this.networkId, project: 'test', name: 'default', cidr: `${this.subnet}.0/24` };
    return {
      ...spec,
      nics: [{ id: randomUUID() as NicId, networkId: this.networkId, mac, ipv4 }],
      networks: [
        {
          ...network,
          gateway: `${this.subnet}.1`,
          leases: [{ name: `w${octet}`, mac, ipv4, limits: { ingressMbps: 1000, egressMbps: 1000 } }],
        },
      ] as unknown as WorkloadSpec['networks'],
    };
  }

  enlarge(): Promise<unknown> {
    return run('mount', ['-o', `remount,${size(120)}`, this.small]);
  }
}

type Life = Runtime & { close(): Promise<void> };
const lives = new WeakMap<DriverHost, Life>();

/** A runtime over the host. The one before is gone, as its agent is: two would write the same records. */
async function nextLife(host: DriverHost, options: Partial<VmRuntimeOptions>): Promise<Life> {
  await lives.get(host)?.close();
  const life = host.runtime(options);
  lives.set(host, life);
  return life;
}

/** The conformance harness of a VM driver. */
export function vmHarness(host: DriverHost, around: VmSurroundings): ConformanceHarness {
  const { network } = around;
  const spec = (kind: WorkloadKind | 'writer'): WorkloadSpec => {
    if (kind === 'echo') throw new Error('nobody attaches to a machine');
    return around.connected(host.spec(kind));
  };
  const links = (key: WorkloadKey): string[] => {
    // Its nics, and what limits them.
    const own = Netlink.with(undefined, (n) => n.links()).filter(
      ({ alias }) => alias?.includes(key.instanceId) === true,
    );
    return own.map(({ name }) => `link ${name}`);
  };
  return {
    stepMs: 30_000,
    runtime: () => nextLife(host, { network }),
    spec: (kind) => Promise.resolve(spec(kind)),
    briefEnd: { reason: 'guestShutdown' },
    crash: (_key, pid) => {
      if (pid === null) throw new Error('a running machine has a process');
      process.kill(pid, 'SIGKILL');
      return Promise.resolve();
    },
    endTpm: (key) => {
      for (const pid of tpmsOf(key)) process.kill(pid, 'SIGKILL');
      return Promise.resolve();
    },
    leftovers: async (key) => [...(await host.leftovers(key)), ...links(key)],
    debris: async (of) => {
      for (const one of of.networks) await network.ensure(one);
      for (const nic of of.nics) await network.attachTap(of, nic, { uid: 64055 });
      for (const name of ['state', 'log']) mkdirSync(join(host.dir, name, of.instanceId), { mode: 0o711 });
      const cut = `.${of.epoch}.json.0123456789ab.tmp`;
      writeFileSync(join(host.dir, 'state', of.instanceId, cut), '{"inst');
      mkdirSync(join(host.dir, 'state', of.instanceId, `${of.epoch}.seed.iso.AbCdEf`));
      await host.driverDebris(of);
    },
    exitsWith: () => [],
    macs: (key, pid) => macsOf(network, key, pid),
    media: async () => [await host.iso({ label: 'FIRST' }), await host.iso({ label: 'SECOND' })] as const,
    mediaOf: (_, pid) => Promise.resolve(mediaOf(pid)),
    volumes: () => host.volumes(),
    fullPool: () => {
      const volumes = new VolumePool({ dir: join(host.dir, 'volumes'), reserveMiB: 2 ** 30 });
      return nextLife(host, { network, volumes });
    },
    smallPool: async () => {
      const volumes = new VolumePool({ dir: around.small, reserveMiB: 0 });
      const writer = spec('writer');
      const sizeMiB = (2 * WRITTEN.count * WRITTEN.bytes) / 2 ** 20;
      return {
        runtime: await nextLife(host, { network, volumes }),
        spec: { ...writer, rootVolume: { ...writer.rootVolume, sizeMiB } },
        full: (seen) => seen.conditions?.some((c) => c.type === storageErrorType) === true,
        enlarge: async () => void (await around.enlarge()),
        // It says its line once at the start and once at the end.
        wroteAll: (log) => log.split('boots=').length === 3,
        end: () => Promise.resolve(),
      };
    },
  };
}

/** Of the media that its QEMU has open: content whose file is an ISO, by its name. */
function mediaOf(pid: number | null): string[] {
  const open = readdirSync(`/proc/${pid}/fd`).map((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`);
    } catch {
      return '';
    }
  });
  const digests = open.flatMap((path) => (isIso(path) ? (/[0-9a-f]{64}$/.exec(path)?.[0] ?? []) : []));
  return [...new Set(digests)].map((digest) => `sha256:${digest}`);
}

/** Of the taps that its QEMU has open, which the kernel tells of each descriptor (tun: `iff`). */
async function macsOf(network: HostNetwork, key: WorkloadKey, pid: number | null): Promise<string[]> {
  const taps = new Set<string>();
  for (const descriptor of readdirSync(`/proc/${pid}/fdinfo`)) {
    const tap = /^iff:\s*(\S+)$/m.exec(readFileSync(`/proc/${pid}/fdinfo/${descriptor}`, 'utf8'))?.[1];
    if (tap !== undefined) taps.add(tap);
  }
  const { instanceId, epoch } = key;
  const own = (await network.inventory()).filter(
    (nic) => nic.instanceId === instanceId && nic.epoch === epoch && taps.has(nic.ifname),
  );
  return own.flatMap(({ addresses }) => addresses?.mac ?? []);
}
