import { Readable } from 'node:stream';
import { BerthError, type FileTarget, type HostId, type Instance, type VolumeId } from '@berth/model';
import type { Files } from '../../apps/api/src/http/deps.js';

/** What stands for the files of guests: those that were written, and `/etc/hostname` of every guest. */
export class StoredFiles implements Files {
  /** By `NAME:/path`. */
  readonly held = new Map<string, { readonly bytes: Buffer; readonly mode: string }>();
  /** Thrown at the next copy. */
  refusal: BerthError | null = null;
  /** The next reading breaks off in the middle. */
  breaks = false;

  read(instance: Instance, path: string): ReturnType<Files['read']> {
    if (this.refusal !== null) return Promise.reject(this.refusal);
    const own = path === '/etc/hostname' ? Buffer.from(`${instance.name}\n`) : undefined;
    const bytes = this.held.get(`${instance.name}:${path}`)?.bytes ?? own;
    if (bytes === undefined) return Promise.reject(new BerthError('noSuchFile', `the guest has no ${path}`));
    const { breaks } = this;
    async function* pieces(): AsyncGenerator<Buffer> {
      await Promise.resolve();
      yield bytes?.subarray(0, 3) ?? Buffer.alloc(0);
      if (breaks) throw new Error('the guest ended');
      yield bytes?.subarray(3) ?? Buffer.alloc(0);
    }
    return Promise.resolve({ sizeBytes: bytes.length, bytes: pieces() });
  }

  /** What stands for a file that a host made of a volume. */
  static readonly exportBytes = Buffer.from('what the volume held, as a file of its host\n');

  exported(_hostId: HostId, _volumeId: VolumeId, from: number): ReturnType<Files['exported']> {
    if (this.refusal !== null) return Promise.reject(this.refusal);
    const bytes = StoredFiles.exportBytes;
    const { breaks } = this;
    async function* pieces(): AsyncGenerator<Buffer> {
      await Promise.resolve();
      yield bytes.subarray(from, Math.max(from, 10));
      if (breaks) throw new Error('the host ended');
      yield bytes.subarray(Math.max(from, 10));
    }
    return Promise.resolve(pieces());
  }

  async write({ name }: Instance, { path, mode }: FileTarget, body: Readable): Promise<number> {
    if (this.refusal !== null) throw this.refusal;
    const bytes = Buffer.concat((await body.toArray()) as Buffer[]);
    this.held.set(`${name}:${path}`, { bytes, mode });
    return bytes.length;
  }
}
