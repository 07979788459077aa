import { initial } from './0001-initial.js';
import { browserSessions } from './0002-browser-sessions.js';
import { terminalTickets } from './0003-terminal-tickets.js';
import { driver } from './0005-driver.js';
import { idempotencyHolder } from './0006-idempotency-holder.js';
import { terminalTicketEnvelope } from './0008-terminal-ticket-envelope.js';
import { imageImports } from './0009-image-imports.js';
import { dataVolumes } from './0010-data-volumes.js';
import { snapshots } from './0011-snapshots.js';
import { networksInDepth } from './0012-networks-in-depth.js';
import { rebuild } from './0013-rebuild.js';
import { diskSources } from './0016-disk-sources.js';
import { snapshotSchedules } from './0017-snapshot-schedules.js';
import { liveSizes } from './0019-live-sizes.js';
import { internalNetworks } from './0021-internal-networks.js';
import { volumeClones } from './0024-volume-clones.js';
import { volumeExports } from './0026-volume-exports.js';
import { hostClock } from './0028-host-clock.js';
import { liveNics } from './0029-live-nics.js';
import { registryImports } from './0031-registry-imports.js';
import { stopGrace } from './0032-stop-grace.js';
import { memorySnapshots } from './0033-memory-snapshots.js';
import { isoImages } from './0035-iso-images.js';
import { cdroms } from './0036-cdroms.js';
import { vsockCids } from './0037-vsock-cids.js';
import { numaHostNodes } from './0038-numa-host-nodes.js';
import { ipv6 } from './0039-ipv6.js';
import { registryCredentials } from './0040-registry-credentials.js';
import { imageCommits } from './0041-image-commits.js';
import { secrets } from './0046-secrets.js';
import { containerVolumes } from './0047-container-volumes.js';
import { uidRanges } from './0050-uid-ranges.js';
import { imagePlaces } from './0057-image-places.js';

/** One numbered, forward-only step of the schema. Expand first; contract in a later release. */
export interface Migration {
  /** Orders {@link migrations}; steps made side by side may leave gaps. */
  readonly version: number;
  /** UpperCamelCase; never changes once released. */
  readonly name: string;
  readonly sql: string;
}

/** All steps in order. A released step is never edited: add the next one. */
export const migrations: readonly Migration[] = [
  initial,
  browserSessions,
  terminalTickets,
  driver,
  idempotencyHolder,
  terminalTicketEnvelope,
  imageImports,
  dataVolumes,
  snapshots,
  networksInDepth,
  rebuild,
  diskSources,
  snapshotSchedules,
  liveSizes,
  internalNetworks,
  volumeClones,
  volumeExports,
  hostClock,
  liveNics,
  registryImports,
  stopGrace,
  memorySnapshots,
  isoImages,
  cdroms,
  vsockCids,
  numaHostNodes,
  ipv6,
  registryCredentials,
  imageCommits,
  secrets,
  containerVolumes,
  uidRanges,
  imagePlaces,
];
