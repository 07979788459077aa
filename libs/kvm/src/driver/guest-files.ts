import { randomBytes } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { fileMaxBytes, type FileTarget } from '@berth/model';
import { RuntimeError, type GuestFile } from '@berth/runtime';
import type { QgaAgent } from '../qga/agent.js';
import type { QgaFiles } from '../qga/files.js';
import { QgaError, QgaTransportError } from '../qga/transport.js';

/** Asked for or given at a time: in base64 well below what libvirt's RPC carries. */
const PIECE = 512 * 1024;
/** A guest may be slow to read and write, and to run a program that takes no time. */
const CALL_MS = 30_000;
const RUN_MS = 30_000;

interface Guest {
  readonly agent: Pick<QgaAgent, 'exec' | 'execStatus'>;
  readonly files: QgaFiles;
}

/** Opens a file of a guest and reads its first piece. Whoever takes no more ends it by the signal. @throws RuntimeError, QgaTransportError */
export async function guestFileRead({ files }: Guest, path: string, signal: AbortSignal): Promise<GuestFile> {
  const bounds = { signal, timeoutMs: CALL_MS };
  return refusals(path, async () => {
    const handle = await files.open(path, 'r', bounds);
    const pieces = contents(files, handle, bounds);
    signal.addEventListener('abort', () => void pieces.return(undefined).catch(() => undefined), {
      once: true,
    });
    try {
      // What cannot be sought, as a pipe, has no size.
      const sizeBytes = await files.size(handle, bounds).catch((error: unknown) => {
        if (error instanceof QgaError) return null;
        throw error;
      });
      const first = await pieces.next();
      // What is made while it is read, as in /proc, says that it has no bytes.
      return { sizeBytes: sizeBytes === 0 ? null : sizeBytes, bytes: after(first, pieces) };
    } catch (error) {
      await pieces.return(undefined);
      await files.close(handle).catch(() => undefined);
      throw error;
    }
  });
}

async function* after<T>(first: IteratorResult<T, void>, rest: AsyncGenerator<T, void>): AsyncGenerator<T> {
  try {
    if (first.done !== true) yield first.value;
    yield* rest;
  } finally {
    await rest.return(undefined);
  }
}

async function* contents(
  files: QgaFiles,
  handle: number,
  bounds: { readonly signal: AbortSignal; readonly timeoutMs: number },
): AsyncGenerator<Buffer, void> {
  try {
    for (let total = 0; ;) {
      const { bytes, eof } = await files.read(handle, PIECE, bounds);
      total += bytes.length;
      if (bytes.length > PIECE)
        throw new QgaTransportError('protocol', 'the guest agent read more than it was asked for');
      if (total > fileMaxBytes)
        throw new RuntimeError('fileRefused', `it has more than ${fileMaxBytes} bytes`);
      if (bytes.length > 0) yield bytes;
      if (eof || bytes.length === 0) return;
    }
  } finally {
    await files.close(handle).catch(() => undefined);
  }
}

/**
 * Writes a file of a guest: beside its place, with its mode from the first byte on, and into it when it is whole. What is there
 * already is replaced. @returns how many bytes @throws RuntimeError, QgaTransportError; then what was there is as it was
 */
export async function guestFileWrite(
  { agent, files }: Guest,
  { path, mode }: FileTarget,
  source: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<number> {
  const bounds = { signal, timeoutMs: CALL_MS };
  const part = `${path}.${randomBytes(4).toString('hex')}.part`;
  return refusals(path, async () => {
    let handle: number | null = await files.open(part, 'w', bounds);
    try {
      await ran(agent, ['chmod', mode, part], signal);
      let total = 0;
      for await (const bytes of pieces(source)) {
        total += bytes.length;
        if (total > fileMaxBytes)
          throw new RuntimeError('fileRefused', `it has more than ${fileMaxBytes} bytes`);
        for (let at = 0; at < bytes.length;) {
          const count = await files.write(handle, bytes.subarray(at), bounds);
          if (count < 1 || count > bytes.length - at)
            throw new QgaTransportError('protocol', `the guest agent says that it wrote ${count} bytes`);
          at += count;
        }
      }
      await files.flush(handle, bounds);
      await files.close(handle, bounds);
      handle = null;
      await ran(agent, ['mv', '-fT', part, path], signal);
      return total;
    } catch (error) {
      if (handle !== null) await files.close(handle).catch(() => undefined);
      await ran(agent, ['rm', '-f', part], new AbortController().signal).catch(() => undefined);
      throw error;
    }
  });
}

/** The same bytes in pieces of the right size: each costs the guest a conversation. */
async function* pieces(source: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  let held: Buffer[] = [];
  let size = 0;
  for await (const chunk of source) {
    held.push(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length));
    size += chunk.length;
    if (size < PIECE) continue;
    const all = Buffer.concat(held);
    const whole = size - (size % PIECE);
    for (let at = 0; at < whole; at += PIECE) yield all.subarray(at, at + PIECE);
    held = [all.subarray(whole)];
    size -= whole;
  }
  if (size > 0) yield Buffer.concat(held);
}

/** Runs a program of the guest that says nothing when all is well. @throws QgaError with its words */
async function ran(
  agent: Guest['agent'],
  command: readonly [string, ...string[]],
  signal: AbortSignal,
): Promise<void> {
  const [path, ...args] = command;
  const end = performance.now() + RUN_MS;
  const bounds = { signal, timeoutMs: CALL_MS };
  const pid = await agent.exec({ path, args, env: null, input: Buffer.alloc(0) }, bounds);
  for (let pause = 10; ; pause = Math.min(pause * 2, 500)) {
    const { code, errorOutput } = await agent.execStatus(pid, bounds);
    if (code === 0) return;
    if (code !== null)
      throw new QgaError(errorOutput.toString('utf8').trim() || `${path} ended with code ${code}`);
    if (performance.now() > end) throw new QgaTransportError('timeout', `${path} in the guest does not end`);
    await wait(pause, undefined, { signal }).catch(() => undefined);
  }
}

/** Turns what the guest refused into the runtime's error. Its words are the guest's. */
async function refusals<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (!(cause instanceof QgaError)) throw cause;
    if (/no such file or directory/i.test(cause.message))
      throw new RuntimeError('noSuchFile', `the guest has no ${path}`, { cause });
    throw new RuntimeError('fileRefused', `the guest refused ${path}: ${cause.message}`, { cause });
  }
}
