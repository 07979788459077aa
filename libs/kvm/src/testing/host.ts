import { createHash, randomUUID } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cgroupChildren, cgroupCreate, run } from '@berth/linux';
import type { Digest, InstanceId, IsoContent, VolumeId } from '@berth/model';
import { type Runtime, type StepContext, type WorkloadKey, type WorkloadSpec } from '@berth/runtime';
import { VolumePool } from '@berth/storage';
import {
  createKvmRuntime,
  createQemuRuntime,
  type KvmRuntimeOptions,
  type LibvirtRuntime,
  type QemuRuntime,
  type VmRuntimeOptions,
} from '../index.js';
import { domainName, metadataElement } from '../machine/metadata.js';
import { renderXml, xml } from '../machine/xml.js';
import { bootDisk } from './boot-sector.js';
import { startLibvirtd, type TestLibvirtd } from './libvirtd.js';

type GuestKind = Parameters<typeof bootDisk>[0] | 'badImage';

/** Directories, images and disks of one test file's host, below a directory that goes away with it. */
export class VmHost {
  readonly #pool: VolumePool;

  constructor(readonly dir: string) {
    for (const name of ['blobs', 'volumes', 'state', 'run', 'log']) mkdirSync(join(dir, name));
    chmodSync(dir, 0o711);
    this.#pool = new VolumePool({ dir: join(dir, 'volumes') });
  }

  /** What every driver is given here. */
  parts(): VmRuntimeOptions {
    return {
      blobs: { has: (d) => existsSync(this.blobPath(d)), path: (d) => this.blobPath(d) },
      volumes: this.#pool,
      network: {
        ensure: () => Promise.resolve(),
        attachTap: () => Promise.reject(new Error('this host has no networks')),
        detach: () => Promise.resolve(),
        silence: () => Promise.resolve(),
        detachNic: () => Promise.resolve(),
        inventory: () => Promise.resolve([]),
        release: () => Promise.resolve(),
      },
      stateDir: join(this.dir, 'state'),
      runDir: join(this.dir, 'run'),
      logDir: join(this.dir, 'log'),
      hostTag: 'test-host',
    };
  }

  /** Spec of a new instance whose image is one of the hand-assembled guests. */
  spec(kind: GuestKind, changes: Partial<WorkloadSpec> = {}): WorkloadSpec {
    return this.specOf(
      kind === 'badImage' ? Buffer.from('QFI\xfb of no use', 'latin1') : bootDisk(kind),
      changes,
    );
  }

  /** Spec of a new instance on this raw disk. */
  specOf(content: Buffer, changes: Partial<WorkloadSpec> = {}): WorkloadSpec {
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
      volumes: [],
      nics: [],
      networks: [],
      // Firmware looks at the controller for longer than these guests take to boot.
      usbTablet: false,
      process: null,
      userData: null,
      restart: { policy: 'never', backoffSeconds: 1, maxBackoffSeconds: 300 },
      accel: 'tcg',
      ...changes,
    };
  }

  /**
   * An image for a drive that is here: what genisoimage makes of files.
   * @param boot a boot sector, to which firmware gives the machine
   */
  async iso({
    label,
    files = {},
    boot,
  }: {
    label: string;
    files?: Readonly<Record<string, string>>;
    boot?: Buffer;
  }): Promise<IsoContent> {
    const work = mkdtempSync(join(this.dir, 'iso-'));
    const tree = join(work, 'tree');
    mkdirSync(tree);
    for (const [name, text] of Object.entries({ 'label.txt': `${label}\n`, ...files }))
      writeFileSync(join(tree, name), text);
    if (boot !== undefined) writeFileSync(join(tree, 'boot.img'), boot);
    const made = join(work, 'made.iso');
    const booting = boot === undefined ? [] : ['-b', 'boot.img', '-no-emul-boot', '-boot-load-size', '4'];
    await run('genisoimage', ['-quiet', '-o', made, '-volid', label, '-rock', ...booting, tree]);
    const content = readFileSync(made);
    rmSync(work, { recursive: true });
    const digest = `sha256:${createHash('sha256').update(content).digest('hex')}` as Digest;
    if (!existsSync(this.blobPath(digest))) writeFileSync(this.blobPath(digest), content, { mode: 0o444 });
    const sizeBytes = content.length;
    return { kind: 'iso', digest, sizeBytes, bootable: boot !== undefined, blobs: [{ digest, sizeBytes }] };
  }

  /** Files that carry the instance on this host; volumes apart. */
  files(key: WorkloadKey): string[] {
    const found: string[] = [];
    for (const name of ['state', 'run', 'log'])
      for (const entry of readdirSync(join(this.dir, name), { recursive: true, encoding: 'utf8' }))
        if (entry.includes(key.instanceId)) found.push(join(name, entry));
    return found;
  }

  /** Ids of the volumes that exist. */
  async volumes(): Promise<string[]> {
    return (await this.#pool.list()).map((volume) => volume.volumeId);
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

/** A host with its own libvirtd. */
export class TestHost extends VmHost {
  readonly #runtimes: LibvirtRuntime[] = [];

  private constructor(
    dir: string,
    readonly libvirtd: TestLibvirtd,
  ) {
    super(dir);
  }

  static async start(): Promise<TestHost> {
    const dir = mkdtempSync(join(tmpdir(), 'berth-kvm-'));
    return new TestHost(dir, await startLibvirtd({ dir: join(dir, 'libvirt') }));
  }

  async stop(): Promise<void> {
    await Promise.all(this.#runtimes.map((runtime) => runtime.close()));
    await this.libvirtd.stop();
    rmSync(this.dir, { recursive: true, force: true });
  }

  /** A runtime as a newly started agent would make it; the ones before go on. */
  runtime(overrides: Partial<KvmRuntimeOptions> = {}): LibvirtRuntime {
    const runtime = createKvmRuntime({
      libvirtSocket: this.libvirtd.socket,
      ...this.parts(),
      ...overrides,
    });
    this.#runtimes.push(runtime);
    return runtime;
  }

  /** Both drivers over the same volumes, each with records of its own, as on a host. Whoever asks closes the second. */
  drivers(): { libvirt: LibvirtRuntime; qemu: QemuRuntime } {
    const own = join(this.dir, 'qemu');
    for (const dir of ['', 'state', 'run', 'log']) mkdirSync(join(own, dir), { mode: 0o711 });
    const [stateDir, runDir, logDir] = [join(own, 'state'), join(own, 'run'), join(own, 'log')];
    const qemu = createQemuRuntime({ ...this.parts(), stateDir, runDir, logDir });
    return { libvirt: this.runtime(), qemu };
  }

  /** A runtime whose agent was killed in the middle of something: nobody waits for its end. */
  cutShort(runtime: { close(): Promise<void> }): void {
    void runtime.close();
    this.#runtimes.splice(0, this.#runtimes.length, ...this.#runtimes.filter((one) => one !== runtime));
  }

  /** Whatever carries the instance on this host: domain and files; volumes apart. */
  async leftovers(key: WorkloadKey): Promise<string[]> {
    const found = this.files(key);
    const { stdout } = await run('virsh', ['-c', this.uri, 'list', '--all', '--name']);
    const mark = key.instanceId.slice(0, 8);
    if (stdout.includes(mark)) found.push(`domain of ${key.instanceId}`);
    const groups = (await cgroupChildren('machine')).filter((name) => name.includes(mark));
    return [...found, ...groups.map((name) => `cgroup machine/${name}`)];
  }

  /** A domain that was defined and never ran. */
  async driverDebris(spec: WorkloadSpec): Promise<void> {
    const { instanceId, epoch, uuid } = spec;
    const name = domainName('test-host', instanceId);
    const metadata = metadataElement({ hostTag: 'test-host', instanceId, epoch });
    const os = xml('os', {}, xml('type', { arch: 'x86_64', machine: 'q35' }, 'hvm'));
    const parts = [xml('name', {}, name), xml('uuid', {}, uuid), xml('metadata', {}, metadata), os];
    const path = join(this.dir, 'debris.xml');
    const domain = xml('domain', { type: 'qemu' }, ...parts, xml('memory', { unit: 'MiB' }, '32'));
    writeFileSync(path, renderXml(domain));
    await run('virsh', ['-c', this.uri, 'define', path]);
  }

  /** What the real client needs to reach this host's libvirtd. */
  get uri(): string {
    return `qemu+unix:///system?socket=${this.libvirtd.socket}`;
  }
}

/** A host of machines in QEMU processes of our own. */
export abstract class ProcessHost extends VmHost {
  /** A runtime as a newly started agent would make it; the one before is gone, as its agent is. */
  abstract runtime(overrides?: Partial<VmRuntimeOptions>): Runtime & { close(): Promise<void> };

  /** @param groups begins the names of its machines' cgroups */
  constructor(
    dir: string,
    private readonly groups: string,
  ) {
    super(dir);
  }

  /** Ends what still runs, by its own pid. */
  async stop(): Promise<void> {
    const runtime = this.runtime();
    for (const seen of await runtime.recover()) {
      await runtime.stop(seen, 0, step());
      await runtime.remove(seen, step());
    }
    await runtime.close();
    rmSync(this.dir, { recursive: true, force: true });
  }

  /** A start that was cut off when only its folder and its cgroup stood. */
  async driverDebris({ instanceId, epoch }: WorkloadSpec): Promise<void> {
    mkdirSync(join(this.dir, 'run', instanceId, String(epoch)), { recursive: true, mode: 0o711 });
    await cgroupCreate(`${this.groups}.test-host.${instanceId}.${epoch}`);
  }

  /** Whatever carries the instance on this host: processes, cgroups and files; volumes apart. */
  leftovers(key: WorkloadKey): string[] {
    const found = this.files(key);
    for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name)))
      if (existsSync(`/proc/${pid}/cmdline`) && argumentText(pid).includes(key.instanceId))
        found.push(`process ${pid}`);
    for (const tree of readdirSync('/sys/fs/cgroup'))
      if (statSync(join('/sys/fs/cgroup', tree)).isDirectory())
        for (const group of readdirSync(join('/sys/fs/cgroup', tree)))
          if (group.includes(key.instanceId)) found.push(`cgroup ${tree}/${group}`);
    return found;
  }
}

/** The host of the qemu driver. Its paths have commas and equals signs, which QEMU's options give a meaning. */
export class QemuHost extends ProcessHost {
  #runtime: QemuRuntime | null = null;

  constructor() {
    super(mkdtempSync(join(tmpdir(), 'berth,qemu=-')), 'berth-qemu');
  }

  override runtime(overrides: Partial<VmRuntimeOptions> = {}): QemuRuntime {
    void this.#runtime?.close();
    this.#runtime = createQemuRuntime({ ...this.parts(), ...overrides });
    return this.#runtime;
  }
}

function argumentText(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}

/** Whether a file begins as an ISO 9660 image does. */
export function isIso(path: string): boolean {
  if (!/[0-9a-f]{64}$/.test(path)) return false;
  return readFileSync(path).toString('latin1', 16 * 2048 + 1, 16 * 2048 + 6) === 'CD001';
}

/** Bounds of one step in tests. */
export function step(ms = 15_000): StepContext {
  return { signal: AbortSignal.timeout(ms), deadline: Date.now() + ms };
}

/** Polls until `probe` has something: seldom where it takes long, as a boot of Linux does. @throws Error after `ms` */
export async function eventually<T>(
  what: string,
  probe: () => Promise<T | undefined>,
  ms = 15_000,
): Promise<T> {
  for (const begun = Date.now(); ;) {
    const value = await probe();
    if (value !== undefined) return value;
    const waited = Date.now() - begun;
    if (waited > ms) throw new Error(`waited ${ms} ms in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, waited < 1_000 ? 20 : 100));
  }
}

/** The whole serial output kept so far. */
export async function serialText(
  runtime: Required<Pick<Runtime, 'logs'>>,
  key: WorkloadKey,
): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of runtime.logs(key, { follow: false }, AbortSignal.timeout(5_000)))
    chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

/** Arguments of the QEMU process that carries a machine. */
export function qemuArguments(pid: number): string[] {
  return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
}

/** Processes that keep the TPM of an instance, whichever driver runs it. */
export function tpmsOf({ instanceId }: Pick<WorkloadKey, 'instanceId'>): number[] {
  const all = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return all.flatMap((pid) => {
    try {
      const own = readFileSync(`/proc/${pid}/environ`, 'utf8').includes('TPM_PATH=');
      const group = readFileSync(`/proc/${pid}/cgroup`, 'utf8');
      return own && group.includes(instanceId) ? [Number(pid)] : [];
    } catch {
      return [];
    }
  });
}
