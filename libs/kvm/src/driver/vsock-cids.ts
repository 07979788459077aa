import { createHash } from 'node:crypto';
import { isVsockFree, vsockRefusal } from '@berth/linux';
import { VsockCid } from '@berth/model';
import { keyText, RuntimeError, type WorkloadKey } from '@berth/runtime';
import type { QemuAnswers } from '../accel/qemu-answers.js';
import { VSOCK_DEVICE_TYPE } from '../machine/machine-spec.js';
import { EpochValues } from './epoch-values.js';
import { hasDevice } from './qemu-devices.js';

/** Beyond what others give away who begin at the least, as libvirt does. */
const FIRST = 0x0001_0000;
const COUNT = 0x0100_0000;

/** The device of a host by which its machines have theirs. */
export interface VsockHost {
  /** Why no machine can have one; null when they can. */
  refusal(): string | null;
  /** Whether no guest of this host has this context id, whoever started it. @throws Error where there is no such device */
  isFree(cid: number): boolean;
}

const kernel: VsockHost = { refusal: () => vsockRefusal(), isFree: (cid) => isVsockFree(cid) };

/**
 * Context ids of the machines of a host, one for each epoch that has a vsock device, kept until that is removed. The kernel says which are
 * free, so that none is another program's. The first choice is by chance of the epoch's name: who remembers an id of a machine that is
 * gone does not reach the next one by it, and agents that share a machine seldom meet. One for all drivers of a host.
 */
export class VsockCids {
  readonly #cids: EpochValues<number>;

  constructor(
    path: string,
    private readonly host: VsockHost = kernel,
  ) {
    this.#cids = new EpochValues(path, VsockCid, 'machines with vsock get other ids');
  }

  /** Whether machines can have one here: the kernel's side, and QEMU's. */
  async able(qemu: QemuAnswers): Promise<boolean> {
    return this.host.refusal() === null && (await hasDevice(qemu, VSOCK_DEVICE_TYPE, 'guest-cid'));
  }

  /**
   * Of a machine of which nothing runs: what its epoch has, unless somebody else took that meanwhile.
   * @throws RuntimeError hostFault where the host has no vsock @throws Error when the file is damaged
   */
  async ensure(key: WorkloadKey): Promise<number> {
    const no = this.host.refusal();
    if (no !== null)
      throw new RuntimeError('hostFault', `this host gives no machine a vsock device: ${no}`, {
        remedy: 'load its kernel module there: modprobe vhost_vsock',
      });
    return this.#cids.choose(key, (known, others) => {
      if (known !== undefined && this.host.isFree(known)) return known;
      const taken = new Set(others);
      return freeCid(keyText(key), (one) => !taken.has(one) && this.host.isFree(one));
    });
  }

  /** Null for an epoch without one. */
  of(key: WorkloadKey): Promise<number | null> {
    return this.#cids.of(key);
  }

  /** Gives it back. Releasing what never was is no error. */
  release(key: WorkloadKey): Promise<void> {
    return this.#cids.release(key);
  }
}

function freeCid(name: string, isFree: (cid: number) => boolean): number {
  const wanted = createHash('sha256').update(name).digest().readUInt32BE(0) % COUNT;
  for (let step = 0; step < COUNT; step += 1) {
    const cid = FIRST + ((wanted + step) % COUNT);
    if (isFree(cid)) return cid;
  }
  throw new Error(`all ${COUNT} context ids for machines are taken`);
}
