import { createHash, randomUUID } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '@berth/linux';
import type { Digest, InstanceId, VolumeId } from '@berth/model';
import { type StepContext, type WorkloadKey, type WorkloadSpec } from '@berth/runtime';
import { VolumePool } from '@berth/storage';
import { createKvmRuntime, type KvmRuntimeOptions, type LibvirtRuntime } from '../index.js';
import { bootDisk } from './boot-sector.js';
import { startLibvirtd, type TestLibvirtd } from './libvirtd.js';

type GuestKind = 'steady' | 'stubborn' | 'brief' | 'badImage';

/** A host for one test file: its own libvirtd, and directories below one that goes away with it. */
export class TestHost {
  readonly #runtimes: LibvirtRuntime[] = [];
  readonly #pool: VolumePool;

  private constructor(
    readonly dir: string,
    readonly libvirtd: TestLibvirtd,
  ) {
    this.#pool = new VolumePool({ dir: join(dir, 'volumes') });
  }

  static async start(): Promise<TestHost> {
    const dir = mkdtempSync(join(tmpdir(), 'berth-kvm-'));
    for (const name of ['blobs', 'volumes', 'state', 'run', 'log']) mkdirSync(join(dir, name));
    chmodSync(dir, 0o711);
    return new TestHost(dir, await startLibvirtd({ dir: join(dir, 'libvirt') }));
  }

  async stop(): Promise<void> {
    for (const runtime of this.#runtimes) runtime.close();
    await this.libvirtd.stop();
    rmSync(this.dir, { recursive: true, force: true });
  }

  /** A runtime as a newly started agent would make it. */
  runtime(overrides: Partial<KvmRuntimeOptions> = {}): LibvirtRuntime {
    const runtime = createKvmRuntime({
      libvirtSocket: this.libvirtd.socket,
      blobs: { has: (d) => existsSync(this.blobPath(d)), path: (d) => this.blobPath(d) },
      volumes: this.#pool,
      network: {
        ensure: () => Promise.resolve(),
        attachTap: () => Promise.reject(new Error('this host has no networks')),
        detach: () => Promise.resolve(),
        release: () => Promise.resolve(),
      },
      stateDir: join(this.dir, 'state'),
      runDir: join(this.dir, 'run'),
      logDir: join(this.dir, 'log'),
      hostTag: 'test-host',
      ...overrides,
    });
    this.#runtimes.push(runtime);
    return runtime;
  }

  /** Spec of a new instance whose image is one of the hand-assembled guests. */
  spec(kind: GuestKind, changes: Partial<WorkloadSpec> = {}): WorkloadSpec {
    const content = kind === 'badImage' ? Buffer.from('QFI\xfb of no use', 'latin1') : bootDisk(kind);
    const digest = `sha256:${createHash('sha256').update(content).digest('hex')}` as Digest;
    if (!existsSync(this.blobPath(digest))) writeFileSync(this.blobPath(digest), content, { mode: 0o444 });
    return {
      instanceId: randomUUID() as InstanceId,
      epoch: 1,
      project: 'default',
      name: 'w',
      uuid: randomUUID(),
      isolation: 'vm',
      image: { kind: 'disk', digest, format: 'raw', sizeBytes: content.length, virtualSizeMiB: 1, blobs: [] },
      vcpus: 1,
      cpuMillis: null,
      memoryMiB: 32,
      rootVolume: { id: randomUUID() as VolumeId, sizeMiB: 8 },
      nics: [],
      networks: [],
      process: null,
      userData: null,
      restart: { policy: 'never', backoffSeconds: 1, maxBackoffSeconds: 300 },
      accel: 'tcg',
      ...changes,
    };
  }

  /** Whatever carries the instance on this host: domain, processes, files; volumes apart. */
  async leftovers(key: WorkloadKey): Promise<string[]> {
    const found: string[] = [];
    for (const name of ['state', 'run', 'log'])
      for (const entry of readdirSync(join(this.dir, name), { recursive: true, encoding: 'utf8' }))
        if (entry.includes(key.instanceId)) found.push(join(name, entry));
    const { stdout } = await run('virsh', ['-c', this.uri, 'list', '--all', '--name']);
    if (stdout.includes(key.instanceId.slice(0, 8))) found.push(`domain of ${key.instanceId}`);
    return found;
  }

  /** Ids of the volumes that exist. */
  async volumes(): Promise<string[]> {
    return (await this.#pool.list()).map((volume) => volume.volumeId);
  }

  /** What the real client needs to reach this host's libvirtd. */
  get uri(): string {
    return `qemu+unix:///system?socket=${this.libvirtd.socket}`;
  }

  blobPath(digest: Digest): string {
    return join(this.dir, 'blobs', digest.replace(':', '-'));
  }

  /** Where a volume's disk lies; one that exists is kept as it is. */
  async volumePath(spec: WorkloadSpec): Promise<string> {
    const base = { path: this.blobPath(spec.image.digest), format: 'raw' } as const;
    const { id: volumeId, sizeMiB } = spec.rootVolume;
    return (await this.#pool.ensureOverlayDisk({ volumeId, base, sizeMiB })).path;
  }
}

/** Bounds of one step in tests. */
export function step(ms = 15_000): StepContext {
  return { signal: AbortSignal.timeout(ms), deadline: Date.now() + ms };
}

/** Polls until `probe` has something. @throws Error after `ms` */
export async function eventually<T>(
  what: string,
  probe: () => Promise<T | undefined>,
  ms = 15_000,
): Promise<T> {
  for (const end = Date.now() + ms; ;) {
    const value = await probe();
    if (value !== undefined) return value;
    if (Date.now() > end) throw new Error(`waited ${ms} ms in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** The whole serial output kept so far. */
export async function serialText(runtime: LibvirtRuntime, key: WorkloadKey): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of runtime.logs(key, { follow: false }, AbortSignal.timeout(5_000)))
    chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

/** Arguments of the QEMU process that carries a machine. */
export function qemuArguments(pid: number): string[] {
  return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
}
