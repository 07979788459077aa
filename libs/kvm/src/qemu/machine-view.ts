import { setTimeout as wait } from 'node:timers/promises';
import { isAlive, type ProcessIdentity } from '@berth/linux';
import type { InstanceId } from '@berth/model';
import { keyText, type WorkloadKey } from '@berth/runtime';
import type { Machine, StorageFault } from '../driver/machine-driver.js';
import type { QmpClient } from '../qmp/client.js';
import { QmpTransportError } from '../qmp/commands.js';
import { AGENT_CHARDEV, qmpChardev } from './machine-parts.js';
import { findByArgument } from './process.js';
import type { QmpSessions } from './qmp-sessions.js';
import type { ProcessRecord, RunFiles } from './run-files.js';
import { stateOf } from './run-state.js';

/** QEMU answers in a millisecond; one that does not is stuck or stopped, and is not asked again for a while. */
const STATUS_MS = 1_000;
const STUCK_MS = 5_000;
/** A process is a zombie a moment before its parent hears why. */
const WORD_MS = 500;

/** A machine of which a process or its record is left. */
export interface QemuMachine extends Machine {
  readonly record: ProcessRecord;
  /** Null when the process is gone. */
  readonly process: ProcessIdentity | null;
}

type Seen = Pick<Machine, 'power' | 'end' | 'storage' | 'guessed' | 'signal' | 'watchdog' | 'report'> &
  Partial<Pick<Machine, 'agentPort'>>;

/** What is true of machines now: from their records, the process table, and what QEMU says. */
export class MachineView {
  /** Machines that were told to quit by somebody else, as QEMU said before it went. */
  readonly #quit = new Set<string>();
  /** How processes that we started end, each told once. */
  readonly #ends = new Map<string, Promise<NodeJS.Signals | null>>();
  /** The last answer of each machine, and until when it need not be asked again (performance.now). */
  readonly #last = new Map<string, { readonly power: Machine['power']; readonly until: number }>();

  constructor(
    private readonly files: RunFiles,
    private readonly sessions: QmpSessions,
    /** What was said of it is a guess: it is to be looked at again after so many milliseconds. */
    private readonly unsure: (key: WorkloadKey, afterMs: number) => void,
  ) {}

  /** The instance's machine that runs, of whatever epoch, else the newest. */
  async newest(instanceId: InstanceId): Promise<QemuMachine | null> {
    let newest: QemuMachine | null = null;
    for (const epoch of await this.files.epochs(instanceId)) {
      const machine = await this.#look({ instanceId, epoch });
      if (machine !== null && machine.power !== null) return machine;
      newest ??= machine;
    }
    return newest;
  }

  async all(): Promise<QemuMachine[]> {
    const found = await Promise.all(
      (await this.files.instances()).map(async (instanceId) => {
        const epochs = await this.files.epochs(instanceId);
        return Promise.all(epochs.map((epoch) => this.#look({ instanceId, epoch })));
      }),
    );
    return found.flat().filter((machine) => machine !== null);
  }

  /** Record and process of an epoch, without asking QEMU anything. */
  async process(
    key: WorkloadKey,
  ): Promise<{ record: ProcessRecord | null; process: ProcessIdentity | null }> {
    const record = await this.files.read(key);
    if (record !== null && record.process !== null)
      return { record, process: isAlive(record.process) ? record.process : null };
    if (!(await this.files.epochs(key.instanceId)).includes(key.epoch)) return { record, process: null };
    // We were ended between starting it and writing down its pid.
    const argument = qmpChardev(this.files.socketPath(key));
    return { record, process: await findByArgument(argument) };
  }

  async #look(key: WorkloadKey): Promise<QemuMachine | null> {
    const { record, process: identity } = await this.process(key);
    if (record === null) return null;
    const { instanceId, epoch, uuid, name } = record;
    const base = { instanceId, epoch, uuid, name, record, process: identity, agentPort: false };
    // Without a recorded process it was never let go.
    if (record.process === null) return { ...base, power: null, end: 'unknown', storage: null };
    if (identity === null) return { ...base, ...(await this.#gone(key)) };
    return { ...base, ...(await this.#status(record, identity)), process: identity };
  }

  async #status(key: ProcessRecord, identity: ProcessIdentity): Promise<Seen> {
    const last = this.#last.get(keyText(key));
    if (last !== undefined && last.until > performance.now())
      return { power: last.power, guessed: true, end: 'unknown', storage: null };
    try {
      const client = await this.sessions.get(key, this.files.socketPath(key));
      const { status } = await client.execute('query-status', undefined, { timeoutMs: STATUS_MS });
      const state = stateOf(status, key.watchdogOff);
      this.#last.set(keyText(key), { power: state.power, until: 0 });
      const storage = status === 'io-error' ? await storageFault(client) : null;
      const report = state.end === 'guestOff' ? await this.files.report(key) : null;
      return {
        ...state,
        storage,
        agentPort: await agentPort(client),
        ...(report === null ? {} : { report }),
      };
    } catch (error) {
      if (!(error instanceof QmpTransportError)) throw error;
      if (!isAlive(identity)) return this.#gone(key);
      // A process that does not answer still holds the machine's disk, so the machine is not off.
      const power = last?.power ?? 'running';
      this.#last.set(keyText(key), { power, until: performance.now() + STUCK_MS });
      this.unsure(key, STUCK_MS);
      return { power, guessed: true, end: 'unknown', storage: null };
    }
  }

  /** Of a process that is gone. */
  async #gone(key: WorkloadKey): Promise<Seen> {
    const off = { power: null, storage: null } as const;
    if (this.#quit.has(keyText(key))) return { ...off, end: 'destroyed' };
    const late = new AbortController();
    const unknown = wait(WORD_MS, undefined, { signal: late.signal });
    unknown.catch(() => undefined);
    const signal = await Promise.race([this.#ends.get(keyText(key)), unknown]);
    late.abort();
    return { ...off, end: 'failed', ...(signal === undefined ? {} : { signal }) };
  }

  /** A process that is our child: how it ends is known while we live. */
  begun(key: WorkloadKey, ended: Promise<NodeJS.Signals | null>): void {
    this.#ends.set(keyText(key), ended);
  }

  /** QEMU said that somebody asks it to quit; its end will not be a crash. */
  toldToQuit(key: WorkloadKey): void {
    this.#quit.add(keyText(key));
  }

  /** Nothing of it is left. */
  forget(key: WorkloadKey): void {
    this.#quit.delete(keyText(key));
    this.#ends.delete(keyText(key));
    this.#last.delete(keyText(key));
  }
}

/** Of a machine that QEMU stopped because of a disk. */
async function storageFault(client: QmpClient): Promise<StorageFault> {
  const disks = await client.execute('query-block', undefined, { timeoutMs: STATUS_MS });
  return disks.some((disk) => disk['io-status'] === 'nospace') ? 'noSpace' : 'writeFailed';
}

async function agentPort(client: QmpClient): Promise<boolean> {
  const chardevs = await client.execute('query-chardev', undefined, { timeoutMs: STATUS_MS });
  return chardevs.some((one) => one.label === AGENT_CHARDEV && one['frontend-open']);
}
