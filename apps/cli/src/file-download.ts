import { createWriteStream } from 'node:fs';
import { rename, rm, stat } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { Readable, Transform, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type FileAnswer, ProblemError } from '@berth/client';
import { exitCodes, Failure } from './failure.js';
import { transferProgress } from './transfer-progress.js';

/** A download that brings nothing new is tried again so often, after so long, milliseconds. */
const triesInVain = 6;
const betweenTriesMs = 1_000;

/** Where a download goes when it is no file but the standard output. */
export const toStdout = '-';

export interface Download {
  /** Asks for the bytes from `from` on, of the file that `tag` stands for where one is known. */
  readonly open: (from: number, tag: string | null) => Promise<FileAnswer>;
  /** Where it goes; {@link toStdout} for the standard output. */
  readonly to: string;
  /** Of the half-written file beside it; apart from those of others. */
  readonly mark: string;
  /** Looks at the whole before it gets its name; not of what went to the standard output. @throws Failure */
  readonly check?: (file: string) => Promise<void>;
}

/**
 * Writes a file beside its place, and goes on where it broke off; it is there when it is whole. @returns its size, bytes
 * @throws Failure, ProblemError
 */
export async function download({ open, to, mark, check }: Download): Promise<number> {
  if (to === toStdout) return received(open, to, stdoutTarget());
  await refuseThere(to);
  const part = `${to}.${mark}.part`;
  try {
    const size = await received(open, to, fileTarget(part));
    await check?.(part);
    await rename(part, to);
    return size;
  } finally {
    await rm(part, { force: true });
  }
}

interface Target {
  /** Where what comes goes; from byte 0 on anew, else behind what is there. */
  sink(from: number): Writable;
  /** How much has arrived there. */
  written(): Promise<number>;
  /** Whether what was written can be written anew. */
  readonly again: boolean;
}

function fileTarget(part: string): Target {
  return {
    sink: (from) => createWriteStream(part, { flags: from === 0 ? 'w' : 'a' }),
    // What reached the disk counts, not what passed.
    written: async () => (await stat(part).catch(() => null))?.size ?? 0,
    again: true,
  };
}

function stdoutTarget(): Target {
  let bytes = 0;
  return {
    sink: () =>
      new Writable({
        write: (chunk: Buffer, _encoding, done) =>
          void process.stdout.write(chunk, (error) => {
            if (!error) bytes += chunk.length;
            done(error);
          }),
      }),
    written: () => Promise.resolve(bytes),
    again: false,
  };
}

async function received(open: Download['open'], to: string, target: Target): Promise<number> {
  const progress = transferProgress(process.stderr, () => performance.now(), 'received');
  let got = 0;
  let whole: Pick<FileAnswer, 'sizeBytes' | 'tag'> | null = null;
  try {
    for (let tries = 0; whole === null || got < whole.sizeBytes;) {
      const before = got;
      try {
        const answer: FileAnswer = await open(got, whole?.tag ?? null);
        const { sizeBytes, from } = (whole = answer);
        if (from !== got && !target.again)
          throw new Failure(`what is downloaded has changed on the way\n  -> Download it again`);
        got = from;
        const counted = new Transform({
          transform: (chunk: Buffer, _encoding, done) => {
            progress.sent((got += chunk.length), sizeBytes);
            done(null, chunk);
          },
        });
        const body = Readable.fromWeb(answer.body as Parameters<typeof Readable.fromWeb>[0]);
        await pipeline(body, counted, target.sink(from));
      } catch (error) {
        if (error instanceof Failure || isFinal(error)) throw error;
        if (isLocal(error)) throw new Failure(`cannot write ${to}: ${(error as Error).message}`);
        got = await target.written();
        tries = got > before ? 1 : tries + 1;
        if (tries >= triesInVain) throw error;
        await wait(betweenTriesMs);
      }
    }
    return whole.sizeBytes;
  } finally {
    progress.end();
  }
}

/** Whether asking again would bring the same. */
const isFinal = (error: unknown): boolean =>
  error instanceof ProblemError && error.problem.status < 500 && error.problem.status !== 429;

const isLocal = (error: unknown): boolean =>
  ['ENOENT', 'EACCES', 'EISDIR', 'ENOSPC', 'ENOTDIR', 'EROFS', 'EPIPE'].includes(
    (error as NodeJS.ErrnoException).code ?? '',
  );

/** @throws Failure */
export async function refuseThere(file: string): Promise<void> {
  if ((await stat(file).catch(() => null)) !== null)
    throw new Failure(`${file} is there already\n  -> Name another place with --file`, exitCodes.usage);
}
