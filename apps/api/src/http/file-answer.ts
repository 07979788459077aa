import { Readable } from 'node:stream';
import type { FastifyReply } from 'fastify';
import type { Answer } from './action.js';
import { byteRange, exactly, type ByteRange } from './byte-range.js';

/** A file that is downloaded, whole or in part. */
export interface AnsweredFile {
  /** What it is called where it is saved; letters, digits, `-` and `.` only. */
  readonly name: string;
  readonly sizeBytes: number;
  /** Of these bytes and no others, without quotation marks. */
  readonly tag: string;
}

/** The headers of a request for a part. */
export interface PartWanted {
  readonly range: string | undefined;
  readonly ifRange: string | undefined;
}

/** A part that was asked for, or all of a file. */
export interface FilePart extends ByteRange {
  readonly count: number;
  readonly whole: boolean;
}

/** What a route with a file answers, for the OpenAPI document. @param etag what the tag is */
export const fileAnswers = (etag: string): Readonly<Record<number, Answer>> => ({
  200: {
    description: 'The file; an answer that breaks off is not whole',
    stream: 'application/octet-stream',
    headers: { 'accept-ranges': 'bytes', 'content-length': 'How many bytes there are', etag },
  },
  206: {
    description: 'The part that was asked for',
    stream: 'application/octet-stream',
    headers: { 'content-range': 'Which part it is, and how large the whole is' },
  },
});
export const fileHeaders = {
  range: 'One part, `bytes=FIRST-LAST`, `bytes=FIRST-` or `bytes=-LAST`; several are answered with the whole',
  'if-range': 'The ETag that was read; of another file the whole is sent',
};

/** Which part is meant; sets the headers that tell of the whole. @throws BerthError badRange */
export function filePart(
  reply: FastifyReply,
  { sizeBytes, tag }: AnsweredFile,
  { range, ifRange }: PartWanted,
): FilePart {
  const etag = `"${tag}"`;
  void reply.header('accept-ranges', 'bytes').header('cache-control', 'no-store').header('etag', etag);
  let part: ByteRange | null;
  try {
    part = ifRange === undefined || ifRange === etag ? byteRange(range, sizeBytes) : null;
  } catch (error) {
    void reply.header('content-range', `bytes */${sizeBytes}`);
    throw error;
  }
  const { first, last } = part ?? { first: 0, last: sizeBytes - 1 };
  return { first, last, count: last - first + 1, whole: part === null };
}

/** Sends a part. @param bytes of the file, from the first of the part on */
export async function fileSend(
  reply: FastifyReply,
  { name, sizeBytes }: AnsweredFile,
  { first, last, count, whole }: FilePart,
  bytes: AsyncIterable<Uint8Array>,
): Promise<void> {
  if (!whole) void reply.header('content-range', `bytes ${first}-${last}/${sizeBytes}`);
  void reply
    .status(whole ? 200 : 206)
    .header('content-type', 'application/octet-stream')
    .header('content-length', String(count))
    .header('content-disposition', `attachment; filename="${name}"`);
  await reply.send(Readable.from(exactly(bytes, count), { objectMode: false }));
}
