import { QmpError, QmpTransportError } from './commands.js';
import { qmpEventNames, type QmpEvents } from './schema.gen.js';

/** An asynchronous event of QEMU, told apart by its name. What it holds is QEMU's word, which nobody has checked. */
export type QmpEvent = {
  [E in keyof QmpEvents]: {
    readonly event: E;
    readonly data: QmpEvents[E];
    readonly timestamp: { readonly seconds: number; readonly microseconds: number };
  };
}[keyof QmpEvents];

export type QmpMessage =
  | { readonly kind: 'greeting'; readonly version: string }
  | { readonly kind: 'event'; readonly event: QmpEvent }
  /** One that has no type here: nobody could make sense of it. */
  | { readonly kind: 'untypedEvent'; readonly name: string }
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
  if (typeof value['event'] === 'string') return eventOf(value['event'], value);
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

const typed: ReadonlySet<string> = new Set(qmpEventNames);

function eventOf(name: string, value: Json): QmpMessage {
  if (!typed.has(name)) return { kind: 'untypedEvent', name };
  const time = isObject(value['timestamp']) ? value['timestamp'] : {};
  const event = {
    event: name,
    data: isObject(value['data']) ? value['data'] : {},
    timestamp: { seconds: Number(time['seconds'] ?? 0), microseconds: Number(time['microseconds'] ?? 0) },
  };
  return { kind: 'event', event: event as unknown as QmpEvent };
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
