import { setTimeout as wait } from 'node:timers/promises';
import { cgroupProcs, isAlive, processIdentity, type ProcessIdentity } from '@berth/linux';
import { tpmLostRemedy, tpmLostType, type Condition } from '@berth/model';
import { keyText, RuntimeError, type WorkloadKey } from '@berth/runtime';
import { argumentsOf } from '../driver/qemu-process.js';

/** The process that is the TPM of a machine; `ended` when it went before its machine did; null of a machine without one, or that is off. */
export type TpmSeen = ProcessIdentity | 'ended' | null;

/**
 * What the processes say, whoever started them: the machine's own arguments tell whether it has a TPM.
 * @param qemu its pid, null when it is off @param group the cgroup of its TPM, in which the QEMU may be, too
 */
export async function tpmSeen(qemu: number | null, group: string): Promise<TpmSeen> {
  if (qemu === null || !(await argumentsOf(qemu)).includes('-tpmdev')) return null;
  for (const pid of await cgroupProcs(group)) {
    const tpm = pid === qemu ? null : processIdentity(pid);
    if (tpm !== null) return tpm;
  }
  // A TPM ends with its QEMU, of which nothing need be said.
  return processIdentity(qemu) === null ? null : 'ended';
}

/** Between two looks at the TPMs, ms. */
const LOOK_MS = 2_000;
/** A QEMU that ends lets go of its TPM a moment before it is gone, ms. */
const ENDING_MS = 250;

/**
 * TPMs of machines that run. Nobody tells when one ends: it is nobody's child, and its QEMU hears of it only from the next command of
 * its guest. While there is one, its process is looked at:
 *
 *   runs -(its process is gone, and its QEMU is not a moment later)-> ended; a new run of the machine has another
 */
export class TpmWatch<M extends WorkloadKey> {
  readonly #tpms = new Map<string, { readonly key: WorkloadKey; readonly seen: ProcessIdentity | 'ended' }>();
  #timer: NodeJS.Timeout | null = null;

  /** @param changed is told of a machine that is to be looked at */
  constructor(
    private readonly look: (machine: M) => Promise<TpmSeen>,
    private readonly changed: (key: WorkloadKey) => void,
    private readonly lookMs = LOOK_MS,
  ) {}

  /** Looks at a machine that runs: whether its TPM has ended. */
  async lost(machine: M): Promise<boolean> {
    const { instanceId, epoch } = machine;
    const key = { instanceId, epoch };
    let seen = await this.look(machine);
    if (seen === 'ended' && !this.hadLost(key)) {
      await wait(ENDING_MS);
      seen = await this.look(machine);
    }
    if (seen === null) this.forget(key);
    else this.#tpms.set(keyText(key), { key, seen });
    if (seen !== null && seen !== 'ended') this.#arm();
    return seen === 'ended';
  }

  /** What its host knew last, also of a machine that has ended since. */
  hadLost(key: WorkloadKey): boolean {
    return this.#tpms.get(keyText(key))?.seen === 'ended';
  }

  /** Nothing of it is left. */
  forget(key: WorkloadKey): void {
    this.#tpms.delete(keyText(key));
  }

  close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#tpms.clear();
  }

  #arm(): void {
    if (this.#timer !== null) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      let more = false;
      for (const { key, seen } of [...this.#tpms.values()]) {
        if (seen === 'ended') continue;
        if (isAlive(seen)) more = true;
        else {
          // Whoever looks at it finds another, or that it has none.
          this.forget(key);
          this.changed(key);
        }
      }
      if (more) this.#arm();
    }, this.lookMs);
    this.#timer.unref();
  }
}

/** What users are told of a machine that runs without its TPM. */
export const tpmCondition: Omit<Condition, 'since'> = {
  type: tpmLostType,
  reason: 'Ended',
  message:
    'the process of its TPM has ended: what its guest asks of it fails, and a reboot of its guest ends the machine',
  remedy: tpmLostRemedy,
};

/**
 * QEMU ends itself when it resets a machine whose TPM does not answer (QEMU 7.2, tpm_crb_reset), and writes no memory of one
 * (tpm_emulator_pre_save). @throws RuntimeError notPrepared
 */
export function refuseTpmLost(lost: boolean, what: string): void {
  if (!lost) return;
  throw new RuntimeError('notPrepared', `the process of its TPM has ended, so ${what}`, {
    remedy: tpmLostRemedy,
  });
}
