/*
 * Frames between the host and our first process in a guest (libs/kvm/guest-init/channel.c is the other end): a byte of kind,
 * four of an exec's number (little endian) and a payload, made free of zeros by COBS (Cheshire and Baker, 1999) and ended
 * by one. After half a frame the next zero is a new beginning.
 */

/** What one frame carries at most, bytes. */
export const PAYLOAD_BYTES = 8192;
/** What a side sends at most of an exec's input or output before the other has taken it, bytes. */
export const WINDOW_BYTES = 65_536;

const HEAD_BYTES = 5;
const CODED_BYTES = HEAD_BYTES + PAYLOAD_BYTES + Math.ceil((HEAD_BYTES + PAYLOAD_BYTES) / 254);

export interface Frame {
  readonly kind: string;
  readonly id: number;
  readonly payload: Buffer;
}

/** Bytes on the wire. @throws RangeError for a payload that is too long */
export function frameEncode(kind: string, id: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  if (payload.length > PAYLOAD_BYTES) throw new RangeError(`a frame carries ${PAYLOAD_BYTES} bytes at most`);
  const head = Buffer.alloc(HEAD_BYTES);
  head.write(kind, 0, 1, 'latin1');
  head.writeUInt32LE(id, 1);
  return cobs(Buffer.concat([head, payload]));
}

/** Code and final zero. */
function cobs(bytes: Buffer): Buffer {
  const out = Buffer.alloc(bytes.length + Math.ceil((bytes.length + 1) / 254) + 1);
  let code = 0;
  let at = 1;
  for (const byte of bytes) {
    if (byte !== 0) out[at++] = byte;
    if (byte !== 0 && at - code < 255) continue;
    out[code] = at - code;
    code = at++;
  }
  out[code] = at - code;
  return out.subarray(0, at + 1);
}

/** Null for what is no code. */
function uncobs(code: Buffer): Buffer | null {
  const out = Buffer.alloc(code.length);
  let to = 0;
  for (let from = 0; from < code.length;) {
    const run = code[from++] ?? 0;
    if (run === 0 || from + run - 1 > code.length) return null;
    to += code.copy(out, to, from, from + run - 1);
    from += run - 1;
    if (run < 255 && from < code.length) out[to++] = 0;
  }
  return out.subarray(0, to);
}

/** Takes frames out of a stream. A guest may send anything: what is no frame is dropped, and no more than one is held. */
export class FrameReader {
  #held: Buffer[] = [];
  #bytes = 0;

  feed(chunk: Buffer): Frame[] {
    const frames: Frame[] = [];
    let at = 0;
    for (let end = chunk.indexOf(0); end >= 0; end = chunk.indexOf(0, at)) {
      this.#hold(chunk.subarray(at, end));
      at = end + 1;
      const frame = this.#bytes > CODED_BYTES ? null : parsed(Buffer.concat(this.#held));
      this.#held = [];
      this.#bytes = 0;
      if (frame !== null) frames.push(frame);
    }
    this.#hold(chunk.subarray(at));
    return frames;
  }

  #hold(part: Buffer): void {
    this.#bytes += part.length;
    if (this.#bytes <= CODED_BYTES) this.#held.push(Buffer.from(part));
    else this.#held = [];
  }
}

function parsed(code: Buffer): Frame | null {
  const bytes = uncobs(code);
  if (bytes === null || bytes.length < HEAD_BYTES) return null;
  return {
    kind: bytes.toString('latin1', 0, 1),
    id: bytes.readUInt32LE(1),
    payload: bytes.subarray(HEAD_BYTES),
  };
}
