/*
 * Where a reader of a log stands. Hosts drop the oldest bytes of a log when it grows too long, and no two drivers do it
 * alike, so that a count alone does not find a place again: what was read last has to stand before it. No schemas here:
 * browsers count too.
 */

/** So much of what was read last tells a place from others, bytes. */
export const placeWindow = 4096;

export interface LogPlace {
  /** Each epoch of an instance has a log of its own. */
  readonly epoch: number;
  /** Bytes from the oldest that was kept when the reading began. */
  readonly offset: number;
  /** How many bytes before the offset `print` is of, at most {@link placeWindow}. */
  readonly window: number;
  /** A sum of those bytes, 16 hex digits. */
  readonly print: string;
}

/** `<epoch>.<offset>.<window>.<print>` */
export const placeText = ({ epoch, offset, window, print }: LogPlace): string =>
  `${epoch}.${offset}.${window}.${print}`;

/** Null where the text is no place. */
export function placeParse(text: string): LogPlace | null {
  const found = /^(\d{1,9})\.(\d{1,15})\.(\d{1,4})\.([0-9a-f]{16})$/.exec(text);
  if (found === null) return null;
  const [epoch = 0, offset = 0, window = 0] = found.slice(1, 4).map(Number);
  return window > placeWindow || window > offset ? null : { epoch, offset, window, print: found[4] ?? '' };
}

const factorA = 0x01000193;
const factorB = 0x5bd1e995;

/** `factor` to the power of `n`, modulo 2^32. */
function power(factor: number, n: number): number {
  let product = 1;
  for (let i = 0; i < n; i++) product = Math.imul(product, factor);
  return product;
}

/** Two sums of the newest `window` bytes (Rabin and Karp, modulo 2^32). They tell bytes apart, not against malice. */
class Sums {
  private a = 0;
  private b = 0;
  private readonly ring: Uint8Array;
  private readonly leaveA: number;
  private readonly leaveB: number;
  count = 0;

  constructor(private readonly window: number) {
    this.ring = new Uint8Array(Math.max(1, window));
    this.leaveA = power(factorA, window);
    this.leaveB = power(factorB, window);
  }

  add(byte: number): void {
    const at = this.count % this.ring.length;
    // One more, so that zeros count too; nothing leaves while there is room.
    const out = this.count < this.window ? 0 : (this.ring[at] ?? 0) + 1;
    this.a = (Math.imul(this.a, factorA) + byte + 1 - Math.imul(out, this.leaveA)) | 0;
    this.b = (Math.imul(this.b, factorB) + byte + 1 - Math.imul(out, this.leaveB)) | 0;
    this.ring[at] = byte;
    this.count += 1;
  }

  is(a: number, b: number): boolean {
    return this.a === a && this.b === b;
  }

  text(): string {
    return [this.a, this.b].map((sum) => (sum >>> 0).toString(16).padStart(8, '0')).join('');
  }
}

/** The place behind bytes that were read, of which `last` are the newest. */
export function placeAt(epoch: number, offset: number, last: Uint8Array): LogPlace {
  const bytes = last.subarray(Math.max(0, last.length - placeWindow));
  const sums = new Sums(bytes.length);
  for (const byte of bytes) sums.add(byte);
  return { epoch, offset, window: bytes.length, print: sums.text() };
}

/** Finds a place in a log that is fed from its oldest byte on. */
export class PlaceSearch {
  private readonly sums: Sums;
  private readonly a: number;
  private readonly b: number;
  private nearest: number | null = null;

  constructor(private readonly place: LogPlace) {
    this.sums = new Sums(place.window);
    this.a = parseInt(place.print.slice(0, 8), 16) | 0;
    this.b = parseInt(place.print.slice(8), 16) | 0;
    this.look();
  }

  feed(bytes: Uint8Array): void {
    for (const byte of bytes) {
      this.sums.add(byte);
      this.look();
    }
  }

  /** Where what comes next begins: at the offset itself, or nearest before it, as much as was dropped. Null: nowhere. */
  get found(): number | null {
    return this.nearest;
  }

  private look(): void {
    const { offset, window } = this.place;
    const { count } = this.sums;
    if (count > offset || count < window) return;
    if (window === 0 ? count === offset : this.sums.is(this.a, this.b)) this.nearest = count;
  }
}
