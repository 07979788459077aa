import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { writeFileAtomic } from '@berth/linux';
import { confined, confinedId } from './confine.js';
import { ImageError } from './image-error.js';
import type { UnpackAnswer, UnpackOrder } from './unpack-protocol.js';

/** Bytes of an answer: the list of opaque directories is all that can grow. */
const ANSWER_BYTES = 16 * 2 ** 20;

/** Memory of the unpacking process, and of the decompressor beside it, bytes each. */
const DATA_BYTES = 1024 * 2 ** 20;

/**
 * The compiled child beside this module. When this module itself runs from its TypeScript source (vitest), Node could
 * not load the child: it is then bundled once by esbuild, a development dependency, into node_modules/.cache.
 */
let bundled: Promise<string> | null = null;
export function unpackChildEntry(): Promise<string> {
  const here = import.meta.url;
  if (!here.endsWith('.ts')) return Promise.resolve(fileURLToPath(new URL('./unpack-child.js', here)));
  return (bundled ??= bundleChild(fileURLToPath(new URL('.', here))));
}

async function bundleChild(source: string): Promise<string> {
  const { build, stop } = await import('esbuild');
  const result = await build({
    entryPoints: [join(source, 'unpack-child.ts')],
    bundle: true,
    write: false,
    platform: 'node',
    format: 'cjs',
    conditions: ['berth-source'],
    external: ['koffi'],
  });
  await stop();
  const directory = join(source, '..', 'node_modules', '.cache');
  await mkdir(directory, { recursive: true });
  const [file] = result.outputFiles;
  if (file === undefined) throw new Error('esbuild wrote nothing');
  // Named by content: workers that bundle at the same time write the same file.
  const path = join(
    directory,
    `unpack-child-${createHash('sha256').update(file.contents).digest('hex')}.cjs`,
  );
  await writeFileAtomic(path, file.contents);
  return path;
}

/**
 * Unpacks one layer in a confined child (see {@link confined}): few capabilities, no network, bounds on memory, processor
 * time, file size and open files, killed at `limits.timeoutMs`. Zstandard is taken apart by the `zstd` program before it,
 * which is confined too and has no capability at all.
 * @throws ImageError as the child answered; deadline; hostFault when it died
 */
export async function runUnpack(
  entry: string,
  blobPath: string,
  order: Omit<UnpackOrder, 'id'>,
  zstd: boolean,
): Promise<Extract<UnpackAnswer, { ok: true }>> {
  const { limits } = order;
  const work = ['chown', 'dac_override', 'fowner', 'fsetid', 'setfcap'] as const;
  // The others are for the child's first steps, in which it stops being root; no thread of it has them after that.
  const keep = [...work, 'sys_chroot', 'setuid', 'setgid'] as const;
  const program = ['--max-old-space-size=192', entry, JSON.stringify({ ...order, id: confinedId() })];
  const seconds = Math.ceil(limits.timeoutMs / 1000);
  const bounds = { fileBytes: limits.tarBytes, cpuSeconds: seconds, openFiles: 128 };
  // Node reserves more address space than it uses: what it writes to is bounded.
  const unpacker = confined(keep, { ...bounds, dataBytes: DATA_BYTES }, process.execPath, program, 0);
  const decompress = ['-q', '-d', '-c', '--single-thread', '--memory=128MB'];
  const unzstd = confined([], { ...bounds, addressBytes: DATA_BYTES }, 'zstd', decompress, confinedId());
  const blob = await open(blobPath, 'r');
  const children: ChildProcess[] = [];
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    for (const child of children) child.kill('SIGKILL');
  }, limits.timeoutMs);
  try {
    const zstdChild = zstd ? start(unzstd.command, unzstd.args, [blob.fd, 'pipe', 'pipe']) : null;
    if (zstdChild) children.push(zstdChild);
    const child = start(unpacker.command, unpacker.args, [
      zstdChild?.stdout ?? blob.fd,
      'ignore',
      'pipe',
      'pipe',
    ]);
    children.push(child);
    // The child has its own copy of the pipe; ours must not keep zstd's writing end from seeing it close.
    zstdChild?.stdout?.destroy();
    const [answer, noise, , zstdFailed] = await Promise.all([
      collect(child.stdio[3] as Readable, ANSWER_BYTES),
      collect(child.stderr as Readable, 64 * 1024),
      ended(child),
      zstdChild === null ? false : endedBadly(zstdChild),
    ]);
    if (late)
      throw new ImageError('deadline', `unpacking took longer than ${seconds} s`, 'Use a smaller layer.');
    const result = parse(answer, noise);
    if (!result.ok)
      throw new ImageError(result.code, `the layer is refused: ${result.message}`, remedyOf(result.code));
    if (zstdFailed)
      throw new ImageError('badArchive', 'zstd cannot decompress the layer', remedyOf('badArchive'));
    return result;
  } finally {
    clearTimeout(timer);
    for (const child of children) if (child.exitCode === null) child.kill('SIGKILL');
    await blob.close();
  }
}

function start(
  command: string,
  args: readonly string[],
  stdio: (number | 'pipe' | 'ignore' | Readable)[],
): ChildProcess {
  return spawn(command, [...args], {
    stdio,
    env: { PATH: process.env['PATH'] ?? '', LC_ALL: 'C' },
    cwd: '/',
  });
}

function ended(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve, reject) => {
    child.once('error', (e) =>
      reject(
        new ImageError(
          'hostFault',
          `cannot start ${child.spawnfile}: ${e.message}`,
          'Install util-linux and zstd.',
        ),
      ),
    );
    child.once('close', (code) => resolve(code));
  });
}

async function endedBadly(zstd: ChildProcess): Promise<boolean> {
  zstd.stderr?.resume();
  return (await ended(zstd)) !== 0;
}

/** The first bytes of a stream; the rest is read and dropped. */
async function collect(stream: Readable, maxBytes: number): Promise<string> {
  const kept: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of stream) {
    bytes += (chunk as Buffer).length;
    if (bytes <= maxBytes) kept.push(chunk as Buffer);
  }
  return Buffer.concat(kept).toString('utf8');
}

function parse(answer: string, noise: string): UnpackAnswer {
  try {
    return JSON.parse(answer) as UnpackAnswer;
  } catch {
    const last = noise.trim().slice(-500);
    throw new ImageError(
      'hostFault',
      `the unpacking process ended without an answer: ${last}`,
      'See the agent log.',
    );
  }
}

function remedyOf(code: string): string {
  if (code === 'hostFault') return 'Look at the free space and health of the disk.';
  if (code === 'tooLarge') return 'Use a smaller layer, or raise the limit.';
  return 'Build the image again with a current tool.';
}
