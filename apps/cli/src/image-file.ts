import { createHash } from 'node:crypto';
import { createReadStream, openSync, readSync, closeSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { Readable } from 'node:stream';
import type { Image, ImageKind } from '@berth/model';
import type { Connection } from './connection.js';
import { exitCodes, Failure } from './failure.js';

/** `sha256:…` of a file's bytes. */
export async function fileDigest(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return `sha256:${hash.digest('hex')}`;
}

/** What a file most likely is, by its first bytes: tar or gzip is an OCI archive, anything else a disk. */
export function kindGuess(file: string): ImageKind {
  const head = Buffer.alloc(512);
  const fd = openSync(file, 'r');
  try {
    readSync(fd, head, 0, 512, 0);
  } finally {
    closeSync(fd);
  }
  const gzip = head[0] === 0x1f && head[1] === 0x8b;
  return gzip || head.toString('latin1', 257, 262) === 'ustar' ? 'oci' : 'disk';
}

/** Uploads a file as an image. @throws Failure, ProblemFailure */
export async function imageImport(
  api: Connection,
  project: string,
  file: string,
  name: string,
  kind: ImageKind,
): Promise<Image> {
  const found = await stat(file).catch((error: Error) => {
    throw new Failure(`${file} cannot be read: ${error.message}`, exitCodes.usage);
  });
  const stream = Readable.toWeb(
    createReadStream(file, { highWaterMark: 1 << 20 }),
  ) as ReadableStream<Uint8Array>;
  const answer = await api.mutate<{ image: Image }>(
    'POST',
    `/v1/projects/${encodeURIComponent(project)}/images`,
    {
      query: { name, kind },
      stream,
      headers: { 'content-length': String(found.size) },
    },
  );
  return answer.image;
}
