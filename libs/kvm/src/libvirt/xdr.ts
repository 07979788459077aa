/*
 * XDR (RFC 4506) as libvirt's RPC uses it. Everything is padded to four bytes, big endian. The reader trusts nothing:
 * every length is checked against its bound and against the bytes that are left before anything is allocated.
 */

/** Bytes that do not follow the protocol, or a value that does not fit it. */
export class XdrError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'XdrError';
  }
}

/** Longest string libvirt accepts, in bytes. */
export const MAX_STRING = 4 * 1024 * 1024;

const padding = (length: number): number => (4 - (length % 4)) % 4;

export class XdrReader {
  #at = 0;

  constructor(private readonly bytes: Buffer) {}

  get remaining(): number {
    return this.bytes.length - this.#at;
  }

  #take(count: number): Buffer {
    if (count > this.remaining) throw new XdrError(`need ${count} bytes, ${this.remaining} left`);
    const part = this.bytes.subarray(this.#at, this.#at + count);
    this.#at += count;
    return part;
  }

  int(): number {
    return this.#take(4).readInt32BE();
  }

  uint(): number {
    return this.#take(4).readUInt32BE();
  }

  uhyper(): bigint {
    return this.#take(8).readBigUInt64BE();
  }
  hyper(): bigint {
    return BigInt.asIntN(64, this.uhyper());
  }

  bool(): boolean {
    const value = this.uint();
    if (value > 1) throw new XdrError(`a boolean is 0 or 1, not ${value}`);
    return value === 1;
  }

  /** Bytes of a length both sides know. */
  opaqueFixed(length: number): Buffer {
    const value = this.#take(length);
    this.#pad(length);
    return value;
  }

  opaque(max = MAX_STRING): Buffer {
    const length = this.uint();
    if (length > max) throw new XdrError(`length ${length} is above the bound ${max}`);
    return this.opaqueFixed(length);
  }

  string(max = MAX_STRING): string {
    return this.opaque(max).toString('utf8');
  }

  optional<T>(read: () => T): T | null {
    return this.bool() ? read() : null;
  }

  /** @param minBytes least size of one element: an array longer than its bytes allow is refused before allocation. */
  array<T>(max: number, minBytes: number, read: () => T): T[] {
    const count = this.uint();
    if (count > max) throw new XdrError(`array of ${count} is above the bound ${max}`);
    if (count * Math.max(minBytes, 1) > this.remaining) throw new XdrError(`array of ${count} does not fit`);
    const items: T[] = [];
    for (let i = 0; i < count; i += 1) items.push(read());
    return items;
  }

  end(): void {
    if (this.remaining !== 0) throw new XdrError(`${this.remaining} bytes too many`);
  }

  #pad(length: number): void {
    for (const byte of this.#take(padding(length))) if (byte !== 0) throw new XdrError('padding is not zero');
  }
}

export class XdrWriter {
  readonly #parts: Buffer[] = [];

  int(value: number): this {
    const part = Buffer.alloc(4);
    part.writeInt32BE(value);
    this.#parts.push(part);
    return this;
  }

  uint(value: number): this {
    const part = Buffer.alloc(4);
    part.writeUInt32BE(value);
    this.#parts.push(part);
    return this;
  }

  uhyper(value: bigint): this {
    const part = Buffer.alloc(8);
    part.writeBigUInt64BE(value);
    this.#parts.push(part);
    return this;
  }

  hyper(value: bigint): this {
    return this.uhyper(BigInt.asUintN(64, value));
  }

  bool(value: boolean): this {
    return this.uint(value ? 1 : 0);
  }

  opaqueFixed(value: Uint8Array): this {
    this.#parts.push(Buffer.from(value), Buffer.alloc(padding(value.length)));
    return this;
  }

  opaque(value: Uint8Array, max = MAX_STRING): this {
    if (value.length > max) throw new XdrError(`length ${value.length} is above the bound ${max}`);
    return this.uint(value.length).opaqueFixed(value);
  }

  string(value: string, max = MAX_STRING): this {
    if (value.includes('\0')) throw new XdrError('a string must not contain NUL');
    return this.opaque(Buffer.from(value, 'utf8'), max);
  }

  optional<T>(value: T | null, write: (value: T) => void): this {
    this.bool(value !== null);
    if (value !== null) write(value);
    return this;
  }

  array<T>(values: readonly T[], write: (value: T) => void): this {
    this.uint(values.length);
    for (const value of values) write(value);
    return this;
  }

  bytes(): Buffer {
    return Buffer.concat(this.#parts);
  }
}
