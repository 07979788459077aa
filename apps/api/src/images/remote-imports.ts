import { createReadStream } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { faultPoint } from '@berth/faults';
import {
  importLayout,
  registryHost,
  type BlobStore,
  type RegistryReference,
  type StoredBlob,
} from '@berth/images';
import {
  BerthError,
  operationError,
  Digest,
  type HostId,
  type Image,
  type ImageContent,
  type Instance,
  type InstanceCommit,
  type Operation,
  type OperationId,
  type ProjectId,
} from '@berth/model';
import type { Pause } from '../dispatch/hooks.js';
import type { MasterKey } from '../dispatch/master-key.js';
import type { Layers } from '../http/deps.js';
import { Turns } from '../ledger/turns.js';
import type { ImageImportDraft, ImageImportRow } from '../store/rows.js';
import type {
  Clock,
  IdSource,
  ImageStore,
  InstanceStore,
  OperationStore,
  ProjectStore,
  RegistryStore,
  RequestContext,
} from '../store/store.js';
import { downloadTo, type DownloadLimits, type DownloadPorts, type DownloadSource } from './download.js';
import { literalAddress, mayConnect, privateRefused } from './image-source.js';
import { asImportError, contentOfFile, contentOfStream } from './image-content.js';
import {
  importSource,
  pushTarget,
  registryBase,
  type RegistryTarget,
  type RemoteImport,
  unsealedRegistry,
} from './import-source.js';
import type { RegistryCredentials } from './registry-auth.js';
import { commitGather, CommitOrder } from './instance-commit.js';
import { RegistryClient } from './registry-client.js';
import { registryCredentialOpen } from './registry-credentials.js';
import { mirrored, type Place, Places, type RegistryMirrors } from './registry-mirrors.js';
import { pull } from './registry-pull.js';
import { push, type PushPorts } from './registry-push.js';
import { UploadPlace } from './registry-upload.js';
import { sourceGet } from './source-get.js';

/*
 * Imports from an address or a registry, and commits of containers, as a process of the API does them. Each has a directory of its own beside the blobs, in which a download
 * goes on after the process was killed:
 *
 *   begin: row + operation -> download (steps, progress) -> verify -> image + end of the operation, in one transaction
 *                               ^ claimed again by the next process, or by a look at what nobody does
 */

export interface RemoteImportPorts {
  readonly store: ProjectStore & ImageStore & InstanceStore & OperationStore & RegistryStore;
  readonly blobs: BlobStore;
  readonly masterKey: Pick<MasterKey, 'seal' | 'open'>;
  readonly clock: Clock;
  readonly ids: IdSource;
  readonly pause: Pause;
  readonly log: { warn(context: object, message: string): void };
  /** The list of a host that holds the image changed: nothing of it is to be removed any more. */
  readonly dispatch: (hostId: HostId) => void;
  /** Events were committed. */
  readonly ledger: () => void;
  /** What containers changed. */
  readonly layers: Pick<Layers, 'read'>;
  readonly limits: DownloadLimits;
  /** Registries that are spoken to by plain http: `host` or `host:port`. */
  readonly insecureRegistries: readonly string[];
  readonly registryMirrors: RegistryMirrors;
}

/** An import may take this long from beginning to end, seconds. */
const deadlineSeconds = 6 * 3600;
/** Downloads at the same time; the others wait for their turn. */
const atOnce = 4;

export const defaultDownloadLimits = (maxBytes: number): DownloadLimits => ({
  maxBytes,
  stallMs: 30_000,
  idleTries: 6,
  tries: 200,
  backoffMs: (idle) => Math.min(30_000, 500 * 2 ** idle),
  partBytes: 16 * 2 ** 20,
});

/** Verifies what came whole, and makes it visible. */
type Arrived = () => Promise<ImageContent>;

/** Somebody else ended the operation: its deadline has passed. Nothing is left to say. */
class OperationOver extends Error {}

export class RemoteImports {
  private readonly running = new Map<OperationId, Promise<void>>();
  private readonly life = new AbortController();
  private readonly turns = new Turns(atOnce);

  constructor(private readonly o: RemoteImportPorts) {}

  /**
   * Records an import, and begins it. @throws BerthError invalid, forbidden (an address that is plainly private), nameTaken,
   * notFound
   */
  async begin(ctx: RequestContext, project: string, wanted: RemoteImport): Promise<Operation> {
    const { store, masterKey, ids, insecureRegistries } = this.o;
    const found = await store.projectGet(project);
    if (found === null) throw new BerthError('notFound', `there is no project "${project}"`);
    const { transport, first, shown, secret } = importSource(wanted, insecureRegistries);
    const literal = literalAddress(first);
    if (literal !== null && !mayConnect(literal, found.imageSources)) throw privateRefused(literal, literal);
    const imageId = ids.uuid();
    return this.record(ctx, {
      projectId: found.id,
      imageId,
      name: wanted.name,
      kind: wanted.kind,
      transport,
      envelope: masterKey.seal(secret, purpose(imageId)),
      source: shown,
      sha256: wanted.sha256 ?? null,
      deadlineSeconds,
    });
  }

  /** Records the commit of a container, and begins it; the same in all else. @throws BerthError nameTaken, notFound */
  async commit(
    ctx: RequestContext,
    project: string,
    instance: Instance,
    { image, author, message }: InstanceCommit,
  ): Promise<Operation> {
    const { store, masterKey, ids } = this.o;
    const found = await store.projectGet(project);
    if (found === null) throw new BerthError('notFound', `there is no project "${project}"`);
    const imageId = ids.uuid();
    const order: CommitOrder = {
      instanceId: instance.id,
      ...(author === undefined ? {} : { author }),
      ...(message === undefined ? {} : { message }),
    };
    return this.record(ctx, {
      projectId: found.id,
      imageId,
      name: image,
      kind: 'oci',
      transport: 'commit',
      envelope: masterKey.seal(JSON.stringify(order), purpose(imageId)),
      source: `instance ${instance.name}`,
      sha256: null,
      deadlineSeconds,
    });
  }

  /** Records a push, and begins it. @throws BerthError invalid, forbidden (an address that is plainly private), notFound, unsupported */
  async push(ctx: RequestContext, project: string, image: Image, to: RegistryTarget): Promise<Operation> {
    const { store, masterKey, insecureRegistries } = this.o;
    const found = await store.projectGet(project);
    if (found === null) throw new BerthError('notFound', `there is no project "${project}"`);
    const { first, shown, secret } = pushTarget(to, insecureRegistries);
    const literal = literalAddress(first);
    if (literal !== null && !mayConnect(literal, found.imageSources)) throw privateRefused(literal, literal);
    return this.record(ctx, {
      projectId: found.id,
      imageId: image.id,
      name: image.name,
      kind: 'oci',
      transport: 'push',
      envelope: masterKey.seal(secret, purpose(image.id)),
      source: shown,
      sha256: null,
      deadlineSeconds,
    });
  }

  private async record(ctx: RequestContext, draft: ImageImportDraft): Promise<Operation> {
    const operation = await this.o.store.imageImportBegin(ctx, draft);
    void this.takeUp().catch((err: unknown) =>
      this.o.log.warn(
        { err, operation: operation.id },
        'an import is begun by the next look at what nobody does',
      ),
    );
    return operation;
  }

  /** Does every import that nobody does, and forgets what is left of those that are over. */
  async takeUp(): Promise<void> {
    const { store } = this.o;
    const claimed = await store.imageImportsClaim();
    for (const one of claimed) {
      if (this.running.has(one.operationId) || this.life.signal.aborted) continue;
      const work = this.turns.take(() => this.run(one)).finally(() => this.running.delete(one.operationId));
      this.running.set(one.operationId, work);
    }
    await store.imageImportsTrim();
  }

  /** Removes the files of imports that are not to be gone on with. Call once, after the first `takeUp`. */
  async sweep(): Promise<void> {
    const names = await readdir(this.dir).catch(() => []);
    for (const name of names)
      if (!this.running.has(name as OperationId))
        await rm(join(this.dir, name), { recursive: true, force: true });
  }

  /** Stops; what was under way goes on with the next process. */
  async close(): Promise<void> {
    this.life.abort();
    await Promise.all(this.running.values());
  }

  private get dir(): string {
    return join(this.o.blobs.dir, 'imports');
  }

  /** Never throws: whatever happens is the operation's end, except the end of this process. */
  private async run(one: ImageImportRow): Promise<void> {
    const { signal } = this.life;
    const { operationId } = one;
    const dir = join(this.dir, operationId);
    if (signal.aborted) return;
    try {
      await this.imported(one, dir);
    } catch (thrown) {
      if (signal.aborted) return;
      if (!(thrown instanceof OperationOver)) await this.fail(operationId, thrown);
    }
    await rm(dir, { recursive: true, force: true }).catch((err: unknown) =>
      this.o.log.warn({ err, dir }, 'what is left of an import could not be removed'),
    );
    this.o.ledger();
  }

  private async fail(operationId: OperationId, thrown: unknown): Promise<void> {
    const error = asImportError(thrown);
    if (error.code === 'internal')
      this.o.log.warn({ err: thrown, operation: operationId }, 'an import failed');
    const said = operationError(error);
    await this.untilStored(() => this.o.store.operationFinish(operationId, said)).catch(() => undefined);
  }

  private async imported(one: ImageImportRow, dir: string): Promise<void> {
    const { store } = this.o;
    const secret = this.o.masterKey.open(one.envelope, purpose(one.imageId));
    if (one.transport === 'push') return this.pushed(one, secret, dir);
    const arrived = await this.gathered(one, secret, dir);
    await faultPoint('api.import.downloaded', one.name);
    await this.step(one, 'verify', 99);
    // From before its blobs are visible until its row is: between the two nothing on record uses them.
    const hold = this.o.blobs.hold();
    try {
      const content = await arrived();
      await faultPoint('api.import.published', one.name);
      const { projectId, name, operationId, source, actor, traceId } = one;
      const image = { projectId, name, content, operationId, source };
      const made = await this.untilStored(() => store.imageImported({ actor, traceId }, image));
      for (const host of made.image.hosts) this.o.dispatch(host.id);
      if (one.transport === 'registry') await this.pulledFrom(made.image, secret);
    } finally {
      hold.release();
    }
  }

  /** A later push may take its blobs over from there. Without it they are sent. */
  private async pulledFrom(image: Image, secret: string): Promise<void> {
    const { domain, repository } = unsealedRegistry(secret).reference;
    await this.o.store
      .imagePlaceKeep(image.id, { registry: registryHost(domain), repository })
      .catch((err: unknown) =>
        this.o.log.warn({ err, image: image.id }, 'where an image came from is not kept'),
      );
  }

  private gathered(one: ImageImportRow, secret: string, dir: string): Promise<Arrived> {
    if (one.transport === 'url') return this.downloaded(one, secret, dir);
    return one.transport === 'registry' ? this.pulled(one, secret, dir) : this.committed(one, secret, dir);
  }

  private async committed(one: ImageImportRow, secret: string, dir: string): Promise<Arrived> {
    const { store, blobs, layers, clock, limits } = this.o;
    const { maxBytes } = limits;
    const progress = (bytes: number): Promise<void> =>
      this.step(one, 'read', 0, `${mib(bytes)} MiB of what it changed`);
    const ports = { store, blobs, layers, clock, maxBytes, progress };
    const order = CommitOrder.parse(JSON.parse(secret));
    const files = await this.whileAway(one, () => commitGather(ports, order, dir, this.life.signal));
    return () => importLayout(files, blobs, { totalBytes: maxBytes, blobBytes: maxBytes });
  }

  /** A host that is away for a moment, as after a restart of it or of this process, is waited for. */
  private async whileAway<T>(one: ImageImportRow, work: () => Promise<T>): Promise<T> {
    const { limits, pause } = this.o;
    for (let tries = 0; ; tries += 1)
      try {
        return await work();
      } catch (error) {
        if (!isUnavailable(error) || tries >= limits.idleTries) throw error;
        await this.step(one, 'retry', 0, (error as BerthError).publicMessage);
        await pause.sleep(limits.backoffMs(tries), this.life.signal);
        this.life.signal.throwIfAborted();
      }
  }

  /** The whole file, of the digest that was asked for. */
  private async downloaded(one: ImageImportRow, secret: string, dir: string): Promise<Arrived> {
    const source = urlSource(new URL(secret), this.o.limits);
    const { sha256 } = one;
    const wanted = sha256 === null ? null : Digest.parse(`sha256:${sha256}`);
    const file = await downloadTo(dir, source, wanted, this.ports(one), this.life.signal, otherDigest);
    return () => this.verified(one, file.path, file.known);
  }

  private async verified(one: ImageImportRow, path: string, known?: StoredBlob): Promise<ImageContent> {
    const { blobs, limits } = this.o;
    const deps = { blobs, maxBytes: limits.maxBytes };
    if (one.kind === 'oci') return contentOfStream(deps, 'oci', createReadStream(path));
    return contentOfFile(blobs, one.kind, (staging) => staging.adopt(path, known));
  }

  private async pulled(one: ImageImportRow, secret: string, dir: string): Promise<Arrived> {
    const { blobs, limits } = this.o;
    const { reference, credentials: own } = unsealedRegistry(secret);
    const places = await this.places(one.projectId, reference, own);
    const resolved = (digest: Digest): Promise<void> => this.step(one, 'resolve', 0, digest);
    const ports = { ...this.ports(one), resolved };
    const files = await pull(places, reference.wanted, dir, ports, this.life.signal);
    const { maxBytes } = limits;
    return () => importLayout(files, blobs, { totalBytes: maxBytes, blobBytes: maxBytes });
  }

  /** Its registry's mirrors, and the registry. What came with the request goes to the registry alone. */
  private async places(
    projectId: ProjectId,
    reference: RegistryReference,
    own: RegistryCredentials | null,
  ): Promise<Places> {
    const { limits, insecureRegistries, registryMirrors } = this.o;
    const at = async (place: RegistryReference, named: boolean): Promise<Place> => {
      const brought = named ? null : own;
      const client = new RegistryClient({
        ...{ reference: place, named, access: 'pull', stallMs: limits.stallMs },
        credentials: brought ?? (await this.kept(projectId, place)),
        kept: brought === null,
        base: registryBase(place, insecureRegistries),
      });
      return { name: place.domain, client };
    };
    const mirrors = await Promise.all(mirrored(reference, registryMirrors).map((place) => at(place, true)));
    return new Places(mirrors, await at(reference, false));
  }

  /** As it is now: who was given another password meanwhile pulls with that. */
  private kept(projectId: ProjectId, { domain }: RegistryReference): Promise<RegistryCredentials | null> {
    return this.untilStored(() => registryCredentialOpen(this.o, projectId, registryHost(domain)));
  }

  /** What it needs is kept by the image itself; one that is deleted meanwhile may be sent to its end. */
  private async pushed(one: ImageImportRow, secret: string, dir: string): Promise<void> {
    const { store, blobs, limits, insecureRegistries } = this.o;
    const { reference, credentials: own } = unsealedRegistry(secret);
    const image = await this.untilStored(() => store.imageGet(one.projectId, one.name));
    if (image === null || image.id !== one.imageId || image.content.kind !== 'oci')
      throw new BerthError('notFound', `image "${one.name}" was deleted before it was pushed`);
    const { domain, repository } = reference;
    const there = { registry: registryHost(domain), repository };
    const known = await this.untilStored(() =>
      store.imagePlaces(
        one.projectId,
        there.registry,
        image.content.blobs.map((blob) => blob.digest),
      ),
    );
    const others = known.filter((place) => place.repository !== repository);
    const client = new RegistryClient({
      ...{ reference, kept: own === null, access: 'push', stallMs: limits.stallMs },
      credentials: own ?? (await this.kept(one.projectId, reference)),
      elsewhere: others.map((place) => place.repository),
      base: registryBase(reference, insecureRegistries),
    });
    const ports: PushPorts = {
      ...this.ports(one),
      partBytes: limits.partBytes,
      place: new UploadPlace(join(dir, 'upload')),
      elsewhere: (digest) => others.filter((o) => o.digests.includes(digest)).map((o) => o.repository),
      progress: (bytes, of, mounted) => {
        const taken = mounted === 0 ? '' : `, ${mounted} blobs taken over from other repositories`;
        const said = `${mib(bytes)} of ${mib(of)} MiB${taken}`;
        return this.step(one, 'upload', of === 0 ? 0 : (98 * bytes) / of, said);
      },
    };
    await push(client, reference.wanted, image.content, blobs, ports, this.life.signal);
    await this.untilStored(() => store.imagePlaceKeep(image.id, there));
    await faultPoint('api.push.done', one.name);
    await this.untilStored(() => store.operationFinish(one.operationId, null));
  }

  private ports(one: ImageImportRow): DownloadPorts {
    const { clock, pause, limits } = this.o;
    return {
      clock,
      pause,
      limits,
      sources: () => this.sources(one.project),
      progress: (bytes, of) => this.progress(one, bytes, of),
      waits: (why) => this.step(one, 'retry', 0, why),
    };
  }

  private async sources(project: string) {
    const found = await this.untilStored(() => this.o.store.projectGet(project));
    if (found === null) throw new BerthError('notFound', `there is no project "${project}" any more`);
    return found.imageSources;
  }

  private progress(one: ImageImportRow, bytes: number, of: number | null): Promise<void> {
    const message = of === null ? `${mib(bytes)} MiB` : `${mib(bytes)} of ${mib(of)} MiB`;
    return this.step(one, 'download', of === null || of === 0 ? 0 : (98 * bytes) / of, message);
  }

  /** A database that is away holds up no download: the next step says more. @throws OperationOver */
  private async step(one: ImageImportRow, name: string, progress: number, message?: string): Promise<void> {
    const step = { name, progress, ...(message === undefined ? {} : { message }) };
    const going = await this.o.store.operationStep(one.operationId, step).catch((error: unknown) => {
      if (isUnavailable(error)) return true;
      throw error;
    });
    if (!going) throw new OperationOver();
  }

  /** What must be stored is tried until the database is there again. @throws when this process ends */
  private async untilStored<T>(work: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await work();
      } catch (error) {
        if (!isUnavailable(error)) throw error;
        await this.o.pause.sleep(1000, this.life.signal);
        this.life.signal.throwIfAborted();
      }
    }
  }
}

const urlSource = (url: URL, { stallMs }: DownloadLimits): DownloadSource => ({
  get: async (headers, sources, signal) =>
    (await sourceGet(url, { headers, sources, stallMs, signal })).response,
});

const mib = (bytes: number): string => (bytes / 2 ** 20).toFixed(1);

const purpose = (imageId: string): string => `image import ${imageId}`;

const isUnavailable = (error: unknown): boolean =>
  error instanceof BerthError && error.code === 'unavailable';

function otherDigest(found: Digest, wanted: Digest): BerthError {
  return new BerthError('badImage', `the file hashes to ${found}, not to ${wanted}`, {
    remedy:
      'Compare the digest with what the publisher states; the file may have changed since, or on its way.',
  });
}
