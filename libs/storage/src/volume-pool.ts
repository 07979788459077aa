import { createHash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { chmod, lstat, mkdir, readdir, readFile, rename, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageError, inspectDisk } from '@berth/images';
import { syncPath, writeFileAtomic } from '@berth/linux';
import type { DiskFormat, ExportedFile } from '@berth/model';
import { DiskFormat as DiskFormatSchema, ExportedFile as ExportedFileSchema, VolumeId } from '@berth/model';
import { z } from 'zod';
import { cloneDisk, watchCopy } from './disk-clone.js';
import { copySnapshot, type CopyRequest } from './disk-copy.js';
import { removeSnapshot, hasSnapshot, revertToSnapshot, takeSnapshot } from './disk-snapshots.js';
import { copyVariables, ensureVariables } from './firmware-files.js';
import { createOverlay, createQcow2, createRaw, diskSizeMiB, growQcow2, growRaw } from './disk-files.js';
import { layerAt, layerClose, type Layer, layerMake, layerOpen, layersEnded } from './layer-disk.js';
import { StorageError } from './storage-error.js';

/** `disk`: a root disk on an image; `layer`: a container's writable layer; `data`: a disk of its own; `export`: a file to be read. */
export type VolumeKind = 'disk' | 'layer' | 'data' | 'export';

export interface VolumeUsage {
  readonly volumeId: VolumeId;
  readonly kind: VolumeKind;
  /** Bytes allocated on the host. */
  readonly bytes: number;
}

export interface VolumePoolOptions {
  readonly dir: string;
  /** New volumes are refused when less than this would stay free, MiB. Default 512. */
  readonly reserveMiB?: number;
}

/** What a new disk begins as: what a snapshot of another volume here holds, instead of its image or nothing. */
export interface DiskSourceRequest {
  readonly source?: { readonly volumeId: VolumeId; readonly snapshot: string } | undefined;
  /** Gives up making it. */
  readonly signal?: AbortSignal | undefined;
}

export interface OverlayDiskRequest extends DiskSourceRequest {
  readonly volumeId: VolumeId;
  /** Image that the overlay stands on; it must not change or go away while the volume lives. */
  readonly base: { readonly path: string; readonly format: DiskFormat };
  /** Size that the guest sees. */
  readonly sizeMiB: number;
}

export interface DataDiskRequest extends DiskSourceRequest {
  readonly volumeId: VolumeId;
  readonly format: DiskFormat;
  /** Size that the guest sees. */
  readonly sizeMiB: number;
}

export interface CloneRequest {
  readonly volumeId: VolumeId;
  /** A data disk here that nothing has open. */
  readonly sourceId: VolumeId;
  /** Of the new one. */
  readonly format: DiskFormat;
  readonly sizeMiB: number;
  /** Gets how much is copied, of hundred, now and then. */
  readonly progress?: (percent: number) => void;
  readonly signal?: AbortSignal;
}

export interface ExportRequest extends CloneRequest {
  /** What the source held in this snapshot, though a QEMU may have it open. Absent: what it holds now, with nothing using it. */
  readonly snapshot?: string | undefined;
}

const VolumeFacts = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('disk'),
    volumeId: VolumeId,
    base: z.strictObject({ path: z.string(), format: DiskFormatSchema }),
    sizeMiB: z.int(),
  }),
  z.strictObject({ kind: z.literal('layer'), volumeId: VolumeId, fileSystem: z.literal('ext4').optional() }),
  z.strictObject({ kind: z.literal('data'), volumeId: VolumeId, format: DiskFormatSchema }),
  z.strictObject({
    kind: z.literal('export'),
    volumeId: VolumeId,
    format: DiskFormatSchema,
    ...ExportedFileSchema.shape,
  }),
]);
type VolumeFacts = z.infer<typeof VolumeFacts>;

/** What a snapshot holds. */
interface SnapshotSource extends Pick<CopyRequest, 'source' | 'snapshot' | 'signal'> {
  readonly sizeMiB: number;
  /** Directory with the variables of firmware; it may be absent. */
  readonly variables: string;
}

const MIB = 2 ** 20;

/**
 * Volumes of one host, one directory per volume id: `volume.json` and either `disk.qcow2` (an overlay on a base
 * image; with `memory` beside it while its machine is suspended, `firmware`, `tpm`, `machine-type` and `snapshots`), `layer.ext4` (a container's writable layer, see layer-disk.ts),
 * `data.qcow2` or `data.raw` (a disk that stands on nothing), or `export.qcow2` or `export.raw` (a file that only the agent reads). A volume appears by rename when it is whole. Files are
 * named by volume id only; no name of a user comes near a path or a command.
 */
export class VolumePool {
  private readonly turns = new Map<VolumeId, Promise<unknown>>();
  private readonly dir: string;
  private readonly reserveMiB: number;

  constructor(options: VolumePoolOptions) {
    this.dir = options.dir;
    this.reserveMiB = options.reserveMiB ?? 512;
  }

  /**
   * The volume's disk, made on first call: a qcow2 overlay with both formats pinned. An existing disk is kept as it is,
   * whatever base, size and source are asked for now. One that has a source is no smaller than that, and stands on the same base.
   * @throws StorageError noSpace, tooSmall, kindMismatch, badBase, noSuchSnapshot, hostFault
   */
  ensureOverlayDisk(
    request: OverlayDiskRequest,
  ): Promise<{ readonly path: string; readonly format: 'qcow2' }> {
    const volumeId = VolumeId.parse(request.volumeId);
    return this.inTurn(volumeId, async () => {
      const path = join(this.dir, volumeId, 'disk.qcow2');
      const facts = await this.facts(volumeId);
      if (facts !== null) {
        if (facts.kind !== 'disk') throw kindMismatch(volumeId, facts.kind);
        await baseCheck(facts.base.path);
        return { path, format: 'qcow2' };
      }
      await this.spaceCheck();
      const { base } = request;
      await this.sizeCheck(request);
      const from = await this.sourceOf(request, (f) => f.kind === 'disk' && f.base.path === base.path);
      const sizeMiB = Math.max(request.sizeMiB, from?.sizeMiB ?? 0);
      await this.make({ kind: 'disk', volumeId, base: { ...base }, sizeMiB }, 0o711, async (directory) => {
        await createOverlay(directory, base, sizeMiB);
        if (from === null) return;
        await copySnapshot({ ...from, directory, name: 'disk.qcow2', overlayMiB: sizeMiB });
        await copyVariables(from.variables, join(directory, 'firmware'));
      });
      return { path, format: 'qcow2' };
    });
  }

  /**
   * A disk that begins empty, or as its source, made on first call. An existing one is kept as it is, whatever is asked for
   * now: see `grow`. @throws StorageError noSpace, kindMismatch, noSuchSnapshot, unsupported (a raw one with a source), hostFault
   */
  ensureDataDisk({ format, sizeMiB, ...request }: DataDiskRequest): Promise<{ readonly path: string }> {
    const volumeId = VolumeId.parse(request.volumeId);
    return this.inTurn(volumeId, async () => {
      const facts = await this.facts(volumeId);
      if (facts !== null && facts.kind !== 'data') throw kindMismatch(volumeId, facts.kind);
      if (facts?.kind === 'data' && facts.format !== format)
        throw new StorageError(
          'kindMismatch',
          `volume ${volumeId} is ${facts.format}, not ${format} as stated`,
          'Create another volume.',
        );
      const name = dataName(format);
      if (facts === null) {
        await this.spaceCheck();
        const from = await this.sourceOf(request, (f) => f.kind === 'data' && f.format === 'qcow2');
        if (from !== null && format === 'raw') throw rawHoldsNone(volumeId);
        await this.make({ kind: 'data', volumeId, format }, 0o711, async (directory) => {
          if (format === 'raw') return createRaw(join(directory, name), sizeMiB);
          await createQcow2(directory, name, Math.max(sizeMiB, from?.sizeMiB ?? 0));
          if (from !== null) await copySnapshot({ ...from, directory, name, overlayMiB: null });
        });
      }
      return { path: this.dataPath(volumeId, format) };
    });
  }

  /**
   * A new data disk that holds what another one holds; one that is here already is whole, and kept. Nothing may use the other
   * one meanwhile, and nothing else is done to it here until the copy is over.
   * @throws StorageError noSpace, kindMismatch (it is no data disk, or not here), hostFault (it is in use, damaged; given up)
   */
  cloneDataDisk(request: CloneRequest): Promise<void> {
    const { format, progress, signal } = request;
    const volumeId = VolumeId.parse(request.volumeId);
    const sourceId = VolumeId.parse(request.sourceId);
    return this.inTurn(volumeId, () =>
      this.inTurn(sourceId, async () => {
        // Once given up it may be removed, and is not to come after that.
        signal?.throwIfAborted();
        if ((await this.facts(volumeId)) !== null) return;
        const from = await this.facts(sourceId);
        if (from?.kind !== 'data') throw kindMismatch(sourceId, from?.kind ?? 'data');
        const source = { path: this.dataPath(sourceId, from.format), format: from.format };
        const sizeMiB = Math.max(request.sizeMiB, await diskSizeMiB(source.path, source.format));
        const needMiB = Math.ceil((await allocatedBytes(source.path)) / MIB);
        await this.spaceCheck(Math.max(1, needMiB));
        const name = dataName(format);
        await this.make({ kind: 'data', volumeId, format }, 0o711, async (directory) => {
          if (format === 'raw') await createRaw(join(directory, name), sizeMiB);
          else await createQcow2(directory, name, sizeMiB);
          await cloneDisk({ directory, name, format, source, progress, signal });
        });
      }),
    );
  }

  /**
   * A file of what a data disk holds, by itself: it stands on nothing, and has no snapshots. One that is here already is whole,
   * and kept. Of a snapshot it is made whoever writes the disk; else nothing may use that, nor is anything else done to it here.
   * @throws StorageError noSpace, kindMismatch (it is no data disk, or not here), noSuchSnapshot, unsupported, hostFault
   */
  exportDataDisk({ snapshot, ...request }: ExportRequest): Promise<ExportedFile> {
    const volumeId = VolumeId.parse(request.volumeId);
    const sourceId = VolumeId.parse(request.sourceId);
    return this.inTurn(volumeId, () => {
      if (snapshot === undefined) return this.inTurn(sourceId, () => this.exportOf(volumeId, request, null));
      const source = { volumeId: sourceId, snapshot };
      return this.sourceOf({ source }, (f) => f.kind === 'data').then((from) =>
        this.exportOf(volumeId, request, from),
      );
    });
  }

  private async exportOf(
    volumeId: VolumeId,
    { sourceId, format, progress, signal, ...request }: CloneRequest,
    snapshot: SnapshotSource | null,
  ): Promise<ExportedFile> {
    // Once given up it may be removed, and is not to come after that.
    signal?.throwIfAborted();
    const made = await this.facts(volumeId);
    if (made?.kind === 'export') return { sizeBytes: made.sizeBytes, sha256: made.sha256 };
    if (made !== null) throw kindMismatch(volumeId, made.kind);
    const from = await this.facts(sourceId);
    if (from?.kind !== 'data') throw kindMismatch(sourceId, from?.kind ?? 'data');
    const source = { path: this.dataPath(sourceId, from.format), format: from.format };
    const sizeMiB =
      snapshot?.sizeMiB ?? Math.max(request.sizeMiB, await diskSizeMiB(source.path, source.format));
    await this.spaceCheck(Math.max(1, Math.ceil((await allocatedBytes(source.path)) / MIB)));
    const name = exportName(format);
    const facts = { kind: 'export' as const, volumeId, format, sizeBytes: 0, sha256: '' };
    await this.make(facts, 0o700, async (directory) => {
      const path = join(directory, name);
      if (format === 'raw') await createRaw(path, sizeMiB);
      else await createQcow2(directory, name, sizeMiB);
      if (snapshot === null) await cloneDisk({ directory, name, format, source, progress, signal });
      else {
        const watch = progress === undefined ? null : watchCopy(source.path, path, progress);
        const copy = { ...snapshot, signal, directory, name, format, overlayMiB: null };
        await copySnapshot(copy).finally(() => watch?.end());
      }
      // Written down with it, when it is whole.
      Object.assign(facts, await fileSum(path, signal));
    });
    return { sizeBytes: facts.sizeBytes, sha256: facts.sha256 };
  }

  /** Where the file of an export lies, and what it is; null when it is not here, or no export. */
  async exportedFile(volumeId: VolumeId): Promise<(ExportedFile & { readonly path: string }) | null> {
    const id = VolumeId.parse(volumeId);
    const facts = await this.facts(id);
    if (facts?.kind !== 'export') return null;
    const { sizeBytes, sha256, format } = facts;
    return { sizeBytes, sha256, path: join(this.dir, id, exportName(format)) };
  }

  /** Where a data volume's disk lies, or would. */
  dataPath(volumeId: VolumeId, format: DiskFormat): string {
    return join(this.dir, VolumeId.parse(volumeId), dataName(format));
  }

  /**
   * Makes a disk larger that nobody has open; one that is so large already stays. Returns its size, MiB.
   * @throws StorageError kindMismatch (a layer, or not here), hostFault
   */
  grow(volumeId: VolumeId, sizeMiB: number): Promise<number> {
    const id = VolumeId.parse(volumeId);
    return this.inTurn(id, async () => {
      const facts = await this.facts(id);
      if (facts?.kind !== 'data' && facts?.kind !== 'disk') throw kindMismatch(id, facts?.kind ?? 'layer');
      const name = facts.kind === 'data' ? dataName(facts.format) : 'disk.qcow2';
      const format = facts.kind === 'data' ? facts.format : 'qcow2';
      const hasMiB = await diskSizeMiB(join(this.dir, id, name), format);
      if (hasMiB >= sizeMiB) return hasMiB;
      if (format === 'raw') await growRaw(join(this.dir, id, name), sizeMiB);
      else await growQcow2(join(this.dir, id), name, sizeMiB);
      return sizeMiB;
    });
  }

  /**
   * Upper and work directories for overlayfs, made on first call: on a file system of their own of this size, which is all that a
   * container can write. It is mounted when this returns, and grows if it is smaller, also while it is in use
   * where this process has CAP_SYS_RESOURCE; it never shrinks.
   * Closed to everyone but root by the directory above them: set-uid programs may lie there.
   * @throws StorageError noSpace, kindMismatch, hostFault
   */
  ensureLayer(request: { readonly volumeId: VolumeId; readonly sizeMiB: number }): Promise<Layer> {
    const volumeId = VolumeId.parse(request.volumeId);
    const directory = join(this.dir, volumeId);
    return this.inTurn(volumeId, async () => {
      const facts = await this.facts(volumeId);
      if (facts !== null && facts.kind !== 'layer') throw kindMismatch(volumeId, facts.kind);
      if (facts === null) {
        await this.spaceCheck();
        await this.make({ kind: 'layer', volumeId, fileSystem: 'ext4' }, 0o700, (work) =>
          layerMake(work, request.sizeMiB),
        );
      } else if (facts.fileSystem === undefined) return layerAt(directory, request.sizeMiB); // of a version that set no limit
      return layerOpen(volumeId, directory, request.sizeMiB);
    });
  }

  /** Nothing here uses a layer any more: it is unmounted. Of what is not here, or no layer, it is no error. */
  closeLayer(volumeId: VolumeId): Promise<void> {
    const id = VolumeId.parse(volumeId);
    return this.inTurn(id, () => Promise.resolve(layerClose(join(this.dir, id))));
  }

  /** Layers that nothing can be written to any more, until they are closed and opened again: their disk was full, or it fails. */
  endedLayers(): ReadonlySet<VolumeId> {
    return layersEnded(this.dir);
  }

  /** Where the memory of a machine that is suspended lies: with its disk, and it goes with it. */
  memoryPath(volumeId: VolumeId): string {
    return join(this.dir, VolumeId.parse(volumeId), 'memory');
  }

  /** Where is written down which hardware a root disk was first started with. It goes with the disk. */
  machineTypePath(volumeId: VolumeId): string {
    return join(this.dir, VolumeId.parse(volumeId), 'machine-type');
  }

  /** Where the TPM of a root disk's machine keeps what it has to. It goes with the disk. */
  tpmPath(volumeId: VolumeId): string {
    return join(this.dir, VolumeId.parse(volumeId), 'tpm');
  }

  /** Where is written down which snapshots a root disk has part in. It goes with it, and only root may look into it. */
  snapshotsPath(volumeId: VolumeId): string {
    return join(this.dir, VolumeId.parse(volumeId), 'snapshots');
  }

  /**
   * File with variables of firmware that a root disk's machine has, by name, made from `template` on first call. It goes with the
   * disk. A QEMU may have the others open, not this one. @throws StorageError kindMismatch (no root disk here), hostFault
   */
  variablesFile(volumeId: VolumeId, name: string, template: string): Promise<string> {
    return this.ofRootDisk(volumeId, (directory) =>
      ensureVariables(join(directory, 'firmware'), name, template),
    );
  }

  /**
   * All variables of firmware of a root disk, whoever has them open (`take`) or while nobody has (`revert`). They are as the
   * snapshot has them after a revert: what it has not begins anew. @throws StorageError kindMismatch, hostFault
   */
  variables(volumeId: VolumeId, verb: 'take' | 'revert' | 'remove', snapshot: string): Promise<void> {
    if (verb === 'remove') return this.variablesDrop(volumeId, snapshot);
    return this.ofRootDisk(volumeId, async (directory, id) => {
      const [now, kept] = [join(directory, 'firmware'), this.variablesIn(id, snapshot)];
      await copyVariables(...(verb === 'take' ? ([now, kept] as const) : ([kept, now] as const)));
    });
  }

  private variablesDrop(volumeId: VolumeId, snapshot: string): Promise<void> {
    const id = VolumeId.parse(volumeId);
    return this.inTurn(id, () => rm(this.variablesIn(id, snapshot), { recursive: true, force: true }));
  }

  private variablesIn(id: VolumeId, snapshot: string): string {
    return join(this.snapshotsPath(id), `${snapshot}.firmware`);
  }

  private ofRootDisk<T>(
    volumeId: VolumeId,
    work: (directory: string, id: VolumeId) => Promise<T>,
  ): Promise<T> {
    const id = VolumeId.parse(volumeId);
    return this.inTurn(id, async () => {
      const facts = await this.facts(id);
      if (facts?.kind !== 'disk') throw kindMismatch(id, facts?.kind ?? 'layer');
      return work(join(this.dir, id), id);
    });
  }

  /**
   * Snapshots of a disk that nobody has open, by name. `take` replaces one of that name; `remove` of what is not there is no
   * error, nor of a volume that is not here. @throws StorageError unsupported (raw), noSuchSnapshot, kindMismatch, hostFault
   */
  snapshot(volumeId: VolumeId, verb: 'take' | 'revert' | 'remove', snapshot: string): Promise<void> {
    const work = { take: takeSnapshot, revert: revertToSnapshot, remove: removeSnapshot }[verb];
    return this.ofQcow2(volumeId, verb === 'remove', undefined, (...at) => work(...at, snapshot));
  }

  /** What a disk takes on the host, MiB; nothing when it is not here. @throws StorageError kindMismatch (a layer), hostFault */
  allocatedMiB(volumeId: VolumeId): Promise<number> {
    return this.ofQcow2(volumeId, true, 0, async (directory, name) =>
      Math.ceil((await allocatedBytes(join(directory, name))) / MIB),
    );
  }

  /** Whether a disk, which a QEMU may have open, holds a snapshot of this name. @throws StorageError as `snapshot` */
  hasSnapshot(volumeId: VolumeId, snapshot: string): Promise<boolean> {
    return this.ofQcow2(volumeId, true, false, (...at) => hasSnapshot(...at, snapshot));
  }

  private ofQcow2<T>(
    volumeId: VolumeId,
    mayLack: boolean,
    lacking: T,
    work: (directory: string, name: string) => Promise<T>,
  ): Promise<T> {
    const id = VolumeId.parse(volumeId);
    return this.inTurn(id, async () => {
      const facts = await this.facts(id);
      if (facts === null && mayLack) return lacking;
      if (facts?.kind !== 'data' && facts?.kind !== 'disk') throw kindMismatch(id, facts?.kind ?? 'layer');
      if (facts.kind === 'disk') return work(join(this.dir, id), 'disk.qcow2');
      if (facts.format === 'qcow2') return work(join(this.dir, id), dataName('qcow2'));
      throw rawHoldsNone(id);
    });
  }

  /** Where the source of a new disk lies, and how large it is. @throws StorageError noSuchSnapshot, badBase, hostFault */
  private async sourceOf(
    { source, signal }: DiskSourceRequest,
    fits: (facts: VolumeFacts) => boolean,
  ): Promise<SnapshotSource | null> {
    if (source === undefined) return null;
    const { snapshot } = source;
    const id = VolumeId.parse(source.volumeId);
    const facts = await this.facts(id);
    if (facts === null || !(await this.hasSnapshot(id, snapshot)))
      throw new StorageError(
        'noSuchSnapshot',
        `volume ${id} holds no snapshot ${snapshot}`,
        'Use another snapshot.',
      );
    if (!fits(facts))
      throw new StorageError(
        'badBase',
        `volume ${id} is of another kind, or stands on another image`,
        'Use the image of the instance that the snapshot is of.',
      );
    const path = join(this.dir, id, facts.kind === 'data' ? dataName('qcow2') : 'disk.qcow2');
    const sizeMiB = await diskSizeMiB(path, 'qcow2');
    return { source: path, snapshot, signal, sizeMiB, variables: this.variablesIn(id, snapshot) };
  }

  /** Deletes a volume and all it holds; deleting what is not here is no error. The caller knows that nothing uses it. */
  remove(volumeId: VolumeId): Promise<void> {
    const id = VolumeId.parse(volumeId);
    return this.inTurn(id, async () => {
      const grave = this.temporary();
      layerClose(join(this.dir, id)); // or its content would go, and its mount point not
      try {
        await rename(join(this.dir, id), grave);
      } catch (e) {
        if (isAbsent(e)) return;
        throw e;
      }
      await syncPath(this.dir);
      await rm(grave, { recursive: true, force: true });
    });
  }

  /** Every volume with what it takes. Walks the trees of layer volumes: for inventory, not for a hot path. */
  async list(): Promise<VolumeUsage[]> {
    const found: VolumeUsage[] = [];
    for (const name of (await this.names()).sort()) {
      const volumeId = VolumeId.safeParse(name);
      const usage = volumeId.success ? await this.stat(volumeId.data) : null;
      if (usage !== null) found.push(usage);
    }
    return found;
  }

  /** Paths of the images that disks here stand on. @throws StorageError hostFault (a volume that cannot be read) */
  async bases(): Promise<ReadonlySet<string>> {
    const paths = new Set<string>();
    for (const name of await this.names()) {
      const volumeId = VolumeId.safeParse(name);
      const facts = volumeId.success ? await this.facts(volumeId.data) : null;
      if (facts?.kind === 'disk') paths.add(facts.base.path);
    }
    return paths;
  }

  /** One volume, or null when it is not here. */
  async stat(volumeId: VolumeId): Promise<VolumeUsage | null> {
    const id = VolumeId.parse(volumeId);
    const facts = await this.facts(id);
    if (facts === null) return null;
    return { volumeId: id, kind: facts.kind, bytes: await allocatedBytes(join(this.dir, id)) };
  }

  /** Space that a new volume could still take here, MiB: what is free without the reserve. */
  async freeMiB(): Promise<number> {
    await mkdir(this.dir, { recursive: true, mode: 0o711 });
    const { bavail, bsize } = await statfs(this.dir);
    return Math.max(0, Math.floor((bavail * bsize) / MIB) - this.reserveMiB);
  }

  /** Sweeps what a crash left half-made or half-deleted. Call once at start, before anything else. */
  async clean(): Promise<void> {
    for (const name of await this.names())
      if (name.startsWith('.work-')) await rm(join(this.dir, name), { recursive: true, force: true });
  }

  private async make(
    facts: VolumeFacts,
    mode: number,
    fill: (directory: string) => Promise<void>,
  ): Promise<void> {
    const work = this.temporary();
    await mkdir(work, { mode: 0o700 });
    try {
      await fill(work);
      await writeFileAtomic(join(work, 'volume.json'), JSON.stringify(facts));
      await chmod(work, mode);
      await rename(work, join(this.dir, facts.volumeId));
      await syncPath(this.dir);
    } catch (e) {
      await rm(work, { recursive: true, force: true });
      throw e;
    }
  }

  private async sizeCheck({ base, sizeMiB }: OverlayDiskRequest): Promise<void> {
    await baseCheck(base.path);
    const found = await inspectDisk(base.path).catch((e: unknown) => {
      if (e instanceof ImageError) throw new StorageError('badBase', e.message, e.remedy, { cause: e });
      throw e;
    });
    if (found.format !== base.format)
      throw new StorageError(
        'badBase',
        `the base image is ${found.format}, not ${base.format} as stated`,
        'Import the image again.',
      );
    if (sizeMiB < found.virtualSizeMiB)
      throw new StorageError(
        'tooSmall',
        `a root disk of ${sizeMiB} MiB is smaller than its image, which has ${found.virtualSizeMiB} MiB`,
        `Set rootDisk.sizeMiB to at least ${found.virtualSizeMiB}.`,
      );
  }

  private async spaceCheck(needMiB = 1): Promise<void> {
    const freeMiB = await this.freeMiB();
    if (freeMiB >= needMiB) return;
    if (freeMiB > 0)
      throw new StorageError(
        'noSpace',
        `${freeMiB} MiB are free in ${this.dir}, not ${needMiB}`,
        'Delete instances or images that are not needed, or give the pool a larger disk.',
      );
    throw new StorageError(
      'noSpace',
      `less than the reserve of ${this.reserveMiB} MiB is free in ${this.dir}`,
      'Delete instances or images that are not needed, or give the pool a larger disk.',
    );
  }

  private async facts(volumeId: VolumeId): Promise<VolumeFacts | null> {
    try {
      const text = await readFile(join(this.dir, volumeId, 'volume.json'), 'utf8');
      return VolumeFacts.parse(JSON.parse(text));
    } catch (e) {
      if (isAbsent(e)) return null;
      throw new StorageError(
        'hostFault',
        `volume.json of ${volumeId} cannot be read`,
        'Restore the file; the volume beside it was not touched.',
        { cause: e },
      );
    }
  }

  private async names(): Promise<string[]> {
    try {
      return await readdir(this.dir);
    } catch (e) {
      if (isAbsent(e)) return [];
      throw e;
    }
  }

  /** One action at a time for each volume, in the order of the calls. */
  private async inTurn<T>(volumeId: VolumeId, action: () => Promise<T>): Promise<T> {
    const before = this.turns.get(volumeId) ?? Promise.resolve();
    const mine = before.then(action, action);
    const settled = mine.catch(() => undefined);
    this.turns.set(volumeId, settled);
    try {
      return await mine;
    } finally {
      if (this.turns.get(volumeId) === settled) this.turns.delete(volumeId);
    }
  }

  private temporary(): string {
    return join(this.dir, `.work-${randomBytes(8).toString('hex')}`);
  }
}

const exportName = (format: DiskFormat): string => `export.${format}`;
const dataName = (format: DiskFormat): string => `data.${format}`;

/** @throws when the signal fires */
async function fileSum(path: string, signal: AbortSignal | undefined): Promise<ExportedFile> {
  const hash = createHash('sha256');
  let sizeBytes = 0;
  const bytes = createReadStream(path, { highWaterMark: MIB, ...(signal === undefined ? {} : { signal }) });
  for await (const chunk of bytes as AsyncIterable<Buffer>) {
    sizeBytes += chunk.length;
    hash.update(chunk);
  }
  return { sizeBytes, sha256: hash.digest('hex') };
}

async function baseCheck(path: string): Promise<void> {
  const found = await lstat(path).catch(() => null);
  if (found?.isFile() !== true)
    throw new StorageError(
      'badBase',
      `the base image ${path} is not here`,
      'Fetch the image to this host again.',
    );
}

/** Allocated bytes of a tree; links are not followed, nor is what is mounted in it. What vanishes meanwhile counts nothing. */
async function allocatedBytes(path: string, device?: number): Promise<number> {
  const found = await lstat(path).catch((e: unknown) => {
    if (isAbsent(e)) return null;
    throw e;
  });
  if (found === null || (device !== undefined && found.dev !== device)) return 0;
  let bytes = found.blocks * 512;
  if (!found.isDirectory()) return bytes;
  const names = await readdir(path).catch(() => []);
  for (const name of names) bytes += await allocatedBytes(join(path, name), found.dev);
  return bytes;
}

function isAbsent(e: unknown): boolean {
  return (e as NodeJS.ErrnoException).code === 'ENOENT';
}

const rawHoldsNone = (volumeId: VolumeId): StorageError =>
  new StorageError('unsupported', `volume ${volumeId} is raw and holds no snapshots`, 'Use a qcow2 volume.');

function kindMismatch(volumeId: VolumeId, kind: VolumeKind): StorageError {
  return new StorageError(
    'kindMismatch',
    `volume ${volumeId} is a ${kind} volume`,
    'Use the isolation that the instance was made with.',
  );
}
