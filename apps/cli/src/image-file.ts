import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { Readable } from 'node:stream';
import type { BerthClient, Schemas } from '@berth/client';
import { exitCodes, Failure } from './failure.js';

type Image = Schemas['Image'];
export type ImageKind = Image['kind'];

/** Where the first volume descriptor of an ISO lies, bytes. */
const isoDescriptor = 16 * 2048;

/** `sha256:…` of a file's bytes. */
export async function fileDigest(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return `sha256:${hash.digest('hex')}`;
}

/**
 * What a file most likely is, by what it holds: tar or gzip is an OCI archive, a volume descriptor of ISO 9660 or UDF an ISO,
 * anything else a disk.
 * @throws Failure when it is no file that can be read
 */
export async function kindGuess(file: string): Promise<ImageKind> {
  await fileCheck(file);
  const head = Buffer.alloc(512);
  const descriptor = Buffer.alloc(6);
  const handle = await open(file, 'r').catch((error: Error) => cannotRead(file, error.message));
  try {
    await handle.read(head, 0, 512, 0);
    await handle.read(descriptor, 0, 6, isoDescriptor);
  } finally {
    await handle.close();
  }
  const gzip = head[0] === 0x1f && head[1] === 0x8b;
  if (gzip || head.toString('latin1', 257, 262) === 'ustar') return 'oci';
  return ['CD001', 'BEA01'].includes(descriptor.toString('latin1', 1)) ? 'iso' : 'disk';
}

/** What an address most likely gives, by the ending of its path: nothing of it is read here. */
export function kindByEnding(url: string): ImageKind {
  const path = url.split(/[?#]/)[0] ?? '';
  if (/\.iso$/i.test(path)) return 'iso';
  return /\.(tar|tgz|tar\.gz)$/i.test(path) ? 'oci' : 'disk';
}

/** Uploads a file as an image; `sent` is told how many of its bytes have gone. @throws Failure, ProblemError */
export async function imageImport(
  api: BerthClient,
  project: string,
  file: string,
  image: { readonly name: string; readonly kind: ImageKind },
  sent: (bytes: number, of: number) => void = () => undefined,
): Promise<Image> {
  const size = await fileCheck(file);
  let bytes = 0;
  const counting = new TransformStream<Uint8Array, Uint8Array>({
    transform: (chunk, out) => {
      sent((bytes += chunk.byteLength), size);
      out.enqueue(chunk);
    },
  });
  const source = createReadStream(file);
  try {
    const body = (Readable.toWeb(source) as ReadableStream<Uint8Array>).pipeThrough(counting);
    return (await api.imageUpload(project, image, body)).image;
  } finally {
    // An upload that is refused half-way is not read to its end.
    source.destroy();
  }
}

/** Size of a file that can be uploaded. @throws Failure */
async function fileCheck(file: string): Promise<number> {
  const found = await stat(file).catch((error: Error) => cannotRead(file, error.message));
  if (!found.isFile()) cannotRead(file, 'it is no regular file');
  if (found.size === 0) cannotRead(file, 'it is empty');
  return found.size;
}

function cannotRead(file: string, why: string): never {
  throw new Failure(`${file} cannot be imported: ${why}`, exitCodes.usage);
}
