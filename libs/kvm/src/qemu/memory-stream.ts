import { createWriteStream } from 'node:fs';
import { lchown, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { RuntimeError, type StepContext } from '@berth/runtime';
import type { MemoryTarget } from '../driver/memory-images.js';
import { callBounds } from '../driver/step-bounds.js';
import type { QmpExecutor } from '../qmp/commands.js';
import type { QueryMigrateResult } from '../qmp/schema.gen.js';

/*
 * QEMU hands its memory over as a migration stream (QEMU's docs/devel/migration). It may open no file of ours and start
 * no program, so it is told to send to a socket on which this process listens, and this process writes the file. When
 * this process ends meanwhile, the migration fails, and QEMU still has its guest.
 */

/** As fast as the disk takes it. */
const BANDWIDTH = 2 ** 40;
const LOOK_MS = 10;
const CANCEL_MS = 10_000;
const more = { remedy: 'Delete instances or images that are not needed, or stop the machine instead.' };

/** Where QEMU finds us: a path in a directory that it may enter. */
export interface MemoryWay {
  readonly socketPath: string;
  readonly uid: number;
}

/**
 * The memory of a machine whose guest stands still. After it QEMU takes it for moved, and stands still until `cont`.
 * @throws RuntimeError hostFault, noSpace, deadline; nothing is under way any more then
 */
export async function saveMemory(
  qmp: QmpExecutor,
  way: MemoryWay,
  target: MemoryTarget,
  ctx: StepContext,
): Promise<void> {
  await rm(way.socketPath, { force: true });
  const server = await listening(way);
  const arrived = received(server, target, ctx.signal);
  // Looked at below, also when QEMU never connects.
  arrived.catch(() => undefined);
  try {
    await qmp.execute('migrate-set-parameters', { 'max-bandwidth': BANDWIDTH }, callBounds(ctx));
    await qmp.execute('migrate', { uri: `unix:${way.socketPath}` }, callBounds(ctx));
    await Promise.race([arrived, failed(qmp, ctx)]);
    await arrived;
    await completed(qmp, ctx);
  } catch (error) {
    // Where that fails QEMU is gone, and its memory with it.
    await cancelSave(qmp).catch(() => undefined);
    await rm(target.path, { force: true });
    throw error;
  } finally {
    server.close();
    await rm(way.socketPath, { force: true });
  }
}

/** After it no memory is on its way any more. @throws RuntimeError deadline */
export async function cancelSave(qmp: QmpExecutor): Promise<void> {
  await qmp.execute('migrate_cancel');
  for (const end = performance.now() + CANCEL_MS; performance.now() < end; await wait(LOOK_MS)) {
    const { status = 'none' } = await qmp.execute('query-migrate');
    if (status === 'none' || over.has(status)) return;
  }
  throw new RuntimeError('deadline', `QEMU did not give the way of its memory up in ${CANCEL_MS} ms`);
}

async function listening({ socketPath, uid }: MemoryWay): Promise<Server> {
  const server = createServer({ pauseOnConnect: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(socketPath, resolve);
  });
  await lchown(socketPath, uid, uid);
  return server;
}

/** Writes what the first who connects sends, to its end. */
async function received(
  server: Server,
  { path, limitBytes }: MemoryTarget,
  signal: AbortSignal,
): Promise<void> {
  const socket = await new Promise<Socket>((resolve, reject) => {
    server.once('connection', (one) => {
      server.close();
      resolve(one);
    });
    server.once('close', () => reject(new RuntimeError('hostFault', 'QEMU did not send its memory')));
    signal.addEventListener('abort', () => server.close(), { once: true });
  });
  let bytes = 0;
  const counted = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length;
      if (bytes > limitBytes)
        done(new RuntimeError('noSpace', `QEMU sends more than the ${limitBytes} bytes that are free`, more));
      else done(null, chunk);
    },
  });
  try {
    await pipeline(socket, counted, createWriteStream(path, { flags: 'wx', mode: 0o600 }), { signal });
  } catch (cause) {
    if (signal.aborted) throw new RuntimeError('deadline', 'the step was given up', { cause });
    if ((cause as NodeJS.ErrnoException).code === 'ENOSPC')
      throw new RuntimeError('noSpace', 'the disk is full', { ...more, cause });
    throw cause;
  }
}

type Status = NonNullable<QueryMigrateResult['status']>;
const over: ReadonlySet<Status> = new Set(['failed', 'cancelled', 'completed']);

/** Rejects when the migration fails; resolves when it is over otherwise, or the step was given up. */
async function failed(qmp: QmpExecutor, ctx: StepContext): Promise<void> {
  while (!ctx.signal.aborted) {
    const { status, 'error-desc': words } = await qmp.execute('query-migrate', undefined, callBounds(ctx));
    if (status === 'failed')
      throw new RuntimeError('hostFault', `QEMU: ${words ?? 'its memory cannot be saved'}`);
    if (status !== undefined && over.has(status)) return;
    await wait(LOOK_MS);
  }
}

/** The stream ended: QEMU is about to say whether that was its end or a fault. */
async function completed(qmp: QmpExecutor, ctx: StepContext): Promise<void> {
  await failed(qmp, ctx);
  const { status } = await qmp.execute('query-migrate', undefined, callBounds(ctx));
  if (status !== 'completed')
    throw new RuntimeError('deadline', `the memory was not saved: ${status ?? 'unknown'}`);
}
