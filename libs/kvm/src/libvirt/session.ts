import { RpcConnection, type CallOptions, type ConnectionOptions } from './connection.js';
import { LibvirtConnectionError } from './errors.js';
import {
  Feature,
  PROGRAM_QEMU,
  PROGRAM_REMOTE,
  Qemu,
  readDomain,
  Remote,
  writeDomain,
  type DomainRef,
  type Message,
} from './protocol.js';
import { XdrReader, XdrWriter } from './xdr.js';

const LIFECYCLE_EVENT_ID = 0;
const WATCHDOG_EVENT_ID = 3;
const TRAY_EVENT_ID = 10;
const AGENT_EVENT_ID = 18;
const AUTH_NONE = 0;
const MAX_AUTH_TYPES = 20;

export interface Lifecycle {
  readonly domain: DomainRef;
  /** A value of `LifecycleEvent`. */
  readonly event: number;
  /** Its meaning depends on `event`; for `stopped` a value of `StoppedDetail`. */
  readonly detail: number;
}

/** How many long operations the daemon is given at once: each holds one of its workers. */
export const LONG_CALLS = 4;

export interface SessionOptions extends Pick<
  ConnectionOptions,
  'socketPath' | 'connectTimeoutMs' | 'callTimeoutMs' | 'keepaliveMs'
> {
  readonly uri: string;
  readonly onLifecycle: (event: Lifecycle) => void;
  /** The agent in a domain's guest came or went. */
  readonly onAgent: (domain: DomainRef) => void;
  /** The tray of a CD-ROM drive of a domain was opened or closed. */
  readonly onTray: (domain: DomainRef) => void;
  /** A domain's watchdog expired; `deed` is a value of `WatchdogDeed`. */
  readonly onWatchdog: (domain: DomainRef, deed: number) => void;
  readonly onClose: (error: LibvirtConnectionError) => void;
}

/**
 * Four opened connections that live and die together: `short` carries events and quick calls, `long` the starts and
 * stops, because the daemon answers the calls of one connection behind each other (measured: 3.5 s against 0.4 ms), and
 * `guests` what is asked of agents, which answer when they like, and `looks` what is asked of every QEMU again and again:
 * one that hangs holds up none of the others.
 */
export class Session {
  #closed = false;

  private constructor(
    private readonly short: RpcConnection,
    private readonly long: RpcConnection,
    private readonly guests: RpcConnection,
    private readonly looks: RpcConnection,
  ) {}

  /** @throws LibvirtConnectionError, LibvirtError */
  static async open(options: SessionOptions): Promise<Session> {
    let session: Session | null = null;
    const onClose = (error: LibvirtConnectionError): void => {
      if (session === null || session.#closed) return;
      session.close();
      options.onClose(error);
    };
    const onEvent = (message: Message): void => {
      const event = decodeLifecycle(message);
      if (event !== null) return options.onLifecycle(event);
      const domain = decodeDomain(message, Remote.eventAgent);
      if (domain !== null) return options.onAgent(domain);
      const moved = decodeDomain(message, Remote.eventTray);
      if (moved !== null) return options.onTray(moved);
      const expired = decodeWatchdog(message);
      if (expired !== null) options.onWatchdog(expired.domain, expired.deed);
    };
    const short = await openConnection({ ...options, onClose, onEvent }, options.uri);
    const opened = [short];
    try {
      const many = { ...options, onClose, maxPending: LONG_CALLS };
      const long = await openConnection(many, options.uri);
      opened.push(long);
      const guests = await openConnection(many, options.uri);
      opened.push(guests);
      session = new Session(short, long, guests, await openConnection(many, options.uri));
      for (const event of [LIFECYCLE_EVENT_ID, WATCHDOG_EVENT_ID, AGENT_EVENT_ID, TRAY_EVENT_ID])
        await session.remote(Remote.eventRegister, new XdrWriter().int(event).bool(false));
      return session;
    } catch (error) {
      (session as Session | null)?.close();
      for (const connection of opened) connection.close();
      throw error;
    }
  }

  /** A call that answers at once. */
  remote(procedure: number, args = new XdrWriter(), options?: CallOptions): Promise<XdrReader> {
    return this.short.call(PROGRAM_REMOTE, procedure, args.bytes(), options);
  }

  /** A call that may take long; at most {@link LONG_CALLS} run, the others wait in order. */
  remoteLong(procedure: number, args = new XdrWriter(), options?: CallOptions): Promise<XdrReader> {
    return this.long.call(PROGRAM_REMOTE, procedure, args.bytes(), options);
  }

  /** A call for figures, which a QEMU that hangs does not answer. */
  figures(procedure: number, args: XdrWriter, options?: CallOptions): Promise<XdrReader> {
    return this.looks.call(PROGRAM_REMOTE, procedure, args.bytes(), options);
  }

  /** One QMP command line to the monitor of a domain. */
  async monitor(domain: DomainRef, command: string, options?: CallOptions): Promise<string> {
    const args = new XdrWriter();
    writeDomain(args, domain);
    args.string(command).uint(0);
    const reply = await this.long.call(PROGRAM_QEMU, Qemu.monitorCommand, args.bytes(), options);
    return reply.string();
  }

  /** One command line to the agent in a domain's guest; the daemon waits `seconds` for its answer. */
  async agent(domain: DomainRef, command: string, seconds: number, options?: CallOptions): Promise<string> {
    const args = new XdrWriter();
    writeDomain(args, domain);
    args.string(command).int(seconds).uint(0);
    const reply = await this.guests.call(PROGRAM_QEMU, Qemu.agentCommand, args.bytes(), options);
    return reply.optional(() => reply.string()) ?? '';
  }

  get isClosed(): boolean {
    const all = [this.short, this.long, this.guests, this.looks];
    return this.#closed || all.some((connection) => connection.isClosed);
  }

  close(): void {
    this.#closed = true;
    this.short.close();
    this.long.close();
    this.guests.close();
    this.looks.close();
  }
}

/** Connect, authenticate (none), open the driver, agree on keepalive. */
async function openConnection(options: ConnectionOptions, uri: string): Promise<RpcConnection> {
  const connection = await RpcConnection.open(options);
  const call = (procedure: number, args = new XdrWriter()): Promise<XdrReader> =>
    connection.call(PROGRAM_REMOTE, procedure, args.bytes());
  const feature = async (id: number): Promise<boolean> =>
    (await call(Remote.feature, new XdrWriter().int(id))).int() === 1;
  try {
    const auth = await call(Remote.authList);
    const kinds = auth.array(MAX_AUTH_TYPES, 4, () => auth.int());
    if (!kinds.includes(AUTH_NONE))
      throw new LibvirtConnectionError(
        'unreachable',
        'libvirtd asks for authentication; set auth_unix_rw = "none"',
      );
    const open = new XdrWriter();
    open.optional(uri, (text) => open.string(text)).uint(0);
    await call(Remote.open, open);
    if (await feature(Feature.keepalive)) connection.startKeepalive();
    if (!(await feature(Feature.eventCallback)))
      throw new LibvirtConnectionError('unreachable', 'this libvirtd is too old: it has no event callbacks');
    return connection;
  } catch (error) {
    connection.close();
    throw error;
  }
}

function decodeLifecycle(message: Message): Lifecycle | null {
  if (message.program !== PROGRAM_REMOTE || message.procedure !== Remote.eventLifecycle) return null;
  const reader = new XdrReader(message.payload);
  reader.int();
  return { domain: readDomain(reader), event: reader.int(), detail: reader.int() };
}

/** Which domain an event is of; null when it is another event. */
function decodeDomain(message: Message, event: number): DomainRef | null {
  if (message.program !== PROGRAM_REMOTE || message.procedure !== event) return null;
  const reader = new XdrReader(message.payload);
  reader.int();
  return readDomain(reader);
}

function decodeWatchdog(message: Message): { domain: DomainRef; deed: number } | null {
  if (message.program !== PROGRAM_REMOTE || message.procedure !== Remote.eventWatchdog) return null;
  const reader = new XdrReader(message.payload);
  reader.int();
  return { domain: readDomain(reader), deed: reader.int() };
}
