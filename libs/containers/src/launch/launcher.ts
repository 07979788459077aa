import type { ProcessIdentity } from '@berth/linux';

export type LaunchInput = 'none' | 'pipe' | 'terminal';

/** A bundle to launch. */
export interface LaunchRequest {
  readonly id: string;
  /** Directory with config.json. */
  readonly bundle: string;
  readonly logPath: string;
  /** What its program reads from: nothing, a pipe that stays open, or a terminal, which it writes to as well. */
  readonly input: LaunchInput;
  /** Group for what watches the container, outside of the container's own limits. */
  readonly monitorCgroup: string;
  readonly signal: AbortSignal;
}

/** The processes of one run. */
export interface Launched {
  readonly init: ProcessIdentity;
  readonly monitor: ProcessIdentity;
}

/** Where the monitor of a run listens. */
export interface AttachPlaces {
  /** Unix socket (SOCK_SEQPACKET) whose messages are the program's input. */
  readonly input: string;
  /** Named pipe that takes the size of its terminal, see {@link winsizeLine}. */
  readonly control: string;
}

/** How a run ended, as its monitor recorded it. */
export interface LaunchExit {
  /** Exit status; 128 + n after signal n, as shells and OCI monitors have it. */
  readonly status: number;
  readonly oomKilled: boolean;
}

export type LaunchStatus = 'created' | 'running' | 'paused' | 'stopped';

/**
 * The seam between a bundle and a running process: OCI bundle in, running pid out, and later an exit status. What it
 * launches does not depend on this process: it may die at any instant, and the status is still recorded.
 */
export interface Launcher {
  /** Makes the container up to just before its program starts. @throws LaunchError */
  create(request: LaunchRequest): Promise<Launched>;
  /** Starts the program of a created container, whose first process waits for it. @throws LaunchError */
  start(id: string, init: ProcessIdentity): Promise<void>;
  status(id: string): Promise<{ readonly status: LaunchStatus; readonly pid: number | null } | null>;
  list(): Promise<{ readonly id: string; readonly status: LaunchStatus; readonly pid: number | null }[]>;
  pause(id: string): Promise<void>;
  resume(id: string): Promise<void>;
  /** Program and arguments that run a process of a file (OCI `process`) in a running container, and relay its streams. */
  exec(id: string, files: { readonly process: string; readonly pid: string }): readonly string[];
  /** Who attaches to the program of a running container. */
  attachTo(bundle: string): AttachPlaces;
  /** The recorded end of the current run, or null while there is none. */
  exit(id: string): LaunchExit | null;
  /** Directory in which a file named by the id appears when a run ends. */
  readonly exitDirectory: string;
  /** Directories with files that begin with the id of a run. */
  readonly directories: readonly string[];
  /** Takes a container and its records away, killing it. Deleting what never was is no error. */
  delete(id: string): Promise<void>;
}

/** The container could not be made; `reason` is what the OCI runtime said. */
export class LaunchError extends Error {
  constructor(
    readonly reason: string,
    options?: ErrorOptions,
  ) {
    super(`the container could not be started: ${reason}`, options);
    this.name = 'LaunchError';
  }
}
