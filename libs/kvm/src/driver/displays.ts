import type { Socket } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import type { KeyPress } from '@berth/model';
import {
  KeyedLock,
  keyText,
  pngOf,
  RfbViewer,
  RuntimeError,
  type Picture,
  type Terminal,
  type WorkloadKey,
} from '@berth/runtime';
import { DisplayTerminal } from './display-terminal.js';
import type { Machine, MachineDriver } from './machine-driver.js';
import type { MachineEndWatch } from './run-end.js';
import { hostFaults } from './step-bounds.js';

/** A QEMU that does not show its screen in this time does not answer, ms. */
const PICTURE_MS = 10_000;
/** What QEMU waits after each key goes down and after each goes up (`kbd_default_delay_ms` of its ui/input.c), ms. */
const KEY_MS = 10;

/** Screens and keyboards of one driver's machines. */
export class Displays<M extends Machine> {
  /** Pictures, and keys, one after another for each machine. */
  readonly #locks = new KeyedLock();

  constructor(
    private readonly driver: MachineDriver<M>,
    /** @throws RuntimeError notPrepared when it does not run */
    private readonly running: (key: WorkloadKey) => Promise<M>,
  ) {}

  async open(
    key: WorkloadKey,
    head: number,
    machineEnd: MachineEndWatch,
    signal: AbortSignal,
  ): Promise<Terminal> {
    const socket = await hostFaults(async () => this.driver.display(await this.running(key), head));
    return new DisplayTerminal(socket, machineEnd, signal);
  }

  /**
   * The screen as a viewer sees it. Not by QEMU's `screendump`: that writes a file, in a place that QEMU can reach and
   * its guest, should it ever take QEMU over, could put another one in; and libvirt's gives another format.
   */
  screenshot(key: WorkloadKey, head: number, signal: AbortSignal): Promise<Uint8Array> {
    return this.#locks.run(`picture ${key.instanceId}`, async () => {
      signal.throwIfAborted();
      const socket = await hostFaults(async () => this.driver.display(await this.running(key), head));
      const giveUp = (): void => void socket.destroy();
      const timer = setTimeout(giveUp, PICTURE_MS);
      signal.addEventListener('abort', giveUp, { once: true });
      if (signal.aborted) giveUp();
      try {
        return await pngOf(await seen(socket));
      } catch (cause) {
        throw new RuntimeError('hostFault', `QEMU does not show the screen: ${(cause as Error).message}`, {
          cause,
        });
      } finally {
        clearTimeout(timer);
        signal.removeEventListener('abort', giveUp);
        socket.destroy();
      }
    });
  }

  /** QEMU keeps a queue and drops what has no room in it, so that keys are given at the pace at which it types them. */
  sendKeys(key: WorkloadKey, presses: readonly KeyPress[], signal: AbortSignal): Promise<void> {
    return this.#locks.run(`keys ${keyText(key)}`, () =>
      hostFaults(async () => {
        for (const keys of presses) {
          signal.throwIfAborted();
          const machine = await this.running(key);
          if (machine.power === 'paused')
            throw new RuntimeError('notPrepared', 'the machine is paused and takes no keys', {
              remedy: 'Resume the instance first.',
            });
          const names = keys.map((data) => ({ type: 'qcode', data }) as const);
          await (await this.driver.monitor(machine)).execute('send-key', { keys: names }, { signal });
          await wait(2 * KEY_MS * keys.length, undefined, { signal });
        }
      }),
    );
  }

  /** Resolves when no picture is taken and no key pressed any more. */
  idle(): Promise<void> {
    return this.#locks.idle();
  }
}

/** @throws RfbError, or what the socket throws */
async function seen(socket: Socket): Promise<Picture> {
  const output = socket as AsyncIterable<Buffer>;
  return (await RfbViewer.connect({ output, write: (bytes) => socket.write(bytes) })).picture();
}
