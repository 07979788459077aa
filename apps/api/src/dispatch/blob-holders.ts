import type { Readable } from 'node:stream';
import type { Digest, HostId } from '@berth/model';
import type { ImageStore } from '../store/store.js';
import type { BlobSource, DispatchLog } from './hooks.js';

/** A host that is connected here, as one that may have content. */
export interface BlobHolder {
  /** Bytes of a blob that the host holds. @throws LinkError status (it holds it not), closed, timeout */
  blob(digest: Digest, signal: AbortSignal): Promise<Readable>;
}

export interface HolderPorts {
  readonly store: Pick<ImageStore, 'imageBlobHolders'>;
  readonly log: DispatchLog;
  readonly holder: (hostId: HostId) => BlobHolder | undefined;
}

/**
 * Where a host gets content: from the API's own store, and what that has not, through here from another host that says it
 * holds it. Whoever receives it verifies its digest. `attempt` counts from 0, and each begins with another holder.
 * @throws when nobody who can be reached has it
 */
export async function blobOpen(
  own: BlobSource,
  ports: HolderPorts,
  wanted: { readonly digest: Digest; readonly asking: HostId; readonly attempt: number },
  signal: AbortSignal,
): Promise<Readable> {
  const { digest, asking, attempt } = wanted;
  const absent = await own.open(digest).then(
    ({ stream }) => ({ stream }),
    (error: unknown) => ({ error }),
  );
  if ('stream' in absent) return absent.stream;
  const others = (await ports.store.imageBlobHolders(digest)).filter((id) => id !== asking);
  for (const [i] of others.entries()) {
    const hostId = others[(i + attempt) % others.length] as HostId;
    const holder = ports.holder(hostId);
    if (holder === undefined) continue;
    try {
      const stream = await holder.blob(digest, signal);
      ports.log.info({ digest, from: hostId, to: asking }, 'content goes from host to host');
      return stream;
    } catch (err) {
      ports.log.warn({ err, digest, hostId }, 'a host that should hold content does not give it');
    }
  }
  throw absent.error;
}
