import type { ExitInfo, IsoContent } from '@berth/model';
import type { Observation, Runtime, WorkloadKey, WorkloadSpec } from '../runtime.js';

/** Kinds of workload a harness can make. Each start adds one to a counter on the root disk and logs `boots=<n>`. */
export type WorkloadKind =
  /** Runs until it is stopped, and ends politely when asked. */
  | 'steady'
  /** Never heeds a polite stop. */
  | 'stubborn'
  /** Says back what is typed to its first process, which has an input; steady otherwise. Only where there is attach. */
  | 'echo'
  /** Ends by itself soon after its start, as `briefEnd` says. */
  | 'brief'
  /** Boots once more by itself after its first boot, and is steady then. Only where there is a reset. */
  | 'rebooter'
  /** Arms its watchdog in its first boot and tends it no more; steady otherwise. Only where there are watchdogs. */
  | 'unattended'
  /** Its image cannot be used: broken or hostile content under a digest that is present. */
  | 'badImage';

/** What a runtime's tests must provide. The suite makes no other assumption about the runtime. */
export interface ConformanceHarness {
  /** A new runtime object over the same host, as after a restart of the agent. Called often. */
  runtime(): Promise<Runtime>;
  /** A workload of a new instance, with a nic on the one network of this host. Without `limits`, small ones. */
  spec(kind: WorkloadKind): Promise<WorkloadSpec>;
  /** How a `brief` workload ends. */
  readonly briefEnd: Pick<ExitInfo, 'reason' | 'code'>;
  /** Ends a running workload from outside without asking it (`kill -9`). */
  crash(key: WorkloadKey, pid: number | null): Promise<void>;
  /** Ends the TPM of a running workload from outside (`kill -9`). Only where there are TPMs. */
  endTpm(key: WorkloadKey): Promise<void>;
  /** Everything on the host that carries this instance, except volumes: links, mounts, cgroups, processes, files. */
  leftovers(key: WorkloadKey): Promise<readonly string[]>;
  /**
   * Leaves parts of this epoch on the host as an agent leaves them that was killed between two steps: no record tells
   * of them, and nothing runs.
   */
  debris(spec: WorkloadSpec): Promise<void>;
  /** MACs of the nics that a running workload has, as the host sees them. */
  macs(key: WorkloadKey, pid: number | null): Promise<readonly string[]>;
  /** Two different images for CD-ROM drives that are on this host. */
  media(): Promise<readonly [IsoContent, IsoContent]>;
  /** Digests of the images in the drives of a running workload, as the host sees them. */
  mediaOf(key: WorkloadKey, pid: number | null): Promise<readonly string[]>;
  /** Ids of volumes that exist. */
  volumes(): Promise<readonly string[]>;
  /** A runtime over the same host whose pool has no room for another volume. */
  fullPool(): Promise<Runtime>;
  /** A small pool with a workload that soon fills it. */
  smallPool(): Promise<SmallPool>;
  /** The command of a process that ends at once with this code. */
  exitsWith(code: number): string[];
  /** How long one step may take here, ms. */
  readonly stepMs: number;
}

/** A pool on a file system of its own, with less room than its one workload writes. */
export interface SmallPool {
  readonly runtime: Runtime;
  readonly spec: WorkloadSpec;
  /** Whether the workload has met the end of the room. */
  full(seen: Observation, log: string): boolean;
  enlarge(): Promise<void>;
  /** Whether everything was written after all. */
  wroteAll(log: string): boolean;
  end(): Promise<void>;
}

/** One promise that every runtime keeps. Its name is part of the documentation. */
export interface Behaviour {
  readonly name: string;
  readonly run: (h: ConformanceHarness) => Promise<void>;
}
