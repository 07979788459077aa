import { ReferenceFault, RegistryReference } from '@berth/images';
import { BerthError, type ImageKind } from '@berth/model';
import { shownAddress, sourceUrl } from './image-source.js';
import type { RegistryCredentials } from './registry-auth.js';

/** How the content comes: as a file from an address, or blob by blob from a registry. */
export type ImportTransport = 'url' | 'registry';

/** What is to be imported, as it was asked for: `url` or `registry`. */
export interface RemoteImport {
  readonly name: string;
  readonly kind: ImageKind;
  readonly url?: string | undefined;
  /** Of the file at `url`, hex. */
  readonly sha256?: string | undefined;
  readonly registry?: RegistryTarget | undefined;
}

/** An image in a registry, and who signs in there. */
export interface RegistryTarget {
  readonly reference: string;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
}

/** Where content comes from, with what must not be shown: kept sealed while the import is under way. */
export interface ImportSource {
  readonly transport: ImportTransport;
  /** What is connected to first. */
  readonly first: URL;
  /** For people, events and logs. */
  readonly shown: string;
  readonly secret: string;
}

/** @param insecure registries that are spoken to by plain http: `host` or `host:port` @throws BerthError invalid */
export function importSource({ url, registry }: RemoteImport, insecure: readonly string[]): ImportSource {
  if (registry === undefined) {
    const first = sourceUrl(url ?? '');
    return { transport: 'url', first, shown: shownAddress(first), secret: first.href };
  }
  return registrySource(referenceOf(registry.reference, '/registry/reference'), registry, insecure);
}

function registrySource(
  reference: RegistryReference,
  { username, password }: RegistryTarget,
  insecure: readonly string[],
): ImportSource {
  const credentials = username === undefined || password === undefined ? null : { username, password };
  const sealed: SealedRegistry = { reference: String(reference), credentials };
  return {
    transport: 'registry',
    first: registryBase(reference, insecure),
    shown: String(reference),
    secret: JSON.stringify(sealed),
  };
}

/** Where an image is pushed to, likewise. @throws BerthError invalid */
export function pushTarget(to: RegistryTarget, insecure: readonly string[]): ImportSource {
  const reference = referenceOf(to.reference, '/reference');
  if (reference.digest === null) return registrySource(reference, to, insecure);
  const [message, remedy] = ['names a digest', 'Push by a tag: host/repository:tag.'];
  throw new BerthError('invalid', `The reference ${message}.`, {
    errors: [{ path: '/reference', code: 'invalid', message, remedy }],
  });
}

interface SealedRegistry {
  readonly reference: string;
  readonly credentials: RegistryCredentials | null;
}

/** What `importSource` had sealed of a registry. */
export function unsealedRegistry(secret: string): {
  reference: RegistryReference;
  credentials: RegistryCredentials | null;
} {
  const { reference, credentials } = JSON.parse(secret) as SealedRegistry;
  return { reference: RegistryReference.parse(reference), credentials };
}

/** The address of a registry: https, but for those that the configuration of the API names. */
export function registryBase({ host }: RegistryReference, insecure: readonly string[]): URL {
  const { hostname } = new URL(`https://${host}`);
  const plain = insecure.includes(host) || insecure.includes(hostname);
  return new URL(`${plain ? 'http' : 'https'}://${host}`);
}

function referenceOf(text: string, path: string): RegistryReference {
  try {
    return RegistryReference.parse(text);
  } catch (error) {
    if (!(error instanceof ReferenceFault)) throw error;
    const { message, remedy } = error;
    throw new BerthError('invalid', `The reference ${message}.`, {
      errors: [{ path, code: 'invalid', message, remedy }],
    });
  }
}
