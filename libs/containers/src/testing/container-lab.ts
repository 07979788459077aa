import { randomInt, randomUUID } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hasCode, mounts } from '@berth/linux';
import { BlobStore, LayerStore, type OciContent } from '@berth/images';
import { VolumePool } from '@berth/storage';
import { type ImageChange, busyboxImage } from './busybox-image.js';
import { HostNetwork } from '@berth/network';
import type { Runtime, StepContext, WorkloadKey, WorkloadSpec } from '@berth/runtime';
import { createContainerRuntime } from '../container-runtime.js';
import type { ContainerRuntimeOptions } from '../ports.js';

/**
 * Real parts for tests: directories of their own, a busybox image, a real network. Everything of it can be listed and
 * is taken away by `close`.
 */
export class ContainerLab {
  readonly root = mkdtempSync(join(tmpdir(), 'bc-'));
  readonly hostTag = `t${randomUUID().slice(0, 8)}`;
  readonly network: HostNetwork;
  /** Test files run side by side on one machine: a subnet of our own, very likely. */
  private readonly subnet = `10.${randomInt(64, 224)}.${randomInt(0, 256)}`;
  private readonly blobs: BlobStore;
  private readonly layers: LayerStore;
  private readonly pool: VolumePool;
  private image!: OciContent;
  /** An image whose layer does not unpack to what its configuration says. */
  badImage!: OciContent;
  private readonly specs: WorkloadSpec[] = [];
  private readonly networkId = randomUUID();
  private address = 10;

  constructor() {
    chmodSync(this.root, 0o711);
    for (const name of ['state', 'log', 'volumes', 'layers', 'net-state'])
      mkdirSync(join(this.root, name), { mode: 0o700 });
    mkdirSync(join(this.root, 'run'), { mode: 0o711 });
    this.blobs = new BlobStore(join(this.root, 'blobs'));
    this.layers = new LayerStore(join(this.root, 'layers'), this.blobs);
    this.pool = new VolumePool({ dir: join(this.root, 'volumes') });
    this.network = new HostNetwork({
      stateDir: join(this.root, 'net-state'),
      runDir: join(this.root, 'run', 'net'),
    });
  }

  /** Makes the images; first of all. */
  async open(): Promise<void> {
    this.image = await busyboxImage(this.blobs);
    this.badImage = await busyboxImage(this.blobs, { diffId: `sha256:${'0'.repeat(64)}` });
  }

  /** One more image, with a layer or a configuration of the test's own. */
  imageMake(change: ImageChange): Promise<OciContent> {
    return busyboxImage(this.blobs, change);
  }

  get options(): ContainerRuntimeOptions {
    return {
      blobs: this.blobs,
      layers: this.layers,
      volumes: this.pool,
      network: this.network,
      stateDir: join(this.root, 'state'),
      runDir: join(this.root, 'run', 'oci'),
      logDir: join(this.root, 'log'),
      hostTag: this.hostTag,
    };
  }

  /** A new runtime object over the same host, as after a restart of the agent. */
  runtime(change: Partial<ContainerRuntimeOptions> = {}): Runtime {
    return createContainerRuntime({ ...this.options, ...change });
  }

  /** A workload of a new instance that runs a shell script. */
  spec(script: string, change: Partial<WorkloadSpec> = {}): WorkloadSpec {
    const octet = (this.address += 1);
    const mac = `02:be:00:00:00:${octet.toString(16).padStart(2, '0')}`;
    const ipv4 = `${this.subnet}.${octet}`;
    const spec = {
      instanceId: randomUUID(),
      epoch: 1,
      project: 'test',
      name: `c${octet}`,
      uuid: randomUUID(),
      isolation: 'container',
      image: { ...this.image, process: { ...this.image.process, cmd: [script] } },
      vcpus: 1,
      cpuMillis: 500,
      memoryMiB: 64,
      rootVolume: { id: randomUUID(), sizeMiB: 64 },
      volumes: [],
      nics: [{ id: randomUUID(), networkId: this.networkId, mac, ipv4 }],
      networks: [
        {
          id: this.networkId,
          project: 'test',
          name: 'default',
          cidr: `${this.subnet}.0/24`,
          gateway: `${this.subnet}.1`,
          leases: [{ name: `c${octet}`, mac, ipv4, limits: { ingressMbps: 1000, egressMbps: 1000 } }],
        },
      ],
      process: null,
      userData: null,
      restart: { policy: 'never', backoffSeconds: 1, maxBackoffSeconds: 1 },
      accel: 'any',
      ...change,
    } as unknown as WorkloadSpec;
    this.specs.push(spec);
    return spec;
  }

  async volumes(): Promise<string[]> {
    return (await this.pool.list()).map((volume) => volume.volumeId);
  }

  /** All that lies below its root. */
  paths(): string[] {
    const entries = readdirSync(this.root, { recursive: true, withFileTypes: true });
    return entries.map((entry) => join(entry.parentPath, entry.name));
  }

  /**
   * What on the host carries this instance: files, mounts, cgroups, processes, links. Volumes are not among it, nor is
   * the memory of the highest epoch, which lives as long as the volume.
   */
  leftovers(key: WorkloadKey): string[] {
    const id = key.instanceId;
    const files = this.paths().filter(
      (path) => path.includes(id) && !path.startsWith(join(this.root, 'volumes')),
    );
    const volumes = readdirSync(join(this.root, 'volumes'));
    const remembered = (path: string): boolean =>
      path.startsWith(join(this.root, 'state', 'epochs')) &&
      volumes.some((volume) => readFileSync(path, 'utf8').includes(volume));
    const held = readdirSync(join(this.root, 'state'))
      .filter((name) => name.endsWith('.json'))
      .filter((name) => readFileSync(join(this.root, 'state', name), 'utf8').includes(id));
    const mounted = mounts()
      .map((m) => m.target)
      .filter((target) => target.includes(id));
    return [
      ...files.filter((path) => !remembered(path)),
      ...held,
      ...mounted,
      ...cgroupsNamed(id),
      ...processesNamed(id),
    ];
  }

  async close(): Promise<void> {
    const runtime = this.runtime();
    for (const spec of this.specs) {
      const ctx = context();
      const keys = (await runtime.recover()).filter((o) => o.instanceId === spec.instanceId);
      for (const key of [spec, ...keys]) await runtime.remove(key, ctx);
      await runtime.removeVolume(spec.rootVolume.id, ctx);
    }
    await this.network.release(this.networkId as never);
    rmSync(this.root, { recursive: true, force: true });
  }
}

/** By how much a machine is slower than one that has nothing else to do. */
export const patience = Number(process.env['BERTH_TEST_PATIENCE'] ?? 1);

/** A step's bounds in tests. */
export function context(ms = 20_000 * patience): StepContext {
  return { signal: AbortSignal.timeout(ms), deadline: Date.now() + ms };
}

/** cgroups of any tree whose path holds the text. Groups of others may come and go meanwhile. */
export function cgroupsNamed(text: string): string[] {
  return mounts()
    .filter((m) => m.type === 'cgroup' || m.type === 'cgroup2')
    .flatMap((m) => directoriesBelow(m.target))
    .filter((path) => path.includes(text));
}

function directoriesBelow(dir: string): string[] {
  let entries;
  try {
    entries = readdirSync(dir, { withFileTypes: true });
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
  }
  const below = entries.filter((e) => e.isDirectory()).map((e) => join(dir, e.name));
  return [...below, ...below.flatMap(directoriesBelow)];
}

/** Processes with the text in their command line, as `pid command`. */
export function processesNamed(text: string): string[] {
  return readdirSync('/proc')
    .filter((name) => /^[0-9]+$/.test(name))
    .map((pid) => `${pid} ${readOr(`/proc/${pid}/cmdline`).replaceAll('\0', ' ')}`)
    .filter((line) => line.includes(text));
}

function readOr(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // ended meanwhile
  }
}
