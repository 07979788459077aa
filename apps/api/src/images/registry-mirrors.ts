import { ReferenceFault, registryHost, RegistryReference } from '@berth/images';
import { BerthError } from '@berth/model';
import type { TryPorts } from './download.js';
import type { RegistryClient } from './registry-client.js';

/*
 * Mirrors of registries, which the configuration of the API names. What is pulled is asked of each in order and of the registry itself
 * last. Content is named by its digest, which decides whoever gives it.
 */

/** Registry, as references name it, to its mirrors: `host`, `host:port`, or either with a path before the repository. */
export type RegistryMirrors = Readonly<Record<string, readonly string[]>>;

/** What is wrong with the name of a mirror; null when nothing is. */
export function mirrorFault(mirror: string): string | null {
  try {
    RegistryReference.parse(`${mirror}/x/y`);
    return null;
  } catch (error) {
    if (error instanceof ReferenceFault) return `${mirror} ${error.message}`;
    throw error;
  }
}

/** Where the same image is in each mirror of its registry, in order. */
export function mirrored(reference: RegistryReference, mirrors: RegistryMirrors): RegistryReference[] {
  const { tag, digest, repository } = reference;
  const host = registryHost(reference.domain);
  const named = Object.keys(mirrors).find((one) => registryHost(one) === host);
  const wanted = `${tag === null ? '' : `:${tag}`}${digest === null ? '' : `@${digest}`}`;
  return (named === undefined ? [] : (mirrors[named] ?? [])).map((mirror) =>
    RegistryReference.parse(`${mirror}/${repository}${wanted}`),
  );
}

/** A registry that may have what is pulled. */
export interface Place {
  /** As it is named to people. */
  readonly name: string;
  readonly client: RegistryClient;
}

/** Tries in a row of one mirror that bring nothing new. */
const mirrorTries = 2;

/** The places of one pull. */
export class Places {
  /** Mirrors that are asked for nothing more in this pull, and why. */
  private readonly out = new Map<Place, string>();

  /** @param registry the one that the reference names, asked when no mirror serves */
  constructor(
    private readonly mirrors: readonly Place[],
    private readonly registry: Place,
  ) {}

  /**
   * Does the work at the first place where it can be done.
   * @throws BerthError the registry's own, naming every place and what each said; whatever else the work throws
   */
  async first<T, P extends TryPorts>(
    work: (client: RegistryClient, ports: P) => Promise<T>,
    ports: P,
    signal: AbortSignal,
  ): Promise<T> {
    const said: string[] = [];
    for (const mirror of this.mirrors) {
      const why = this.out.get(mirror);
      if (why === undefined)
        try {
          const limits = { ...ports.limits, idleTries: Math.min(ports.limits.idleTries, mirrorTries) };
          return await work(mirror.client, { ...ports, limits });
        } catch (error) {
          signal.throwIfAborted();
          if (!(error instanceof BerthError)) throw error;
          // What one mirror lacks it lacks; one that does not work does not for the rest either.
          if (error.code !== 'notFound') this.out.set(mirror, error.publicMessage);
          said.push(`${mirror.name}: ${error.publicMessage}`);
          await ports.waits(`mirror ${mirror.name}: ${error.publicMessage}; the next place is asked`);
        }
      else said.push(`${mirror.name}: ${why}`);
    }
    try {
      return await work(this.registry.client, ports);
    } catch (error) {
      if (said.length === 0 || !(error instanceof BerthError)) throw error;
      const all = [...said, `${this.registry.name}: ${error.publicMessage}`];
      throw new BerthError(error.code, `no place gave it: ${all.join('; ')}`, {
        remedy:
          `${error.options.remedy ?? ''} The mirrors are those of registryMirrors in the configuration of the API.`.trim(),
        cause: error,
      });
    }
  }
}
