/** What a terminal would do with its escape sequences is not done here: they go, and so does what it would overwrite. */

// ECMA-48: CSI … final, OSC … BEL or ST, and two-byte escapes.
// eslint-disable-next-line no-control-regex
const escapes = /\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]/g;
// eslint-disable-next-line no-control-regex
const controls = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/g;

/** The last lines of a stream of bytes, without what is no text. */
export class Lines {
  private done: string[] = [];
  private open = '';
  private readonly decoder = new TextDecoder();
  /** Lines that were let go. */
  dropped = 0;

  constructor(private readonly most: number) {}

  add(chunk: Uint8Array): void {
    const parts = (this.open + this.decoder.decode(chunk, { stream: true })).split('\n');
    this.open = parts.pop() ?? '';
    // A line without end must not grow for ever.
    if (this.open.length > 16_384) {
      parts.push(this.open);
      this.open = '';
    }
    this.done.push(...parts.map(clean));
    const over = this.done.length - this.most;
    if (over <= 0) return;
    this.done.splice(0, over);
    this.dropped += over;
  }

  text(): string {
    const open = clean(this.open);
    return this.done.join('\n') + (open === '' ? '' : `${this.done.length === 0 ? '' : '\n'}${open}`);
  }
}

/** One line as it would look when printed: after a carriage return the line begins anew. */
export function clean(line: string): string {
  const plain = line.replace(escapes, '').replace(/\r+$/, '');
  return plain.slice(plain.lastIndexOf('\r') + 1).replace(controls, '');
}
