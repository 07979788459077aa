import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Assignment, ReportBody, Workload } from '@berth/link';
import type { Digest } from '@berth/model';
import { type Runtime, SimulatedHost, SimulatedRuntime } from '@berth/runtime';
import { HostNetworks } from '../networks.js';
import { ImageFetch } from '../image-fetch.js';
import { Journal } from '../journal.js';
import { Placements } from '../placements.js';
import { Runtimes } from '../runtimes.js';
import { assignmentList } from './assignment-list.js';
import { TestClock } from './test-clock.js';
import { SecretValues } from '../secret-values.js';

export const quiet = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};
const crashes = { policy: 'onFailure', backoffSeconds: 10, maxBackoffSeconds: 60 } as const;
type PlacementReport = Extract<ReportBody, { kind: 'placement' }>;

/**
 * An agent's placements with no API about, on a simulated host that outlives them. Time is the test's own; the journal is
 * real and on disk.
 */
export class PlacementsLab {
  readonly clock = new TestClock();
  readonly host = new SimulatedHost({ now: this.clock.now });
  /** What was said of the instance, in all lives of the agent. */
  readonly said: PlacementReport[] = [];
  /** Blobs that are not on the host; it has all others. */
  readonly lacking = new Set<Digest>();
  placements!: Placements;
  images!: ImageFetch;
  private parts: { close(): Promise<void> }[] = [];

  private rev = 0;

  private constructor(
    private readonly dir: string,
    private readonly workload: Partial<Workload>,
    private readonly facets: Partial<Pick<Runtime, 'layers'>>,
  ) {}

  /** A container with this in its workload, which the agent was told of once; its runtime has these facets too. */
  static async with(
    workload: Partial<Workload>,
    facets: Partial<Pick<Runtime, 'layers'>> = {},
  ): Promise<PlacementsLab> {
    const dir = await mkdtemp(join(tmpdir(), 'berth-placements-'));
    const lab = new PlacementsLab(dir, workload, facets);
    await lab.begin();
    await lab.want('running');
    return lab;
  }

  /** A list comes, with this in its workload beside what was there from the beginning. */
  async want(wanted: Assignment['wanted'], workload: Partial<Workload> = {}): Promise<void> {
    this.rev += 1;
    const refusal = await this.placements.apply(
      assignmentList({
        rev: this.rev,
        revision: this.rev,
        wanted,
        workload: { restart: crashes, ...this.workload, ...workload },
      }),
    );
    if (refusal !== null) throw new Error(refusal.message);
  }

  /** A new life of the agent. */
  async begin(): Promise<void> {
    const { clock } = this;
    const log = quiet;
    const { journal } = await Journal.open(this.dir, clock.now);
    const report = (body: ReportBody): void => void (body.kind === 'placement' && this.said.push(body));
    const runtimes = new Runtimes([Object.assign(new SimulatedRuntime(this.host), this.facets)], clock, log);
    this.images = new ImageFetch(
      {
        has: (digest) => Promise.resolve(!this.lacking.has(digest)),
        rely: () => undefined,
        put: (_, { digest }) => Promise.resolve(this.lacking.delete(digest)),
        open: () => Promise.reject(new Error('it holds nothing')),
      },
      report,
      { keep: () => Promise.resolve() },
    );
    const networks = new HostNetworks(null, clock, log);
    const secrets = new SecretValues();
    const common = { clock, log, journal, images: this.images, runtimes, networks, secrets, report };
    this.placements = new Placements({
      ...common,
      bootId: 'b1',
      vmStarts: 2,
      unusedImages: () => undefined,
    });
    this.placements.start();
    this.parts = [this.placements, networks, runtimes, journal];
  }

  /** The agent's life ends; what it runs goes on. */
  async end(): Promise<void> {
    for (const part of this.parts) await part.close();
  }

  async close(): Promise<void> {
    await this.end();
    await rm(this.dir, { recursive: true });
  }
}
