/** Takes exactly as many bytes as it is asked for from pieces of any length; holds one piece beside them. */
export class ByteReader {
  #held: Buffer = Buffer.alloc(0);
  readonly #pieces: AsyncIterator<Uint8Array>;

  constructor(pieces: AsyncIterable<Uint8Array>) {
    this.#pieces = pieces[Symbol.asyncIterator]();
  }

  /** Null when the pieces end before. */
  async take(count: number): Promise<Buffer | null> {
    const parts: Buffer[] = [];
    for (let missing = count; ;) {
      const part = this.#held.subarray(0, missing);
      this.#held = this.#held.subarray(part.length);
      parts.push(part);
      missing -= part.length;
      if (missing === 0) return parts.length === 1 ? part : Buffer.concat(parts);
      const next = await this.#pieces.next();
      if (next.done === true) return null;
      this.#held = Buffer.from(next.value.buffer, next.value.byteOffset, next.value.byteLength);
    }
  }
}
