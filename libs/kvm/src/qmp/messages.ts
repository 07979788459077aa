import { QmpError, QmpTransportError } from './commands.js';

/** An asynchronous event of QEMU. */
export interface QmpEvent {
  readonly event: string;
  readonly data: Readonly<Record<string, unknown>>;
  readonly timestamp: { readonly seconds: number; readonly microseconds: number };
}

export type QmpMessage =
  | { readonly kind: 'greeting'; readonly version: string }
  | { readonly kind: 'event'; readonly event: QmpEvent }
  | { readonly kind: 'return'; readonly id: string | null; readonly value: unknown }
  | { readonly kind: 'error'; readonly id: string | null; readonly error: QmpError };

type Json = Readonly<Record<string, unknown>>;
const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Reads one line (QMP specification, section 2). @throws QmpTransportError `protocol` */
export function parseMessage(line: string): QmpMessage {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw new QmpTransportError('protocol', 'QEMU sent a line that is not JSON', { cause });
  }
  if (!isObject(value)) throw new QmpTransportError('protocol', 'QEMU sent a line that is no object');
  const id = typeof value['id'] === 'string' ? value['id'] : null;
  if (isObject(value['QMP'])) return { kind: 'greeting', version: versionOf(value['QMP']) };
  if (typeof value['event'] === 'string') return { kind: 'event', event: eventOf(value['event'], value) };
  if ('return' in value) return { kind: 'return', id, value: value['return'] };
  if (isObject(value['error'])) {
    const { class: errorClass, desc } = value['error'];
    return { kind: 'error', id, error: new QmpError(String(errorClass), String(desc)) };
  }
  throw new QmpTransportError('protocol', 'QEMU sent a message of no known kind');
}

function versionOf(greeting: Json): string {
  const qemu = isObject(greeting['version']) ? greeting['version']['qemu'] : undefined;
  return isObject(qemu) ? [qemu['major'], qemu['minor'], qemu['micro']].join('.') : 'unknown';
}

function eventOf(event: string, value: Json): QmpEvent {
  const time = isObject(value['timestamp']) ? value['timestamp'] : {};
  return {
    event,
    data: isObject(value['data']) ? value['data'] : {},
    timestamp: { seconds: Number(time['seconds'] ?? 0), microseconds: Number(time['microseconds'] ?? 0) },
  };
}

/** Cuts a byte stream into lines, none longer than `maxBytes`. */
export class LineDecoder {
  #parts: Buffer[] = [];
  #held = 0;

  constructor(private readonly maxBytes: number) {}

  /** @throws QmpTransportError `protocol` when a line is too long. */
  push(chunk: Buffer): string[] {
    const lines: string[] = [];
    let start = 0;
    for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, start)) {
      this.#hold(chunk.subarray(start, at));
      lines.push(Buffer.concat(this.#parts).toString('utf8'));
      this.#parts = [];
      this.#held = 0;
      start = at + 1;
    }
    this.#hold(chunk.subarray(start));
    return lines.map((line) => line.trim()).filter((line) => line !== '');
  }

  #hold(part: Buffer): void {
    this.#held += part.length;
    if (this.#held > this.maxBytes)
      throw new QmpTransportError('protocol', `QEMU sent a line above ${this.maxBytes} bytes`);
    if (part.length > 0) this.#parts.push(part);
  }
}
