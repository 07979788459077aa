import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import {
  agentConnectedType,
  filesystemsFrozenType,
  tpmLostRemedy,
  tpmLostType,
  watchdogExpiredType,
  type CdromSeen,
  type Condition,
  type Digest,
  type ExitInfo,
  type Isolation,
  type SnapshotTaken,
  type VolumeSeen,
} from '@berth/model';
import { keyText, RuntimeError, type Observation, type WorkloadKey, type WorkloadSpec } from './runtime.js';

export interface SimulatedWorkload {
  spec: WorkloadSpec;
  pid: number | null;
  exit: ExitInfo | null;
  log: string;
  paused?: boolean;
  /** Its memory is on disk; it has no process. */
  suspended?: boolean;
  /** What its watchdog did when it expired. */
  expired?: 'reset' | 'pause' | 'none';
  /** Its TPM ended in this run. */
  tpmLost?: boolean;
  /** Disks it runs with, the root disk among them: what it was started with, or changed to. */
  volumes?: readonly VolumeSeen[];
  /** Files that were copied into its guest, in base64. */
  files?: Record<string, string>;
  /** Its file systems are frozen. */
  frozen?: boolean;
  /** MACs of its nics. */
  macs?: string[];
  /** What is in its CD-ROM drives. */
  media?: readonly (Digest | null)[];
  /** Context id of its vsock device, from its first start on. */
  vsockCid?: number;
}

export interface HostState {
  nextPid: number;
  starts: number;
  workloads: Record<string, SimulatedWorkload>;
  highestEpoch: Record<string, number>;
  /** Start counters on root disks, by volume id: the "guest's writes". */
  disks: Record<string, number>;
  snapshots: Record<string, { readonly disks: Record<string, number>; readonly taken: SnapshotTaken }>;
  /** Memory that the next start from a root disk goes on with: how much its machine had, MiB. */
  memories: Record<string, number>;
  /** Parts of epochs that no workload accounts for, as a killed agent leaves them. */
  debris: Record<string, string[]>;
}

/**
 * The machine below the simulated runtime: it outlives runtime objects, as a real host outlives its agent.
 * With `file`, it also outlives the process.
 */
export class SimulatedHost {
  readonly state: HostState;
  readonly listeners = new Set<(o: Observation) => void>();

  constructor(
    readonly options: {
      readonly now: () => Date;
      readonly file?: string;
      readonly isolations?: readonly Isolation[];
    },
  ) {
    this.state = { ...empty(), ...this.load() };
  }

  private load(): Partial<HostState> {
    if (this.options.file === undefined) return {};
    try {
      return JSON.parse(readFileSync(this.options.file, 'utf8')) as HostState;
    } catch (e) {
      if ((e as NodeJS.ErrnoException).code !== 'ENOENT') throw e;
      return {};
    }
  }

  /** Keeps the state and tells the observers. */
  changed(o: Observation | null): void {
    if (this.options.file !== undefined) {
      writeFileSync(`${this.options.file}.tmp`, JSON.stringify(this.state));
      renameSync(`${this.options.file}.tmp`, this.options.file);
    }
    if (o !== null) for (const l of this.listeners) l(o);
  }

  /** Ends a workload from outside, as a kill or a guest's own exit would. */
  end(key: WorkloadKey, exit: Omit<ExitInfo, 'at'>): void {
    const w = this.state.workloads[keyText(key)];
    if (w === undefined || (w.pid === null && w.suspended !== true)) return;
    w.pid = null;
    w.paused = false;
    w.suspended = false;
    w.exit = { ...exit, at: this.options.now().toISOString() };
    this.changed(observationOf(w));
  }

  /** Ends the TPM of a running workload, and not the workload. */
  endTpm(key: WorkloadKey): void {
    const w = this.state.workloads[keyText(key)];
    if (w === undefined || w.pid === null || w.spec.tpm !== true) return;
    w.tpmLost = true;
    this.changed(observationOf(w));
  }

  /** A running workload says something. */
  print(key: WorkloadKey, text: string): void {
    const w = this.state.workloads[keyText(key)];
    if (w !== undefined && w.pid !== null) w.log += text;
  }
}

function empty(): HostState {
  return {
    nextPid: 1000,
    starts: 0,
    workloads: {},
    highestEpoch: {},
    disks: {},
    snapshots: {},
    memories: {},
    debris: {},
  };
}

export function observationOf(w: SimulatedWorkload): Observation {
  const runs = w.pid !== null;
  const suspended = w.suspended === true;
  const phase = runs || suspended ? 'running' : w.exit === null ? 'preparing' : 'ended';
  return {
    instanceId: w.spec.instanceId,
    epoch: w.spec.epoch,
    phase,
    power: suspended ? 'suspended' : !runs ? 'off' : w.paused === true ? 'paused' : 'running',
    exit: w.exit,
    pid: w.pid,
    ...(runs && w.media !== undefined ? { cdroms: drivesSeen(w.media) } : {}),
    ...(w.vsockCid === undefined ? {} : { vsockCid: w.vsockCid }),
    ...(runs && conditionsOf(w).length > 0 ? { conditions: conditionsOf(w) } : {}),
  };
}

function conditionsOf(w: SimulatedWorkload): Omit<Condition, 'since'>[] {
  const { expired } = w;
  const reason = expired === undefined ? null : { reset: 'Reset', pause: 'Paused', none: 'Expired' }[expired];
  const said =
    reason === null ? [] : [{ type: watchdogExpiredType, reason, message: 'its watchdog expired' }];
  const held =
    w.frozen === true ? [{ type: filesystemsFrozenType, reason: 'Frozen', message: 'frozen' }] : [];
  const lost = w.tpmLost === true ? [tpmLost] : [];
  return [...said, ...held, ...lost, ...(hasAgent(w) ? [answering] : [])];
}

/** @throws RuntimeError notPrepared */
export function refuseTpmLost(w: SimulatedWorkload): void {
  if (w.tpmLost === true) throw new RuntimeError('notPrepared', tpmLost.message, { remedy: tpmLostRemedy });
}

/** The least that no other has. */
export function freeCid(others: readonly Pick<SimulatedWorkload, 'vsockCid'>[]): number {
  const taken = new Set(others.map(({ vsockCid }) => vsockCid));
  let cid = 3;
  while (taken.has(cid)) cid += 1;
  return cid;
}

/** A guest that leaves its trays closed. */
export const drivesSeen = (media: readonly (Digest | null)[]): CdromSeen[] =>
  media.map((digest) => ({ digest, trayOpen: false, locked: false }));

/** What a spec wants in its drives. */
export const mediaIn = ({ cdroms = [] }: Pick<WorkloadSpec, 'cdroms'>): (Digest | null)[] =>
  cdroms.map(({ image }) => image?.digest ?? null);

/** An agent is in its guest. */
export const hasAgent = (w: SimulatedWorkload): boolean => w.spec.userData?.includes('sim:agent') === true;

const tpmLost = { type: tpmLostType, reason: 'Ended', message: 'its TPM has ended', remedy: tpmLostRemedy };
const answering = { type: agentConnectedType, reason: 'Answers', message: 'the agent in its guest answers' };
