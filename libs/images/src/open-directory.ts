import { constants, type BigIntStats } from 'node:fs';
import { lstat, open, opendir, readlink, type FileHandle } from 'node:fs/promises';
import { hasCode } from '@berth/linux';
import { ImageError } from './image-error.js';

const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK } = constants;

/** Names of one directory that are held in memory. */
const NAMES_MOST = 500_000;

/**
 * A directory whose content may be changed by whoever wants to harm us, while we look. It is reached by its descriptor, and
 * what is in it by one name below that (`/proc/self/fd/N/name`), of which no link is followed: no race leads out of the tree.
 */
export class OpenDirectory {
  private constructor(private readonly handle: FileHandle) {}

  /** @param path of ours: links in it are followed, but for the last name */
  static async at(path: string): Promise<OpenDirectory> {
    return new OpenDirectory(await open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  }

  get fd(): number {
    return this.handle.fd;
  }

  /** In the order of their bytes. @throws ImageError tooLarge */
  async names(): Promise<Buffer[]> {
    const found: Buffer[] = [];
    // The declared type of opendir knows no names that are bytes.
    const entries = await opendir(`/proc/self/fd/${this.fd}`, { encoding: 'buffer' as BufferEncoding });
    for await (const { name } of entries) {
      found.push(name as unknown as Buffer);
      if (found.length > NAMES_MOST)
        throw new ImageError(
          'tooLarge',
          `a directory has more than ${NAMES_MOST} entries`,
          'Remove some of them.',
        );
    }
    return found.sort((a, b) => a.compare(b));
  }

  /** Null when it is not there (any more). */
  async look(name: Buffer): Promise<BigIntStats | null> {
    return absent(lstat(this.path(name), { bigint: true }));
  }

  /** Null when it is no directory (any more). */
  async directory(name: Buffer): Promise<OpenDirectory | null> {
    const handle = await absent(open(this.path(name), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    return handle === null ? null : new OpenDirectory(handle);
  }

  /** A file to read; a pipe that took its place does not hold us up. @throws ELOOP for a link that took its place */
  file(name: Buffer): Promise<FileHandle> {
    return open(this.path(name), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  }

  readlink(name: Buffer): Promise<Buffer> {
    return readlink(this.path(name), { encoding: 'buffer' });
  }

  /** For a system call that follows no last link. */
  path(name: Buffer): Buffer {
    return Buffer.concat([Buffer.from(`/proc/self/fd/${this.fd}/`), name]);
  }

  async close(): Promise<void> {
    await this.handle.close();
  }
}

async function absent<T>(work: Promise<T>): Promise<T | null> {
  try {
    return await work;
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR', 'ELOOP')) return null;
    throw error;
  }
}
