import { setTimeout as wait } from 'node:timers/promises';
import {
  agentConnectedType,
  type Condition,
  type ExecOpen,
  type ExitInfo,
  type FileTarget,
  type GuestInfo,
} from '@berth/model';
import {
  KeyedLock,
  keyText,
  RuntimeError,
  type GuestFacet,
  type GuestFile,
  type Terminal,
  type WorkloadKey,
} from '@berth/runtime';
import { QgaAgent } from '../qga/agent.js';
import { QgaFiles } from '../qga/files.js';
import { QgaError, QgaTransportError, type QgaTransport } from '../qga/transport.js';
import { Freezes, type FreezingPorts } from './freezes.js';
import { guestFileRead, guestFileWrite } from './guest-files.js';
import { GuestProcess } from './guest-process.js';

interface Machines {
  /** The way to the agent of a machine that runs; null where its guest has not opened its port. @throws RuntimeError notPrepared */
  transport(key: WorkloadKey): Promise<QgaTransport | null>;
  /** How the machine's run ended, when it does; null when the signal fires before. Watched from the call on. */
  ended(key: WorkloadKey, signal: AbortSignal): Promise<ExitInfo | null>;
  /** Whether its agent answers has changed, or whether its file systems are frozen. */
  changed(key: WorkloadKey): void;
  readonly freezing: FreezingPorts;
}

/** A guest that has opened the port of its agent. */
interface Guest {
  readonly key: WorkloadKey;
  answers: boolean;
  greetAgain: NodeJS.Timeout | null;
  waitMs: number;
}

const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 60_000;
const SHUTDOWN_MS = 2_000;
/** So long a guest has to see the processors that it was given, and the time between two looks. */
const ONLINE_MS = 5_000;
const SEES_MS = 100;
/** A guest writes all that it has not written yet before it freezes. */
const FREEZE_MS = 20_000;
/** Questions to one agent that wait for each other; it takes one at a time. */
const MOST_QUESTIONS = 16;

const remedy =
  'install qemu-guest-agent in the guest and start it; its host sees it as soon as it opens its port';

/**
 * The agents in the guests of one driver's machines. One that opened its port is greeted until it answers:
 *
 *   no port -> port open -(ping)-> answers        and back to the beginning when the port is closed
 */
export class GuestAgents implements GuestFacet {
  readonly #guests = new Map<string, Guest>();
  readonly #locks = new KeyedLock();
  readonly #questions = new Map<string, number>();
  readonly #life = new AbortController();
  readonly freezes: Freezes;

  constructor(private readonly machines: Machines) {
    const bounds = (signal: AbortSignal) => ({ signal, timeoutMs: FREEZE_MS });
    const guests = {
      freeze: (key: WorkloadKey, signal: AbortSignal) =>
        reached(async () => (await this.#agent(key)).freeze(bounds(signal))),
      thaw: (key: WorkloadKey, signal: AbortSignal) =>
        reached(async () => (await this.#agent(key)).thaw(bounds(signal))),
    };
    this.freezes = new Freezes({ ...machines.freezing, guests, changed: (key) => machines.changed(key) });
  }

  /** What the hypervisor says of the port of a guest's agent now. */
  saw({ instanceId, epoch }: WorkloadKey, portOpen: boolean): void {
    const key = { instanceId, epoch };
    const known = this.#guests.get(keyText(key));
    if (!portOpen) return this.forget(key);
    if (known !== undefined || this.#life.signal.aborted) return;
    const guest: Guest = { key, answers: false, greetAgain: null, waitMs: FIRST_WAIT_MS };
    this.#guests.set(keyText(key), guest);
    void this.#greet(guest);
  }

  forget(key: WorkloadKey): void {
    const known = this.#guests.get(keyText(key));
    if (known !== undefined && known.greetAgain !== null) clearTimeout(known.greetAgain);
    this.#guests.delete(keyText(key));
  }

  close(): void {
    this.freezes.close();
    this.#life.abort();
    for (const { key } of this.#guests.values()) this.forget(key);
  }

  /** What is said of a machine whose agent answers. */
  conditions(key: WorkloadKey): Omit<Condition, 'since'>[] {
    if (this.#guests.get(keyText(key))?.answers !== true) return [];
    return [{ type: agentConnectedType, reason: 'Answers', message: 'the agent in its guest answers' }];
  }

  info(key: WorkloadKey, signal: AbortSignal): Promise<GuestInfo> {
    return reached(async () => (await this.#agent(key)).info({ signal }));
  }

  async exec(key: WorkloadKey, open: ExecOpen, signal: AbortSignal): Promise<Terminal> {
    refuseUnable(open);
    const over = new AbortController();
    const until = AbortSignal.any([signal, over.signal]);
    // Watched before it is looked at: an end in between is not missed.
    const ended = this.machines.ended(key, until);
    try {
      const agent = await reached(async () => {
        const one = await this.#agent(key);
        await one.ping({ signal });
        return one;
      });
      const end = ended.then((exit) => (until.aborted ? new Promise<never>(() => undefined) : exit));
      const process = new GuestProcess(open, agent, end, signal);
      void process.ended.then(() => over.abort());
      return process;
    } catch (error) {
      over.abort();
      throw error;
    }
  }

  readFile(key: WorkloadKey, path: string, signal: AbortSignal): Promise<GuestFile> {
    return reached(async () => guestFileRead(await this.#guest(key), path, signal));
  }

  writeFile(
    key: WorkloadKey,
    target: FileTarget,
    bytes: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): Promise<number> {
    return reached(async () => guestFileWrite(await this.#guest(key), target, bytes, signal));
  }

  freeze(key: WorkloadKey, seconds: number, signal: AbortSignal): Promise<number> {
    return this.freezes.freeze(key, seconds, signal);
  }

  thaw(key: WorkloadKey, signal: AbortSignal): Promise<number> {
    return this.freezes.thaw(key, signal);
  }

  /**
   * Has a guest use the processors that it was just given, so many in all: many use them only when they are told. Without an agent,
   * or where some are not seen in a few seconds, that is up to the guest.
   */
  async processorsCame(key: WorkloadKey, vcpus: number, signal: AbortSignal): Promise<void> {
    if (this.conditions(key).length === 0) return;
    const end = performance.now() + ONLINE_MS;
    try {
      const agent = await this.#agent(key);
      while ((await agent.bringOnline({ signal, timeoutMs: ONLINE_MS })) < vcpus && performance.now() < end)
        await wait(SEES_MS, undefined, { signal });
    } catch {
      // It has them: whether it uses them is its own matter.
    }
  }

  /** A way to ask the guest to end: at first by its agent, if that answers, and by the power button whenever it does not. */
  asker(key: WorkloadKey, press: () => Promise<void>): () => Promise<void> {
    let first = this.conditions(key).length > 0;
    return async () => {
      if (!first) return press();
      first = false;
      try {
        await (await this.#agent(key)).shutdown({ timeoutMs: SHUTDOWN_MS });
      } catch {
        await press();
      }
    };
  }

  async #greet(guest: Guest): Promise<void> {
    const text = keyText(guest.key);
    guest.greetAgain = null;
    const answers = await this.#agent(guest.key)
      .then((agent) => agent.ping())
      .then(
        () => true,
        () => false,
      );
    // Its port was closed meanwhile.
    if (this.#guests.get(text) !== guest) return;
    guest.answers = answers;
    if (answers) return this.machines.changed(guest.key);
    guest.greetAgain = setTimeout(() => void this.#greet(guest), guest.waitMs).unref();
    guest.waitMs = Math.min(guest.waitMs * 2, LONGEST_WAIT_MS);
  }

  /** @throws RuntimeError notPrepared, agentAway */
  async #agent(key: WorkloadKey): Promise<QgaAgent> {
    return (await this.#guest(key)).agent;
  }

  /** @throws RuntimeError notPrepared, agentAway */
  async #guest(key: WorkloadKey): Promise<{ readonly agent: QgaAgent; readonly files: QgaFiles }> {
    const transport = await this.machines.transport(key);
    if (transport === null) throw new RuntimeError('agentAway', 'no agent answers in the guest', { remedy });
    const inTurn: QgaTransport = {
      send: (command, args, options) =>
        this.#inTurn(key, () => {
          const signals = options?.signal === undefined ? [] : [options.signal];
          return transport.send(command, args, {
            ...options,
            signal: AbortSignal.any([this.#life.signal, ...signals]),
          });
        }),
    };
    return { agent: new QgaAgent(inTurn), files: new QgaFiles(inTurn) };
  }

  /** One question after the other, and not too many that wait. */
  async #inTurn<T>({ instanceId }: WorkloadKey, ask: () => Promise<T>): Promise<T> {
    const waiting = this.#questions.get(instanceId) ?? 0;
    if (waiting >= MOST_QUESTIONS)
      throw new QgaTransportError('closed', `${waiting} questions wait for the guest agent already`);
    this.#questions.set(instanceId, waiting + 1);
    try {
      return await this.#locks.run(instanceId, ask);
    } finally {
      const left = (this.#questions.get(instanceId) ?? 1) - 1;
      if (left > 0) this.#questions.set(instanceId, left);
      else this.#questions.delete(instanceId);
    }
  }
}

/** Turns what an agent did not answer into the runtime's error. */
async function reached<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof QgaError)
      throw new RuntimeError('agentAway', `the guest agent: ${cause.message}`, { cause });
    if (cause instanceof QgaTransportError)
      throw new RuntimeError('agentAway', cause.message, { cause, remedy });
    throw cause;
  }
}

/** @throws RuntimeError unsupported */
function refuseUnable({ tty, user, workdir }: ExecOpen): void {
  const refuse = (what: string, instead: string): never => {
    throw new RuntimeError('unsupported', `a guest agent runs programs ${what}`, { remedy: instead });
  };
  if (tty) refuse('without a terminal', 'leave the terminal out (-t), or use the serial console');
  if (user !== undefined) refuse('as root', 'leave the user out; `runuser -u NAME -- …` runs one as another');
  if (workdir !== undefined) refuse('in /', 'leave the directory out; `env -C DIR …` changes it');
}
