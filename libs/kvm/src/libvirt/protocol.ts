import { XdrError, XdrReader, XdrWriter } from './xdr.js';

/*
 * libvirt's RPC as seen on the wire: a four-byte length that counts itself, a six-word header, a payload.
 * Numbers are those of the daemon's stable interface (libvirt 0.9 and newer).
 */

export const PROGRAM_REMOTE = 0x20008086;
export const PROGRAM_QEMU = 0x20008087;
export const PROGRAM_KEEPALIVE = 0x6b656570;
export const PROGRAM_VERSION = 1;

/** Whole message, length word included. */
export const MAX_MESSAGE = 32 * 1024 * 1024;
const HEADER_BYTES = 24;
const LENGTH_BYTES = 4;

export const MessageType = {
  call: 0,
  reply: 1,
  event: 2,
  stream: 3,
} as const;

export const Status = { ok: 0, error: 1, more: 2 } as const;

/** Procedures of the remote program. */
export const Remote = {
  open: 1,
  close: 2,
  getType: 3,
  getVersion: 4,
  nodeInfo: 6,
  capabilities: 7,
  createPlain: 9,
  destroyPlain: 12,
  getXml: 14,
  getInfo: 16,
  lookupByName: 23,
  lookupByUuid: 24,
  reboot: 27,
  resume: 28,
  shutdown: 33,
  suspend: 34,
  hostname: 59,
  feature: 60,
  authList: 66,
  getUri: 110,
  isActive: 149,
  isPersistent: 150,
  libVersion: 157,
  attachDevice: 160,
  detachDevice: 161,
  abortJob: 164,
  updateDevice: 174,
  snapshotCreate: 185,
  create: 196,
  setVcpus: 199,
  getState: 212,
  setScheduler: 219,
  undefine: 231,
  save: 232,
  restore: 233,
  destroy: 234,
  savedXml: 235,
  reset: 245,
  blockResize: 251,
  setBlockIoTune: 252,
  diskErrors: 263,
  listAll: 273,
  setMemoryStatsPeriod: 308,
  eventRegister: 316,
  eventDeregister: 317,
  eventLifecycle: 318,
  eventWatchdog: 321,
  eventTray: 328,
  domainStats: 344,
  eventAgent: 348,
  define: 350,
} as const;

/** Procedures of the QEMU program. */
export const Qemu = { monitorCommand: 1, agentCommand: 3 } as const;

export const Keepalive = { ping: 1, pong: 2 } as const;

/** Questions for {@link Remote.feature}. */
export const Feature = { keepalive: 10, eventCallback: 14 } as const;

export interface Header {
  readonly program: number;
  readonly version: number;
  readonly procedure: number;
  readonly type: number;
  readonly serial: number;
  readonly status: number;
}

export interface Message extends Header {
  readonly payload: Buffer;
}

/** One message with its length word. */
export function encodeMessage(header: Header, payload: Uint8Array): Buffer {
  const length = LENGTH_BYTES + HEADER_BYTES + payload.length;
  if (length > MAX_MESSAGE) throw new XdrError(`a message of ${length} bytes is above ${MAX_MESSAGE}`);
  const head = new XdrWriter()
    .uint(length)
    .uint(header.program)
    .uint(header.version)
    .int(header.procedure)
    .int(header.type)
    .uint(header.serial)
    .int(header.status)
    .bytes();
  return Buffer.concat([head, payload]);
}

/** Cuts a byte stream into messages. Holds no more than one message's bytes. */
export class FrameDecoder {
  #parts: Buffer[] = [];
  #held = 0;
  #wanted: number | null = null;

  /** @throws XdrError on a length no message can have; the stream is then unusable. */
  push(chunk: Buffer): Message[] {
    this.#parts.push(chunk);
    this.#held += chunk.length;
    const messages: Message[] = [];
    for (let next = this.#next(); next !== null; next = this.#next()) messages.push(next);
    return messages;
  }

  #next(): Message | null {
    if (this.#wanted === null) {
      if (this.#held < LENGTH_BYTES) return null;
      this.#wanted = this.#peek().readUInt32BE();
      if (this.#wanted < LENGTH_BYTES + HEADER_BYTES || this.#wanted > MAX_MESSAGE)
        throw new XdrError(`a message of ${this.#wanted} bytes is not possible`);
    }
    if (this.#held < this.#wanted) return null;
    const all = this.#joined();
    const frame = all.subarray(0, this.#wanted);
    const rest = all.subarray(this.#wanted);
    this.#parts = rest.length === 0 ? [] : [rest];
    this.#held = rest.length;
    this.#wanted = null;
    return decodeFrame(frame);
  }

  #peek(): Buffer {
    return (this.#parts[0]?.length ?? 0) >= LENGTH_BYTES ? (this.#parts[0] as Buffer) : this.#joined();
  }

  #joined(): Buffer {
    const all = this.#parts.length === 1 ? (this.#parts[0] as Buffer) : Buffer.concat(this.#parts);
    this.#parts = [all];
    return all;
  }
}

function decodeFrame(frame: Buffer): Message {
  const reader = new XdrReader(frame.subarray(LENGTH_BYTES));
  return {
    program: reader.uint(),
    version: reader.uint(),
    procedure: reader.int(),
    type: reader.int(),
    serial: reader.uint(),
    status: reader.int(),
    payload: frame.subarray(LENGTH_BYTES + HEADER_BYTES),
  };
}

/** How the daemon names a domain. `id` is -1 while it is not active. */
export interface DomainRef {
  readonly name: string;
  /** Lower-case, with hyphens. */
  readonly uuid: string;
  readonly id: number;
}

const DOMAIN_MIN_BYTES = 24;
export const MAX_DOMAINS = 16384;

export function writeDomain(writer: XdrWriter, domain: DomainRef): void {
  writer.string(domain.name).opaqueFixed(uuidBytes(domain.uuid)).int(domain.id);
}

export function readDomain(reader: XdrReader): DomainRef {
  return { name: reader.string(), uuid: uuidText(reader.opaqueFixed(16)), id: reader.int() };
}

export function readDomains(reader: XdrReader): DomainRef[] {
  return reader.array(MAX_DOMAINS, DOMAIN_MIN_BYTES, () => readDomain(reader));
}

export function uuidBytes(uuid: string): Buffer {
  const bytes = Buffer.from(uuid.replaceAll('-', ''), 'hex');
  if (bytes.length !== 16) throw new XdrError(`"${uuid}" is no UUID`);
  return bytes;
}

export function uuidText(bytes: Uint8Array): string {
  const hex = Buffer.from(bytes).toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

/** An error reply as it is on the wire. */
export interface WireError {
  readonly code: number;
  readonly domain: number;
  readonly message: string | null;
  readonly level: number;
  readonly dom: DomainRef | null;
}

export function readError(reader: XdrReader): WireError {
  const code = reader.int();
  const domain = reader.int();
  const message = reader.optional(() => reader.string());
  const level = reader.int();
  const dom = reader.optional(() => readDomain(reader));
  for (let i = 0; i < 3; i += 1) reader.optional(() => reader.string());
  reader.int();
  reader.int();
  reader.optional(() => [reader.string(), reader.opaqueFixed(16)]);
  return { code, domain, message, level, dom };
}

export function writeError(error: WireError): Buffer {
  const writer = new XdrWriter().int(error.code).int(error.domain);
  writer.optional(error.message, (text) => writer.string(text)).int(error.level);
  writer.optional(error.dom, (dom) => writeDomain(writer, dom));
  // Three strings, two integers and a network: details that only the daemon's own client prints.
  return writer.bool(false).bool(false).bool(false).int(0).int(0).bool(false).bytes();
}

export const DomainState = {
  noState: 0,
  running: 1,
  blocked: 2,
  paused: 3,
  shutdown: 4,
  shutoff: 5,
  crashed: 6,
  suspended: 7,
} as const;

/** Groups of {@link Remote.domainStats}. */
export const StatsGroup = { balloon: 1 << 2, block: 1 << 5 } as const;

/** Values of parameters, by the number of their type. */
const typedValues: Readonly<Record<number, (reader: XdrReader) => number | bigint | string | boolean>> = {
  1: (reader) => reader.int(),
  2: (reader) => reader.uint(),
  3: (reader) => reader.hyper(),
  4: (reader) => reader.uhyper(),
  5: (reader) => Buffer.from(reader.opaqueFixed(8)).readDoubleBE(),
  6: (reader) => reader.int() !== 0,
  7: (reader) => reader.string(),
};

const TYPED_MIN_BYTES = 12;
const MAX_TYPED = 262_144;

export type TypedValue = ReturnType<(typeof typedValues)[number]>;

/** Parameters by their names. @throws XdrError on a type that there is not */
export function readTyped(reader: XdrReader): Map<string, TypedValue> {
  const all = reader.array(MAX_TYPED, TYPED_MIN_BYTES, () => {
    const name = reader.string();
    const type = reader.int();
    const read = typedValues[type];
    if (read === undefined) throw new XdrError(`parameter ${name} is of the unknown type ${type}`);
    return [name, read(reader)] as const;
  });
  return new Map(all);
}

/** Why a domain is paused: the second number of {@link Remote.getState}. */
export const PausedReason = { ioError: 5, watchdog: 6 } as const;

/** What a watchdog did, as its event says. */
export const WatchdogDeed = { none: 0, pause: 1, reset: 2 } as const;

/** What {@link Remote.diskErrors} says of a disk. */
export const DiskErrorCode = { unspecified: 1, noSpace: 2 } as const;

/** Why a domain is shut off: the second number of {@link Remote.getState}. */
export const ShutoffReason = {
  unknown: 0,
  shutdown: 1,
  destroyed: 2,
  crashed: 3,
  migrated: 4,
  saved: 5,
  failed: 6,
  fromSnapshot: 7,
  daemon: 8,
} as const;

/** Lifecycle events; RESUMED comes before STARTED, and SHUTDOWN before STOPPED. */
export const LifecycleEvent = {
  defined: 0,
  undefined: 1,
  started: 2,
  suspended: 3,
  resumed: 4,
  stopped: 5,
  shutdown: 6,
  suspendedByPm: 7,
  crashed: 8,
} as const;

/** Details of {@link LifecycleEvent.stopped}. */
export const StoppedDetail = {
  shutdown: 0,
  destroyed: 1,
  crashed: 2,
  migrated: 3,
  saved: 4,
  failed: 5,
  fromSnapshot: 6,
} as const;

/** Codes of errors this project acts on. */
export const ErrorCode = {
  internal: 1,
  operationFailed: 9,
  noDomain: 42,
  domainExists: 9,
  operationInvalid: 55,
  operationTimeout: 68,
  agentUnresponsive: 86,
  agentUnsynced: 97,
  agentCommandTimeout: 109,
} as const;
