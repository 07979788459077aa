import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Assignment, type AssignmentList, protocol, type ReportBody, type Workload } from '@berth/link';
import type { InstanceId } from '@berth/model';
import { type Runtime, SimulatedHost, SimulatedRuntime } from '@berth/runtime';
import { HostNetworks } from '../networks.js';
import { ImageFetch } from '../image-fetch.js';
import { Journal } from '../journal.js';
import { Placements } from '../placements.js';
import { Runtimes } from '../runtimes.js';
import { TestClock } from './test-clock.js';

export const quiet = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};
const digest = `sha256:${'a'.repeat(64)}`;

/** The one instance of a lab. */
export const instanceId = '00000000-0000-4000-8000-0000000000aa' as InstanceId;
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
  placements!: Placements;
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
    const refusal = await this.placements.apply(list(this.rev, wanted, { ...this.workload, ...workload }));
    if (refusal !== null) throw new Error(refusal.message);
  }

  /** A new life of the agent. */
  async begin(): Promise<void> {
    const { clock } = this;
    const log = quiet;
    const { journal } = await Journal.open(this.dir, clock.now);
    const report = (body: ReportBody): void => void (body.kind === 'placement' && this.said.push(body));
    const runtimes = new Runtimes([Object.assign(new SimulatedRuntime(this.host), this.facets)], clock, log);
    const images = new ImageFetch(
      {
        has: () => Promise.resolve(true),
        rely: () => undefined,
        put: () => Promise.resolve(),
        open: () => Promise.reject(new Error('it holds nothing')),
      },
      report,
      { keep: () => Promise.resolve() },
    );
    const networks = new HostNetworks(null, clock, log);
    const common = { clock, log, journal, images, runtimes, networks, report };
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

function list(rev: number, wanted: Assignment['wanted'], over: Partial<Workload>): AssignmentList {
  const workload = {
    instanceId,
    epoch: 1,
    project: 'p',
    name: 'web',
    uuid: instanceId,
    isolation: 'container',
    image: {
      kind: 'oci',
      digest,
      configDigest: digest,
      layers: [],
      process: { entrypoint: [], cmd: [], env: [], user: '', workdir: '/' },
      arch: 'amd64',
      blobs: [],
    },
    vcpus: 1,
    cpuMillis: null,
    memoryMiB: 16,
    rootVolume: { id: instanceId, sizeMiB: 1 },
    volumes: [],
    nics: [],
    process: null,
    userData: null,
    restart: { policy: 'onFailure', backoffSeconds: 10, maxBackoffSeconds: 60 },
    accel: 'any',
    driver: 'any',
    ...over,
  };
  const assignment = { instanceId, epoch: 1, revision: rev, wanted, stopGraceSeconds: 1, workload };
  return {
    protocol,
    hostId: '00000000-0000-4000-8000-000000000001',
    storeIncarnation: 'one',
    session: 1,
    assignmentRev: rev,
    assignments: [assignment],
    networks: [],
    tombstones: [],
  } as unknown as AssignmentList;
}
