import { createServer, type Server, type Socket } from 'node:net';
import {
  DomainState,
  encodeMessage,
  Feature,
  FrameDecoder,
  Keepalive,
  LifecycleEvent,
  MessageType,
  PROGRAM_KEEPALIVE,
  PROGRAM_QEMU,
  PROGRAM_REMOTE,
  PROGRAM_VERSION,
  readDomain,
  Remote,
  Status,
  uuidText,
  writeDomain,
  writeError,
  type DomainRef,
  type Message,
} from './protocol.js';
import { XdrReader, XdrWriter } from './xdr.js';

/** A domain of the fake daemon. */
export interface FakeDomain extends DomainRef {
  state: number;
  reason: number;
  xml: string;
}

const NO_DOMAIN = { code: 42, domain: 10, level: 2 };
const OPERATION_INVALID = { code: 55, domain: 10, level: 2 };
const NO_SUPPORT = { code: 3, domain: 7, level: 2 };

class Refusal extends Error {
  constructor(
    readonly kind: { code: number; domain: number; level: number },
    message: string,
  ) {
    super(message);
  }
}

/**
 * A libvirtd for tests, on the same codec as the client. It keeps domains in memory and can be told to stay silent
 * or to send broken bytes. The real `virsh` accepts it.
 */
export class FakeLibvirtd {
  readonly domains = new Map<string, FakeDomain>();
  /** Procedures that never get an answer. */
  readonly mute = new Set<number>();
  /** Every procedure called on the remote program, in order. */
  readonly calls: number[] = [];
  /** Pongs received. */
  pongs = 0;
  answerPings = true;
  readonly #sockets = new Map<Socket, { events: boolean }>();
  #server: Server | null = null;
  #nextId = 1;

  constructor(readonly socketPath: string) {}

  async listen(): Promise<void> {
    this.#server = createServer((socket) => this.#accept(socket));
    await new Promise<void>((resolve, reject) => {
      this.#server?.once('error', reject).listen(this.socketPath, resolve);
    });
  }

  async close(): Promise<void> {
    this.dropConnections();
    const server = this.#server;
    this.#server = null;
    if (server !== null) await new Promise((resolve) => server.close(resolve));
  }

  dropConnections(): void {
    for (const socket of this.#sockets.keys()) socket.destroy();
  }

  get connections(): number {
    return this.#sockets.size;
  }

  /** Sends bytes as they are to every connection. */
  sendRaw(bytes: Buffer): void {
    for (const socket of this.#sockets.keys()) socket.write(bytes);
  }

  ping(): void {
    const head = {
      program: PROGRAM_KEEPALIVE,
      procedure: Keepalive.ping,
      serial: 0,
      type: MessageType.event,
    };
    this.sendRaw(encodeMessage({ ...head, version: PROGRAM_VERSION, status: Status.ok }, Buffer.alloc(0)));
  }

  /** Adds a defined domain without a client. */
  add(domain: { name: string; uuid: string; xml?: string }): FakeDomain {
    const xml =
      domain.xml ?? `<domain type='qemu'><name>${domain.name}</name><uuid>${domain.uuid}</uuid></domain>`;
    const added = { ...domain, id: -1, state: DomainState.shutoff as number, reason: 0, xml };
    this.domains.set(added.uuid, added);
    return added;
  }

  emitLifecycle(domain: DomainRef, event: number, detail: number): void {
    const payload = new XdrWriter().int(0);
    writeDomain(payload, domain);
    const body = payload.int(event).int(detail).bytes();
    for (const [socket, state] of this.#sockets)
      if (state.events) this.#send(socket, pushHeader(Remote.eventLifecycle), body);
  }

  #accept(socket: Socket): void {
    const decoder = new FrameDecoder();
    this.#sockets.set(socket, { events: false });
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk: Buffer) => {
      try {
        for (const message of decoder.push(chunk)) this.#serve(socket, message);
      } catch {
        socket.destroy();
      }
    });
  }

  #serve(socket: Socket, message: Message): void {
    if (message.program === PROGRAM_KEEPALIVE) {
      if (message.procedure === Keepalive.pong) this.pongs += 1;
      else if (this.answerPings)
        this.#send(socket, { ...message, procedure: Keepalive.pong }, Buffer.alloc(0));
      return;
    }
    if (message.program === PROGRAM_REMOTE) this.calls.push(message.procedure);
    if (this.mute.has(message.procedure)) return;
    try {
      const reply = this.#answer(socket, message, new XdrReader(message.payload));
      this.#send(socket, { ...message, type: MessageType.reply, status: Status.ok }, reply.bytes());
    } catch (error) {
      const kind = error instanceof Refusal ? error.kind : { code: 1, domain: 7, level: 2 };
      const wire = writeError({ ...kind, message: (error as Error).message, dom: null });
      this.#send(socket, { ...message, type: MessageType.reply, status: Status.error }, wire);
    }
  }

  #answer(socket: Socket, message: Message, args: XdrReader): XdrWriter {
    if (message.program === PROGRAM_QEMU) return this.#monitor(args);
    const out = new XdrWriter();
    switch (message.procedure) {
      case Remote.authList:
        return out.uint(1).int(0);
      case Remote.open:
      case Remote.close:
      case Remote.eventDeregister:
        return out;
      case Remote.getUri:
        return out.string('qemu:///system');
      case Remote.getType:
        return out.string('QEMU');
      case Remote.hostname:
        return out.string('fake-host');
      case Remote.feature:
        return out.int(([Feature.keepalive, Feature.eventCallback] as number[]).includes(args.int()) ? 1 : 0);
      case Remote.libVersion:
      case Remote.getVersion:
        return out.uhyper(9_000_000n);
      case Remote.eventRegister:
        this.#sockets.set(socket, { events: true });
        return out.int(0);
      case Remote.listAll:
        return out.array([...this.domains.values()], (d) => writeDomain(out, d)).uint(this.domains.size);
      case Remote.define:
        return this.#define(args, out);
      case Remote.lookupByName:
        return this.#lookup(args.string(), (d, name) => d.name === name, out);
      case Remote.lookupByUuid:
        return this.#lookup(uuidText(args.opaqueFixed(16)), (d, uuid) => d.uuid === uuid, out);
      default:
        return this.#onDomain(message.procedure, args, out);
    }
  }

  #onDomain(procedure: number, args: XdrReader, out: XdrWriter): XdrWriter {
    const domain = this.#find(args);
    switch (procedure) {
      case Remote.getState:
        return out.int(domain.state).int(domain.reason);
      case Remote.getXml:
        return out.string(domain.xml);
      case Remote.getInfo:
        return out.uint(domain.state).uhyper(65536n).uhyper(65536n).uint(1).uhyper(1_000_000n);
      case Remote.isActive:
        return out.int(domain.id < 0 ? 0 : 1);
      case Remote.isPersistent:
        return out.int(1);
      case Remote.createPlain:
        this.#change(domain, DomainState.running, 1, [LifecycleEvent.resumed, LifecycleEvent.started]);
        return out;
      case Remote.create:
        this.#change(domain, DomainState.running, 1, [LifecycleEvent.resumed, LifecycleEvent.started]);
        writeDomain(out, domain);
        return out;
      case Remote.destroyPlain:
      case Remote.destroy:
        if (domain.id < 0)
          throw new Refusal(OPERATION_INVALID, 'Requested operation is not valid: domain is not running');
        this.#change(domain, DomainState.shutoff, 2, [LifecycleEvent.shutdown, LifecycleEvent.stopped]);
        return out;
      case Remote.suspend:
        this.#change(domain, DomainState.paused, 1, [LifecycleEvent.suspended]);
        return out;
      case Remote.resume:
        this.#change(domain, DomainState.running, 1, [LifecycleEvent.resumed]);
        return out;
      case Remote.shutdown:
      case Remote.reboot:
        return out;
      case Remote.undefine:
        this.domains.delete(domain.uuid);
        return out;
      default:
        throw new Refusal(NO_SUPPORT, `procedure ${procedure} is not supported by the fake`);
    }
  }

  #change(domain: FakeDomain, state: number, detail: number, events: number[]): void {
    const id = state === DomainState.shutoff ? -1 : domain.id < 0 ? this.#nextId++ : domain.id;
    Object.assign(domain, { state, reason: detail, id });
    for (const event of events) this.emitLifecycle(domain, event, event === LifecycleEvent.stopped ? 1 : 0);
  }

  #define(args: XdrReader, out: XdrWriter): XdrWriter {
    const xml = args.string();
    const name = /<name>([^<]+)<\/name>/.exec(xml)?.[1] ?? 'unnamed';
    const uuid = /<uuid>([^<]+)<\/uuid>/.exec(xml)?.[1] ?? '00000000-0000-4000-8000-000000000000';
    writeDomain(out, this.add({ name, uuid, xml }));
    return out;
  }

  #lookup(value: string, match: (d: FakeDomain, value: string) => boolean, out: XdrWriter): XdrWriter {
    const found = [...this.domains.values()].find((d) => match(d, value));
    if (found === undefined)
      throw new Refusal(NO_DOMAIN, `Domain not found: no domain with matching "${value}"`);
    writeDomain(out, found);
    return out;
  }

  #monitor(args: XdrReader): XdrWriter {
    this.#find(args);
    const command = JSON.parse(args.string()) as { execute: string; id?: string };
    const result =
      command.execute === 'query-status' ? { running: true, singlestep: false, status: 'running' } : {};
    return new XdrWriter().string(JSON.stringify({ return: result, id: command.id }));
  }

  #find(args: XdrReader): FakeDomain {
    const ref = readDomain(args);
    const found = this.domains.get(ref.uuid);
    if (found === undefined)
      throw new Refusal(NO_DOMAIN, `Domain not found: no domain with matching uuid '${ref.uuid}'`);
    return found;
  }

  #send(socket: Socket, header: Omit<Message, 'payload'>, payload: Buffer): void {
    socket.write(encodeMessage(header, payload));
  }
}

function pushHeader(procedure: number): Omit<Message, 'payload'> {
  return {
    program: PROGRAM_REMOTE,
    version: PROGRAM_VERSION,
    procedure,
    type: MessageType.event,
    serial: 0,
    status: Status.ok,
  };
}
