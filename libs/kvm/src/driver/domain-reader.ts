import type { VolumeId } from '@berth/model';
import type { DomainRef } from '../libvirt/protocol.js';
import { wantsPeriod } from '../machine/balloon-period.js';
import { diskRoles } from '../machine/disk-roles.js';
import { parsed, readMetadata, type DomainMetadata } from '../machine/metadata.js';

/** What of ours is in a domain's XML. */
export interface DomainReading extends DomainMetadata {
  readonly disks: ReadonlyMap<string, VolumeId | null>;
  readonly wantsPeriod: boolean;
}

/**
 * Reads the XML of domains. One that is as it was when it was last read is not parsed again: every list, every event and
 * every question for usage asks for it, it changes seldom, and parsing takes longer than libvirt's answer.
 */
export class DomainReader {
  readonly #last = new Map<string, { document: string; reading: DomainReading | null }>();

  /** Null when the domain is not ours. */
  read({ uuid }: Pick<DomainRef, 'uuid'>, document: string): DomainReading | null {
    const last = this.#last.get(uuid);
    if (last?.document === document) return last.reading;
    const tree = parsed(document);
    const metadata = readMetadata(tree);
    const reading =
      metadata === null ? null : { ...metadata, disks: diskRoles(tree), wantsPeriod: wantsPeriod(tree) };
    this.#last.set(uuid, { document, reading });
    return reading;
  }

  /** Forgets all domains but these, which are all that there are. */
  keep(domains: readonly Pick<DomainRef, 'uuid'>[]): void {
    const there = new Set(domains.map(({ uuid }) => uuid));
    for (const uuid of this.#last.keys()) if (!there.has(uuid)) this.#last.delete(uuid);
  }
}
