import { createHash } from 'node:crypto';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { hasCode, isVsockFree, run, vsockRefusal, writeFileAtomic } from '@berth/linux';
import { VsockCid } from '@berth/model';
import { keyText, RuntimeError, type WorkloadKey } from '@berth/runtime';
import { z } from 'zod';
import { VSOCK_DEVICE_TYPE } from '../machine/machine-spec.js';

/** Beyond what others give away who begin at the least, as libvirt does. */
const FIRST = 0x0001_0000;
const COUNT = 0x0100_0000;

const CidsFile = z.strictObject({ version: z.literal(1), cids: z.record(z.string(), VsockCid) });
type Cids = z.infer<typeof CidsFile>['cids'];

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
  #queue: Promise<unknown> = Promise.resolve();
  /** What the file holds; null before it was read. */
  #cids: Cids | null = null;

  constructor(
    private readonly path: string,
    private readonly host: VsockHost = kernel,
  ) {}

  /** Whether machines can have one here: the kernel's side, and QEMU's. */
  async able(): Promise<boolean> {
    return this.host.refusal() === null && (await qemuHasVsock());
  }

  /**
   * Of a machine of which nothing runs: what its epoch has, unless somebody else took that meanwhile.
   * @throws RuntimeError hostFault where the host has no vsock @throws Error when the file is damaged
   */
  ensure(key: WorkloadKey): Promise<number> {
    return this.#alone(async () => {
      const no = this.host.refusal();
      if (no !== null)
        throw new RuntimeError('hostFault', `this host gives no machine a vsock device: ${no}`, {
          remedy: 'load its kernel module there: modprobe vhost_vsock',
        });
      const cids = await this.#read();
      const { [keyText(key)]: known, ...others } = cids;
      if (known !== undefined && this.host.isFree(known)) return known;
      const taken = new Set(Object.values(others));
      const cid = freeCid(keyText(key), (one) => !taken.has(one) && this.host.isFree(one));
      await this.#write({ ...others, [keyText(key)]: cid });
      return cid;
    });
  }

  /** Null for an epoch without one. */
  of(key: WorkloadKey): Promise<number | null> {
    return this.#alone(async () => (await this.#read())[keyText(key)] ?? null);
  }

  /** Gives it back. Releasing what never was is no error. */
  release(key: WorkloadKey): Promise<void> {
    return this.#alone(async () => {
      const { [keyText(key)]: known, ...rest } = await this.#read();
      if (known !== undefined) await this.#write(rest);
    });
  }

  #alone<T>(work: () => Promise<T>): Promise<T> {
    const next = this.#queue.then(work, work);
    this.#queue = next.catch(() => undefined);
    return next;
  }

  async #read(): Promise<Cids> {
    if (this.#cids !== null) return this.#cids;
    try {
      return (this.#cids = CidsFile.parse(JSON.parse(await readFile(this.path, 'utf8'))).cids);
    } catch (cause) {
      if (hasCode(cause, 'ENOENT')) return (this.#cids = {});
      throw new Error(`${this.path} cannot be read; remove it, and machines with vsock get other ids`, {
        cause,
      });
    }
  }

  async #write(cids: Cids): Promise<void> {
    this.#cids = null;
    if (Object.keys(cids).length === 0) await rm(this.path, { force: true });
    else {
      await mkdir(dirname(this.path), { recursive: true, mode: 0o711 });
      await writeFileAtomic(this.path, JSON.stringify({ version: 1, cids }), { mode: 0o600 });
    }
    this.#cids = cids;
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

let known = false;

/** Whether QEMU was built with the device. One that was is not asked again. */
async function qemuHasVsock(): Promise<boolean> {
  if (known) return true;
  const { stdout } = await run('qemu-system-x86_64', ['-device', `${VSOCK_DEVICE_TYPE},help`]).catch(() => ({
    stdout: '',
  }));
  known = stdout.includes('guest-cid');
  return known;
}
