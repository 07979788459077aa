import { join } from 'node:path';
import { parseLinkAddress } from '@berth/link';
import type { ReportBody } from '@berth/link';
import type { Digest, HostUsage, PortOffer } from '@berth/model';
import type { Runtime } from '@berth/runtime';
import type { Clock } from './clock.js';
import type { AgentSettings } from './config.js';
import { keepConnected } from './connection.js';
import { HostFacts } from './facts.js';
import type { Machine } from './facts.js';
import { HostIdentity } from './identity.js';
import { ImageFetch } from './image-fetch.js';
import type { BlobKeeper } from './image-fetch.js';
import { ImageRecords } from './image-records.js';
import { Journal } from './journal.js';
import type { AgentLog } from './log.js';
import { HostNetworks } from './networks.js';
import type { NetworkKeeper } from './networks.js';
import { Orphans } from './orphans.js';
import { Outbox } from './outbox.js';
import { Placements } from './placements.js';
import { Runtimes } from './runtimes.js';
import { SecretValues } from './secret-values.js';
import { UnusedImages } from './unused-images.js';
import type { ImageStores } from './unused-images.js';
import { UsageSampler } from './usage-sampler.js';
import { backoffMs } from './clock.js';

/** Everything of the host an agent stands on. */
export interface AgentParts {
  readonly settings: AgentSettings;
  readonly clock: Clock;
  readonly log: AgentLog;
  readonly bootId: string;
  readonly agentVersion: string;
  readonly machine: Machine;
  readonly runtimes: readonly Runtime[];
  readonly blobs: BlobKeeper;
  /** Where images are removed; null: they never are. */
  readonly imageStores: ImageStores | null;
  readonly networks: NetworkKeeper | null;
  /** Size of the pool this host may fill, MiB. */
  readonly poolMiB: () => Promise<number>;
  /** Ports that instances may publish here; null where there are no networks. */
  readonly publishedPorts: () => PortOffer | null;
  /** Whether networks here may have IPv6. */
  readonly carriesIpv6: () => boolean;
  /** What the machine has used since it booted, and uses now. */
  readonly machineUsage: () => Promise<HostUsage>;
  /** Text of the join token. */
  readonly readToken: () => Promise<string>;
}

/** How often host facts are looked at again without a reason, milliseconds. */
const factsEveryMs = 60_000;
/** The first words to the API wait this long for the runtimes, milliseconds. */
const firstAnswersMs = 10_000;

/**
 * Runs an agent until the signal fires. What the journal knows is looked after from the first moment; joining and the
 * link come beside it, so that a host keeps its instances up while the API is away.
 */
export async function runAgent(parts: AgentParts, signal: AbortSignal): Promise<void> {
  const { settings, clock, log } = parts;
  const dir = join(settings.stateDir, 'agent');
  const { journal, damaged } = await Journal.open(join(dir, 'journal'), () => clock.now());
  for (const path of damaged)
    log.error({ path }, 'a journal file was damaged and is set aside; its workload runs on, unclaimed');
  const outbox = await Outbox.open(join(dir, 'reports'), (err) =>
    log.error({ err }, 'reports cannot be written'),
  );
  const report = (body: ReportBody): void => outbox.put(body);
  const runtimes = new Runtimes(parts.runtimes, clock, log);
  const records = await ImageRecords.open(join(dir, 'images'), log);
  const images = new ImageFetch(parts.blobs, report, records);
  const networks = new HostNetworks(parts.networks, clock, log);
  const { bootId } = parts;
  const vmStarts = settings.vmStarts ?? parts.machine.cpus;
  const placements = new Placements({
    clock,
    log,
    journal,
    runtimes,
    images,
    networks,
    secrets: new SecretValues(),
    bootId,
    vmStarts,
    report,
    unusedImages: (digests) => unused?.want(digests),
  });
  const unused = unusedImages(parts, { runtimes, placements, images, records, report });
  const facts = new HostFacts({ ...parts, runtimes, report });
  const sayFacts = (always: boolean): Promise<void> =>
    facts.say(always).catch((err: unknown) => log.error({ err }, 'the host cannot be measured'));
  placements.onProbed = () => void sayFacts(false);
  placements.start();
  const orphans = new Orphans({
    clock,
    log,
    runtimes,
    knows: (key) => placements.knows(key),
    report,
    everyMs: settings.inventorySeconds * 1000,
  });
  const watching = watchFacts(clock, sayFacts, signal);
  const usage = new UsageSampler({ ...parts, runtimes, machine: parts.machineUsage });
  const sampling = Promise.race([runtimes.answered(), clock.sleep(firstAnswersMs, signal)]).then(() =>
    usage.run(signal),
  );
  try {
    const address = parseLinkAddress(settings.apiLink);
    const identity = await obtainIdentity(parts, dir, signal);
    if (identity === null) return;
    log.info({ hostId: identity.hostId, apiLink: settings.apiLink }, 'host identity is ready');
    const began = async (): Promise<void> => {
      await sayFacts(true);
      report({ kind: 'inventory', images: await imagesHeld(images, records, placements) });
    };
    const { agentVersion } = parts;
    const session = {
      hostId: identity.hostId,
      clock,
      bootId,
      agentVersion,
      journal,
      outbox,
      placements,
      images,
      runtimes,
      usage,
      traffic: parts.networks,
      log,
      began,
    };
    // A host that says it is there should be able to take what it is then given.
    await Promise.race([runtimes.answered(), clock.sleep(firstAnswersMs, signal)]);
    await keepConnected({ address, identity, clock, log, session }, signal);
  } finally {
    await orphans.close();
    await unused?.close();
    await placements.close();
    await networks.close();
    await networks.rest((key) => placements.isOver(key));
    await runtimes.close();
    await journal.close();
    await watching;
    await sampling;
    await outbox.flushed();
  }
}

function unusedImages(
  { imageStores: stores, clock, log, settings }: AgentParts,
  o: {
    readonly runtimes: Runtimes;
    readonly placements: Placements;
    readonly images: ImageFetch;
    readonly records: ImageRecords;
    readonly report: (body: ReportBody) => void;
  },
): UnusedImages | null {
  if (stores === null) return null;
  return new UnusedImages({
    clock,
    log,
    stores,
    records: o.records,
    report: o.report,
    placed: () => [
      ...o.placements.imagesPlaced(),
      ...o.placements.mediaSeen().flatMap((digest) => o.records.get(digest) ?? []),
    ],
    awaited: () => o.images.awaited(),
    unsure: (image) =>
      o.placements.hasStrangers
        ? 'something runs here that no record knows'
        : // What stands on a disk's image is read from the disks themselves; what mounts a layer only its runtime knows.
          image.kind === 'oci'
          ? (o.runtimes.notReady('container') ?? o.runtimes.notAnswered('microvm'))
          : o.runtimes.notAnswered('vm'),
    graceMs: settings.imageGraceSeconds * 1000,
    everyMs: settings.inventorySeconds * 1000,
  });
}

/** Images whose blobs are all here. The record of one whose blobs went, and that nothing uses, goes too. */
async function imagesHeld(
  images: ImageFetch,
  records: ImageRecords,
  placements: Placements,
): Promise<Digest[]> {
  const placed = new Map(placements.imagesPlaced().map((image) => [image.digest, image]));
  const known = new Map([...records.all().map((image) => [image.digest, image] as const), ...placed]);
  const held: Digest[] = [];
  for (const image of known.values()) {
    if (await images.present(image)) held.push(image.digest);
    else if (!placed.has(image.digest)) await records.remove(image.digest);
  }
  return held;
}

async function watchFacts(
  clock: Clock,
  say: (always: boolean) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    await clock.sleep(factsEveryMs, signal);
    if (signal.aborted) return;
    await say(false);
  }
}

/** Joins at the first start, again and again until the API answers and the token is good. Null when told to end. */
async function obtainIdentity(
  parts: AgentParts,
  dir: string,
  signal: AbortSignal,
): Promise<HostIdentity | null> {
  const { settings, clock, log } = parts;
  for (let attempt = 0; !signal.aborted; attempt++) {
    try {
      return await HostIdentity.obtain({
        dir: join(dir, 'identity'),
        address: parseLinkAddress(settings.apiLink),
        name: settings.hostName,
        labels: settings.labels,
        readToken: parts.readToken,
      });
    } catch (err) {
      log.warn({ err }, 'this host could not join yet; it is tried again');
      await clock.sleep(backoffMs(clock, attempt, 200, 30_000), signal);
    }
  }
  return null;
}
