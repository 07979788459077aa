const [LF, CR] = [0x0a, 0x0d];

/** Gives each line of output that ends with a line feed alone the carriage return that a terminal puts before it. */
export class LineEnds {
  private last = 0;

  /** The next piece of output; a line end may be cut between two. */
  whole(bytes: Uint8Array): Buffer {
    const out: number[] = [];
    for (const byte of bytes) {
      if (byte === LF && this.last !== CR) out.push(CR);
      out.push((this.last = byte));
    }
    return Buffer.from(out);
  }
}
