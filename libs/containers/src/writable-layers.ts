import { randomBytes } from 'node:crypto';
import { faultPoint } from '@berth/faults';
import { layerChanges, layerTar, packLimits, pathText, type UpperLayer } from '@berth/images';
import { isMounted } from '@berth/linux';
import { IDENTITY_PATHS, type ImageContent, type LayerChanges, type VolumeId } from '@berth/model';
import { type LayerFacet, type Observation, RuntimeError, type WorkloadKey } from '@berth/runtime';
import { kernelMountPoints } from './bundle/config.js';
import type { HostParts, OciImage } from './host-parts.js';
import { cgroupFrozen } from './isolation/cgroup-trees.js';
import { layersMount, layersUnmount } from './isolation/rootfs.js';
import { RANGE_SIZE, type UidRanges } from './isolation/uid-ranges.js';
import type { Launcher } from './launch/launcher.js';
import { layerFault } from './room-faults.js';
import type { Runs } from './runs.js';
import { type RecordStore, type WorkloadRecord, workloadId } from './workload-record.js';

export interface WritableLayerPorts {
  readonly parts: HostParts;
  readonly records: RecordStore;
  readonly ranges: UidRanges;
  /** Mounts it, if it is not, and says where its upper directory is. */
  readonly open: (volumeId: VolumeId) => Promise<string>;
  readonly close: (volumeId: VolumeId) => Promise<void>;
  readonly layers: (image: OciImage, signal: AbortSignal) => Promise<string[]>;
  readonly alone: <T>(key: WorkloadKey, work: () => Promise<T>) => Promise<T>;
  readonly use: () => { readonly launcher: Launcher; readonly runs: Runs };
}

/** Of one page, characters of its paths together. */
const PAGE_CHARACTERS = 1024 * 1024;

/** How a container stands while its layer is read. */
interface Reading {
  /** It ran, and was frozen for it. Not any more when somebody wants it paused, or to go on. */
  frozen: boolean;
  /** It ran when the reading began, frozen by whomever. */
  readonly ran: boolean;
}

/**
 * What containers changed of their images.
 *
 *   pack: (frozen, if it runs) -> bytes -> still as it was? -> (thawed)
 *
 * The container's lock is held to freeze and to thaw it, not between: a stop or a removal never waits for whoever reads.
 * They end the bytes with an error. An agent that dies leaves it frozen; its next life finds it paused where it is wanted running, and
 * resumes it as it would any.
 */
export class WritableLayers implements LayerFacet {
  private readonly reading = new Map<string, Reading>();
  /** How many read a layer here. */
  private readonly readers = new Map<VolumeId, number>();

  constructor(private readonly o: WritableLayerPorts) {}

  async changes(
    key: WorkloadKey,
    image: ImageContent,
    page: { readonly after?: string | undefined; readonly limit: number },
    signal: AbortSignal,
  ): Promise<LayerChanges> {
    const { parts, alone } = this.o;
    if (image.kind !== 'oci') throw new RuntimeError('badImage', 'a disk image has no layers');
    const layers = await this.o.layers(image, signal).catch((error: unknown) => {
      throw layerFault(error);
    });
    const { record, upper } = await alone(key, async () => {
      const found = await this.recordOf(key);
      return { record: found, upper: await this.opened(found) };
    });
    let view: string | null = null;
    try {
      view = layersMount(parts.paths(key).views, randomBytes(6).toString('hex'), layers);
      return await pageOf(upper, view, page, signal);
    } catch (error) {
      throw gone(layerFault(error));
    } finally {
      if (view !== null) layersUnmount(view);
      await alone(key, () => this.closed(record));
    }
  }

  async *pack(key: WorkloadKey, maxBytes: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const id = workloadId(key);
    const { record, upper, mine } = await this.hold(key);
    try {
      await faultPoint('oci.layer.frozen', key.instanceId);
      const limits = { ...packLimits, tarBytes: Math.min(maxBytes, packLimits.tarBytes) };
      yield* layerTar(upper, limits, signal);
      if (!(await this.stood(record, mine))) throw moved(id);
    } catch (error) {
      throw gone(layerFault(error));
    } finally {
      await this.release(record, mine);
    }
  }

  holds(key: WorkloadKey): boolean {
    return this.reading.get(workloadId(key))?.frozen === true;
  }

  /** Said of a container that stands still for us: it runs. */
  unfrozen(seen: Observation): Observation {
    return this.holds(seen) && seen.power === 'paused' ? { ...seen, power: 'running' } : seen;
  }

  /** Somebody pauses or resumes it: how it stands is theirs from now on. */
  wanted(key: WorkloadKey): void {
    const reading = this.reading.get(workloadId(key));
    if (reading !== undefined) reading.frozen = false;
  }

  /** @throws RuntimeError notPrepared */
  private hold(key: WorkloadKey): Promise<{ record: WorkloadRecord; upper: UpperLayer; mine: Reading }> {
    const { alone, parts, use } = this.o;
    const id = workloadId(key);
    return alone(key, async () => {
      const record = await this.recordOf(key);
      if (this.reading.has(id))
        throw new RuntimeError('notPrepared', `${id} is being committed already`, {
          remedy: 'wait for that commit to end',
        });
      const upper = await this.opened(record);
      const mine: Reading = { frozen: false, ran: use().runs.alive(record) };
      this.reading.set(id, mine);
      try {
        if (mine.ran && !cgroupFrozen(parts.paths(key).cgroup)) {
          mine.frozen = true;
          await use().launcher.pause(id);
        }
      } catch (error) {
        this.reading.delete(id);
        await this.closed(record);
        throw error;
      }
      return { record, upper, mine };
    });
  }

  /** Whether nothing of it has run since: it is the same run, frozen all the while, or none. */
  private async stood(then: WorkloadRecord, mine: Reading): Promise<boolean> {
    const { records, parts, use } = this.o;
    const now = await records.read(then);
    const { runs } = use();
    const sameRun =
      now?.run?.init.startTime === then.run?.init.startTime && now?.run?.init.pid === then.run?.init.pid;
    if (now === null || !sameRun || this.reading.get(workloadId(then)) !== mine) return false;
    return mine.ran ? cgroupFrozen(parts.paths(then).cgroup) && runs.alive(now) : !runs.alive(now);
  }

  private release(of: WorkloadRecord, mine: Reading): Promise<void> {
    const { alone, parts, records, use } = this.o;
    const id = workloadId(of);
    return alone(of, async () => {
      try {
        const record = await records.read(of);
        const thaws = mine.frozen && record !== null && use().runs.alive(record);
        if (thaws && cgroupFrozen(parts.paths(of).cgroup)) await use().launcher.resume(id);
      } finally {
        this.reading.delete(id);
        await this.closed(of);
      }
    });
  }

  private async recordOf(key: WorkloadKey): Promise<WorkloadRecord> {
    const record = await this.o.records.read(key);
    if (record !== null) return record;
    throw new RuntimeError('notPrepared', `${workloadId(key)} was never started here`, {
      remedy: 'start it once',
    });
  }

  /** For one more reader. */
  private async opened({ volumeId, mountPoints = [] }: WorkloadRecord): Promise<UpperLayer> {
    const base = await this.o.ranges.find(volumeId);
    if (base === null)
      throw new RuntimeError('notPrepared', `volume ${volumeId} was never started from`, {
        remedy: 'start it once',
      });
    const directory = await this.o.open(volumeId);
    this.readers.set(volumeId, (this.readers.get(volumeId) ?? 0) + 1);
    return {
      directory,
      ids: { base, size: RANGE_SIZE },
      mountPoints: new Set([...kernelMountPoints(), ...IDENTITY_PATHS, ...mountPoints]),
    };
  }

  /** One reader fewer: a layer that nobody reads, and no placement has mounted, is closed as a stop would have left it. */
  private async closed({ volumeId }: WorkloadRecord): Promise<void> {
    const left = (this.readers.get(volumeId) ?? 1) - 1;
    if (left > 0) return void this.readers.set(volumeId, left);
    this.readers.delete(volumeId);
    const { records, parts, close } = this.o;
    const all = (await records.list()).filter((record) => record.volumeId === volumeId);
    if (!all.some((record) => isMounted(parts.paths(record).rootfs))) await close(volumeId);
  }
}

async function pageOf(
  upper: UpperLayer,
  view: string,
  { after, limit }: { readonly after?: string | undefined; readonly limit: number },
  signal: AbortSignal,
): Promise<LayerChanges> {
  const items: LayerChanges['items'] = [];
  let characters = 0;
  let last: readonly Buffer[] = [];
  for await (const { path, ...one } of layerChanges(upper, view, cursorPath(after), signal)) {
    const text = pathText(path);
    if (items.length === limit || characters + text.length > PAGE_CHARACTERS)
      return { items, next: cursorOf(last) };
    items.push({ path: text, ...one });
    characters += text.length;
    last = path;
  }
  return { items, next: null };
}

/** A path as a cursor: names may hold any byte but NUL and "/". */
const cursorOf = (path: readonly Buffer[]): string =>
  Buffer.concat(path.flatMap((part, i) => (i === 0 ? [part] : [Buffer.from('/'), part]))).toString(
    'base64url',
  );

function cursorPath(cursor: string | undefined): Buffer[] {
  if (cursor === undefined) return [];
  const names = Buffer.from(cursor, 'base64url').toString('latin1').split('/');
  return names.map((name) => Buffer.from(name, 'latin1'));
}

/** What goes away while it is read was stopped and removed: an answer, and no fault of the host. */
function gone(error: unknown): unknown {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  if (code !== 'ENOENT' && code !== 'ESTALE') return error;
  return new RuntimeError('notPrepared', 'what the container changed went away while it was read', {
    cause: error,
    remedy: 'see whether it was deleted or rebuilt meanwhile',
  });
}

const moved = (id: string): RuntimeError =>
  new RuntimeError('notPrepared', `${id} was started, stopped or resumed while it was committed`, {
    remedy: 'commit again',
  });
