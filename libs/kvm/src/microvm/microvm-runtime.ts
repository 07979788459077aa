import { join } from 'node:path';
import {
  microvmSecretsFacet,
  type ExecOpen,
  type ExitInfo,
  type InstanceProcesses,
  type Isolation,
  type Usage,
  type VolumeId,
} from '@berth/model';
import {
  RuntimeError,
  type EnforcedLimits,
  type FilesFacet,
  type Held,
  type LogOptions,
  type Observation,
  type Runtime,
  type RuntimeProbe,
  type StepContext,
  type Terminal,
  type WorkloadHas,
  type WorkloadKey,
  type WorkloadSpec,
} from '@berth/runtime';
import { endAmong } from '../driver/observation-hub.js';
import { runningOn } from '../driver/machine-driver.js';
import { VmRuntime } from '../driver/vm-runtime.js';
import { execRequest, GuestExec } from '../guest/guest-exec.js';
import type { GuestField } from '../guest/guest-fields.js';
import type { QemuMachine } from '../qemu/machine-view.js';
import { BootFilesStore } from './boot-files.js';
import { fileRequest, microvmFileRead, microvmFileWrite } from './microvm-files.js';
import { MicrovmMachines } from './microvm-machines.js';
import { MicrovmPreparation } from './microvm-preparation.js';
import { microvmProcesses, processesRequest } from './microvm-processes.js';
import { MicrovmSecrets } from './microvm-secrets.js';
import type { MicrovmRuntimeOptions } from './ports.js';

const FACETS = ['pause', 'logs', 'exec', 'files', 'limits', 'init'] as const;

/**
 * OCI images on kernels of their own: a container's verbs over a machine's mechanics. Records, cgroups, recovery and ends are
 * those of any machine of the qemu driver; what only a full machine has (screen, serial line, guest agent, snapshots,
 * suspension, volumes) is not offered.
 */
export class MicrovmRuntime implements Runtime {
  readonly name = 'microvm';
  readonly isolations: readonly Isolation[] = ['microvm'];
  readonly #driver: MicrovmMachines;
  readonly #machines: VmRuntime<QemuMachine>;
  readonly #boot: BootFilesStore;
  readonly #secrets: MicrovmSecrets;
  /** Before anything is started. */
  #swept: Promise<void> | null = null;

  constructor(options: MicrovmRuntimeOptions) {
    this.#boot = new BootFilesStore(options.bootDir, join(options.stateDir, 'boot'));
    this.#secrets = new MicrovmSecrets(join(options.runDir, 'secrets'));
    this.#driver = new MicrovmMachines(options);
    this.#machines = new VmRuntime(
      this.#driver,
      options,
      (records, logs) => new MicrovmPreparation(options, this.#boot, records, logs, this.#secrets),
    );
  }

  /** Ends connections; every machine runs on. */
  close(): Promise<void> {
    return this.#machines.close();
  }

  async probe(): Promise<RuntimeProbe> {
    try {
      await this.#boot.ensure();
      await (this.#swept ??= this.#boot.clean());
    } catch (error) {
      return { ok: false, reason: (error as Error).message, facets: [], facts: {} };
    }
    const { abilities } = await this.#boot.ensure();
    const all = [...FACETS, ...(abilities.has('secrets') ? [microvmSecretsFacet] : [])];
    const { later, ...now } = await this.#machines.probe();
    const facets = now.ok ? all : [];
    return {
      ...now,
      facets,
      ...(later === undefined
        ? {}
        : { later: later.then((full) => ({ ...full, facets: full.ok ? all : [] })) }),
    };
  }

  prepare(spec: WorkloadSpec, ctx: StepContext): Promise<void> {
    return this.#machines.prepare(spec, ctx);
  }

  start(spec: WorkloadSpec, ctx: StepContext): Promise<void> {
    return this.#machines.start(spec, ctx);
  }

  async stop(key: WorkloadKey, graceSeconds: number, ctx: StepContext): Promise<void> {
    await this.#machines.stop(key, graceSeconds, ctx);
    this.#secrets.forget(key);
  }

  async remove(key: WorkloadKey, ctx: StepContext): Promise<void> {
    this.#secrets.forget(key); // before its record: what an interrupted removal leaves is found again by that
    await this.#machines.remove(key, ctx);
  }

  removeVolume(volumeId: VolumeId, ctx: StepContext): Promise<void> {
    return this.#machines.removeVolume(volumeId, ctx);
  }

  observe(signal: AbortSignal): AsyncIterable<Observation> {
    return this.#machines.observe(signal);
  }

  recover(): Promise<Observation[]> {
    return this.#machines.recover();
  }

  inventory(): Promise<Held[]> {
    return this.#machines.inventory();
  }

  pause(key: WorkloadKey, ctx: StepContext): Promise<void> {
    return this.#machines.pause(key, ctx);
  }

  resume(key: WorkloadKey, ctx: StepContext): Promise<void> {
    return this.#machines.resume(key, ctx);
  }

  /** The cap of its processors, and its secrets in `/run/secrets`; there is nothing else of it that can change while it runs. */
  async update(spec: WorkloadSpec, ctx: StepContext): Promise<WorkloadHas> {
    await this.#secrets.bring(spec, spec.secrets ?? [], async (request, path, value) => {
      const exec = await this.#ask(spec, request, ctx.signal);
      return microvmFileWrite(exec, path, pieceOf(value), ctx.signal);
    });
    return this.#machines.update(spec, ctx);
  }

  logs(key: WorkloadKey, options: LogOptions, signal: AbortSignal): AsyncIterable<Uint8Array> {
    return this.#machines.logs(key, options, signal);
  }

  limits(key: WorkloadKey): Promise<EnforcedLimits> {
    return this.#machines.limits(key);
  }

  usage(of?: WorkloadKey): Promise<(WorkloadKey & Usage)[]> {
    return this.#machines.usage(of);
  }

  exec(key: WorkloadKey, open: ExecOpen, signal: AbortSignal): Promise<Terminal> {
    return this.#ask(key, execRequest(open), signal);
  }

  async processes(key: WorkloadKey, signal: AbortSignal): Promise<InstanceProcesses> {
    return microvmProcesses(await this.#ask(key, processesRequest, signal));
  }

  readonly files: FilesFacet = {
    readFile: async (key, path, signal) =>
      microvmFileRead(await this.#ask(key, fileRequest('get', path), signal), path, signal),
    writeFile: async (key, { path, mode }, bytes, signal) => {
      const exec = await this.#ask(key, [...fileRequest('put', path), ['mode', mode]], signal);
      return microvmFileWrite(exec, path, bytes, signal);
    },
  };

  /** Asks the guest's first process for something beside the entry point. */
  async #ask(key: WorkloadKey, asked: readonly GuestField[], signal: AbortSignal): Promise<GuestExec> {
    const over = new AbortController();
    const until = AbortSignal.any([signal, over.signal]);
    // Watched before it is looked at: an end in between is not missed.
    const ended = endAmong(this.observe(until), key);
    try {
      const machine = runningOn(key, await this.#driver.find(key));
      if (machine.power === 'paused')
        throw new RuntimeError('notPrepared', 'the instance is paused', { remedy: 'resume it first' });
      return await this.#begin(machine, asked, unless(until, ended), signal, over);
    } catch (error) {
      over.abort();
      throw error;
    }
  }

  /** The conversation stays until the program is over. */
  #begin(
    machine: QemuMachine,
    asked: readonly GuestField[],
    ended: Promise<ExitInfo | null>,
    signal: AbortSignal,
    over: AbortController,
  ): Promise<GuestExec> {
    return new Promise((resolve, reject) => {
      this.#driver.guests
        .with(machine, async (session) => {
          const exec = new GuestExec(session, asked, ended, signal);
          resolve(exec);
          await exec.ended;
        })
        .catch(reject)
        .finally(() => over.abort());
    });
  }
}

/** Settles only when the work does before the signal fires. */
function unless<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  return work.then((result) => (signal.aborted ? new Promise<never>(() => undefined) : result));
}

async function* pieceOf(value: Uint8Array): AsyncGenerator<Uint8Array> {
  yield await Promise.resolve(value);
}
