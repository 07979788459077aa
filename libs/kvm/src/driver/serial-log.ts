import { watch } from 'node:fs';
import { mkdir, open, readdir, stat, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { HeldParts, LogOptions, WorkloadKey } from '@berth/runtime';
import { epochFiles, removeEpochFiles } from './epoch-files.js';

const CHUNK = 64 * 1024;
/** A rename of the log (rotation) may be missed between two watches; look again at least this often. */
const LOOK_AGAIN_MS = 1_000;

/** Serial output of the workloads of one host: `<dir>/<instance>/<epoch>.log`, older bytes in `.log.0`, `.log.1` … */
export class SerialLogs {
  constructor(private readonly dir: string) {}

  path(key: WorkloadKey): string {
    return join(this.dir, key.instanceId, `${key.epoch}.log`);
  }

  async prepare(key: WorkloadKey): Promise<string> {
    await mkdir(dirname(this.path(key)), { recursive: true, mode: 0o711 });
    return this.path(key);
  }

  remove(key: WorkloadKey): Promise<void> {
    return removeEpochFiles(this.dir, key);
  }

  /** What lies here of any epoch. */
  inventory(held: HeldParts): Promise<void> {
    return epochFiles(this.dir, 'log', held);
  }

  /**
   * Bytes as they were written, oldest first. With `follow` it ends when the signal fires, or with the log as it is when
   * `finish` fires.
   */
  async *read(
    key: WorkloadKey,
    options: LogOptions,
    signal: AbortSignal,
    finish?: AbortSignal,
  ): AsyncIterable<Uint8Array> {
    const path = this.path(key);
    const files = await this.#files(key);
    let skip =
      options.tailBytes === undefined ? 0 : Math.max((await totalSize(files)) - options.tailBytes, 0);
    for (const old of files.filter((file) => file !== path)) {
      const size = await sizeOf(old);
      if (skip >= size) skip -= size;
      else {
        yield* wholeFile(old, skip, signal);
        skip = 0;
      }
    }
    if (!options.follow) yield* wholeFile(path, skip, signal);
    else yield* followed(path, skip, signal, finish);
  }

  /** Oldest first: the highest rotation number, down to the file that is written now. */
  async #files(key: WorkloadKey): Promise<string[]> {
    const path = this.path(key);
    const names = await readdir(dirname(path)).catch(() => [] as string[]);
    const rotated = names
      .filter((name) => name.startsWith(`${basename(path)}.`) && /\.\d+$/.test(name))
      .sort((a, b) => Number(b.split('.').at(-1)) - Number(a.split('.').at(-1)));
    return [...rotated, ...names.filter((name) => name === basename(path))].map((name) =>
      join(dirname(path), name),
    );
  }
}

async function sizeOf(path: string): Promise<number> {
  return (await stat(path).catch(() => ({ size: 0 }))).size;
}

async function totalSize(paths: readonly string[]): Promise<number> {
  const sizes = await Promise.all(paths.map(sizeOf));
  return sizes.reduce((sum, size) => sum + size, 0);
}

async function openOptional(path: string): Promise<FileHandle | null> {
  try {
    return await open(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

async function* wholeFile(path: string, from: number, signal: AbortSignal): AsyncIterable<Uint8Array> {
  const file = await openOptional(path);
  if (file === null) return;
  try {
    yield* rest(file, { at: from }, signal);
  } finally {
    await file.close();
  }
}

/** Everything from `place` to the present end; `place` moves on. */
async function* rest(
  file: FileHandle,
  place: { at: number },
  signal: AbortSignal,
): AsyncIterable<Uint8Array> {
  while (!signal.aborted) {
    const buffer = Buffer.alloc(CHUNK);
    const { bytesRead } = await file.read(buffer, 0, CHUNK, place.at);
    if (bytesRead === 0) return;
    place.at += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

async function* followed(
  path: string,
  from: number,
  signal: AbortSignal,
  finish?: AbortSignal,
): AsyncIterable<Uint8Array> {
  const wakers = finish === undefined ? [signal] : [signal, finish];
  const changes = watchDirectory(dirname(path), AbortSignal.any(wakers));
  const place = { at: from };
  let file: FileHandle | null = null;
  try {
    while (!signal.aborted) {
      const last = finish?.aborted === true;
      file ??= await openOptional(path);
      if (file !== null) {
        yield* rest(file, place, signal);
        const here = await file.stat();
        const there = await stat(path).catch(() => null);
        if (there === null || there.ino !== here.ino) {
          // Rotated: what came between the last read and the rename is still in the old file.
          yield* rest(file, place, signal);
          await file.close();
          file = null;
          place.at = 0;
          if (there !== null) continue;
        } else if (here.size < place.at) place.at = 0;
      }
      if (last) return;
      await changes.next();
    }
  } finally {
    changes.close();
    await file?.close();
  }
}

/** Resolves `next` at a change of the directory since the last call, after a while, or when the signal fires. */
function watchDirectory(dir: string, signal: AbortSignal): { next: () => Promise<void>; close: () => void } {
  let changed = false;
  let wake: (() => void) | null = null;
  const notice = (): void => {
    changed = true;
    wake?.();
  };
  const watcher = watch(dir, notice);
  watcher.on('error', notice);
  signal.addEventListener('abort', notice, { once: true });
  const next = async (): Promise<void> => {
    if (!changed && !signal.aborted)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, LOOK_AGAIN_MS);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    changed = false;
    wake = null;
  };
  const close = (): void => {
    signal.removeEventListener('abort', notice);
    watcher.close();
  };
  return { next, close };
}
