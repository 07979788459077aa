import { closeSync } from 'node:fs';
import { constants } from 'node:os';
import { SystemError } from './errno.js';
import { c, check, lastErrno, sendSoon } from './libc.js';
import { type Attribute, errorDecode, messageEncode, messagesDecode, NLM_F, NLMSG } from './netlink-codec.js';
import { inNetns } from './netns.js';

const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const SOL_NETLINK = 270;
const NETLINK_EXT_ACK = 11;
const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;

export interface NetlinkRequest {
  readonly type: number;
  /** Besides REQUEST and ACK. */
  readonly flags?: number;
  readonly head: Uint8Array;
  readonly attributes: readonly Attribute[];
}

/** One NETLINK_ROUTE socket: sends a request, gathers its answers, turns refusals into SystemErrors (netlink(7)). */
export class NetlinkSocket {
  private seq = 0;
  /** The kernel fills at most 32 KiB per datagram of a dump. */
  private readonly buffer = Buffer.alloc(64 * 1024);
  private constructor(private readonly fd: number) {}

  static open(netns?: string): NetlinkSocket {
    const open = () => check(c.socket(AF_NETLINK, SOCK_RAW_CLOEXEC, 0), 'socket', 'netlink');
    const fd = netns === undefined ? open() : inNetns(netns, open);
    const on = Buffer.from(Uint32Array.of(1).buffer);
    c.setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, on, 4); // without it errors only lack their words
    const timeout = Buffer.from(BigInt64Array.of(5n, 0n).buffer);
    check(c.setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, timeout, timeout.length), 'setsockopt', 'netlink');
    return new NetlinkSocket(fd);
  }

  close(): void {
    closeSync(this.fd);
  }

  /** Sends a request that is acknowledged; returns the answers' payloads. @throws SystemError. */
  request(what: string, subject: string, request: NetlinkRequest): Buffer[] {
    const seq = this.next();
    const bytes = messageEncode({ ...request, seq, flags: NLM_F.REQUEST | NLM_F.ACK | (request.flags ?? 0) });
    check(c.send(this.fd, bytes, bytes.length, 0), what, subject);
    return this.answers(what, subject, seq).payloads;
  }

  /**
   * Like `request`, but the kernel's work is done on a pool thread (a netlink request runs inside send(2), and the
   * socket stays in its namespace whichever thread sends). Returns what reads the answer, so that refusals are thrown
   * in the caller's own stack.
   */
  async requestSoon(what: string, subject: string, request: NetlinkRequest): Promise<() => Buffer[]> {
    const seq = this.next();
    const bytes = messageEncode({ ...request, seq, flags: NLM_F.REQUEST | NLM_F.ACK | (request.flags ?? 0) });
    if ((await sendSoon(this.fd, bytes)) < 0) throw new SystemError(what, constants.errno.EIO, subject);
    return () => this.answers(what, subject, seq).payloads;
  }

  /** A dump that changed under way (NLM_F_DUMP_INTR) is taken again, at most ten times. */
  dump(type: number, head: Uint8Array): Buffer[] {
    for (let attempt = 1; ; attempt += 1) {
      const seq = this.next();
      const bytes = messageEncode({ type, flags: NLM_F.REQUEST | NLM_F.DUMP, seq, head, attributes: [] });
      check(c.send(this.fd, bytes, bytes.length, 0), `dump ${type}`, '');
      const { payloads, interrupted } = this.answers(`dump ${type}`, '', seq);
      if (!interrupted) return payloads;
      if (attempt === 10) throw new SystemError(`dump ${type}`, constants.errno.EINTR, 'kept changing');
    }
  }

  private answers(what: string, subject: string, seq: number): { payloads: Buffer[]; interrupted: boolean } {
    const payloads: Buffer[] = [];
    let interrupted = false;
    for (;;) {
      for (const answer of messagesDecode(this.receive(what, subject))) {
        if (answer.seq !== seq) continue; // rest of an exchange that failed half-way
        interrupted ||= (answer.flags & NLM_F.DUMP_INTR) !== 0;
        if (answer.type === NLMSG.DONE) return { payloads, interrupted };
        if (answer.type === NLMSG.ERROR) {
          const { errno, detail } = errorDecode(answer);
          if (errno === 0) return { payloads, interrupted };
          throw new SystemError(what, errno, subject, detail);
        }
        payloads.push(Buffer.from(answer.payload));
      }
    }
  }

  private receive(what: string, subject: string): Buffer {
    for (;;) {
      const size = c.recv(this.fd, this.buffer, this.buffer.length, 0);
      if (size >= 0) return this.buffer.subarray(0, size);
      const errno = lastErrno();
      if (errno !== constants.errno.EINTR) throw new SystemError(what, errno, subject);
    }
  }

  private next(): number {
    return (this.seq = (this.seq + 1) >>> 0);
  }
}
