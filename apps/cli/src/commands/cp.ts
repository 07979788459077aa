import { randomUUID } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { rename, rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { exitCodes, Failure } from '../failure.js';
import { examples, note, type Commands, type Session } from '../session.js';
import { isTerminal } from '../terminal.js';
import { transferProgress } from '../transfer-progress.js';
import { bytes } from '../output.js';

interface InGuest {
  readonly instance: string;
  readonly path: string;
}

export const cpCommands: Commands = (program, session) => {
  examples(
    program
      .command('cp <from> <to>')
      .description(
        'copy one file into or out of a running instance, of a VM by its guest agent; NAME:/path is in it, - is the standard input or output',
      )
      .option('--mode <octal>', "permissions of the file in the instance; the local file's when absent")
      .action(async (from: string, to: string, options: { mode?: string }) => {
        const [source, target] = [inGuest(from), inGuest(to)];
        if ((source === null) === (target === null))
          throw new Failure(
            'one of the two is in an instance, and one is not\n  -> Write NAME:/path for the one in the instance, and ./NAME:… for a local file with a colon',
            exitCodes.usage,
          );
        if (source !== null && options.mode !== undefined)
          throw new Failure('--mode is for copies into an instance', exitCodes.usage);
        if (target !== null) await copyIn(session(), from, target, options.mode);
        else if (source !== null) await copyOut(session(), source, to);
      }),
    `berth cp ./banner debian:/etc/motd
     berth cp debian:/etc/hostname hostname.txt
     berth cp debian:/etc/hostname - | wc -c
     echo hello | berth cp --mode 0644 - debian:/etc/greeting`,
  );
};

/** `NAME:/path`; null for a local file. @throws Failure */
function inGuest(text: string): InGuest | null {
  const [, instance, path] = /^([^:/.][^:/]*):(.*)$/s.exec(text) ?? [];
  if (instance === undefined || path === undefined) return null;
  if (!path.startsWith('/') || path.endsWith('/'))
    throw new Failure(
      `"${path}" is no absolute path of a file in ${instance}\n  -> Name the file itself: ${instance}:/directory/file`,
      exitCodes.usage,
    );
  return { instance, path };
}

async function copyIn(s: Session, from: string, { instance, path }: InGuest, mode?: string): Promise<void> {
  const local = from === '-' ? null : await localFile(from);
  const permissions =
    mode ?? (local === null ? undefined : (local.mode & 0o777).toString(8).padStart(4, '0'));
  const source = local === null ? process.stdin : createReadStream(from);
  const progress = transferProgress(process.stderr, () => performance.now(), 'sent');
  const counted = counting((sent) => progress.sent(sent, local?.size ?? null));
  const piped = pipeline(source, counted);
  // Told by what reads it.
  piped.catch(() => undefined);
  try {
    const of = {
      project: s.project,
      instance,
      path,
      ...(permissions === undefined ? {} : { mode: permissions }),
    };
    const written = await s.api.fileWrite(of, Readable.toWeb(counted) as ReadableStream<Uint8Array>);
    progress.end();
    note(`${instance}:${path} has ${bytes(written.bytes)}`);
  } finally {
    progress.end();
    source.destroy();
  }
}

async function copyOut(s: Session, { instance, path }: InGuest, to: string): Promise<void> {
  const file = await s.api.fileRead({ project: s.project, instance, path });
  const progress = transferProgress(process.stderr, () => performance.now(), 'received');
  const out = to === '-' && isTerminal(process.stdout) ? null : progress;
  const body = Readable.fromWeb(file.body as Parameters<typeof Readable.fromWeb>[0]);
  let got = 0;
  const counted = counting((sent) => out?.sent((got = sent), file.sizeBytes));
  try {
    if (to === '-') await pipeline(body, counted, process.stdout, { end: false });
    else
      await arrive(await placeFor(to, path), (part) =>
        pipeline(body, counted, createWriteStream(part, { flags: 'wx' })),
      );
  } finally {
    progress.end();
    body.destroy();
  }
  if (to !== '-') note(`${to} has ${bytes(got)} of ${instance}:${path}`);
}

/** The file is there when it is whole. */
async function arrive(place: string, write: (part: string) => Promise<void>): Promise<void> {
  const part = `${place}.${randomUUID().slice(0, 8)}.part`;
  try {
    await write(part);
    await rename(part, place);
  } catch (error) {
    await rm(part, { force: true });
    const { code, message } = error as NodeJS.ErrnoException;
    if (
      code === 'ENOENT' ||
      code === 'EACCES' ||
      code === 'EISDIR' ||
      code === 'ENOSPC' ||
      code === 'ENOTDIR'
    )
      throw new Failure(`cannot write ${place}: ${message}`);
    throw error;
  }
}

async function placeFor(to: string, path: string): Promise<string> {
  const found = await stat(to).catch(() => null);
  return found?.isDirectory() === true ? join(to, basename(path)) : to;
}

/** @throws Failure where it is no file that can be read */
async function localFile(path: string): Promise<{ readonly size: number; readonly mode: number }> {
  const found = await stat(path).catch((error: Error) => {
    throw new Failure(`cannot read ${path}: ${error.message}`);
  });
  if (found.isDirectory())
    throw new Failure(
      `${path} is a directory, and cp copies one file\n  -> Pack it: tar -c ${path} | berth exec -i NAME -- tar -x -C /where (up to 1 MiB), or copy the archive`,
      exitCodes.usage,
    );
  return found;
}

function counting(passed: (bytes: number) => void): Transform {
  let total = 0;
  return new Transform({
    transform: (chunk: Buffer, _encoding, done) => {
      passed((total += chunk.length));
      done(null, chunk);
    },
  });
}
