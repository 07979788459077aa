import type { LibvirtClient } from '../libvirt/client.js';
import { LibvirtConnectionError, LibvirtError } from '../libvirt/errors.js';
import { ErrorCode, type DomainRef } from '../libvirt/protocol.js';
import {
  DEFAULT_TIMEOUT_MS,
  QgaError,
  QgaTransportError,
  type QgaOptions,
  type QgaTransport,
} from '../qga/transport.js';

/** What libvirt says when the agent, and not the question, is what failed. */
const faults: ReadonlyMap<number, QgaTransportError['fault']> = new Map([
  [ErrorCode.agentUnresponsive, 'closed'],
  [ErrorCode.agentUnsynced, 'timeout'],
  [ErrorCode.agentCommandTimeout, 'timeout'],
  [ErrorCode.operationInvalid, 'closed'],
  [ErrorCode.noDomain, 'closed'],
]);

/** libvirt hears of the end of its patience before we lose ours, ms. */
const LONGER_MS = 1_000;

/** The agent in a guest through libvirt, which holds the channel of the machines that it owns, and synchronises it. */
export class LibvirtAgent implements QgaTransport {
  constructor(
    private readonly client: LibvirtClient,
    private readonly domain: DomainRef,
  ) {}

  async send(command: string, args?: object, options: QgaOptions = {}): Promise<unknown> {
    const { timeoutMs = DEFAULT_TIMEOUT_MS, signal } = options;
    const seconds = Math.max(Math.ceil(timeoutMs / 1000), 1);
    const bounds = { timeoutMs: seconds * 1000 + LONGER_MS, ...(signal === undefined ? {} : { signal }) };
    const line = JSON.stringify({ execute: command, arguments: args });
    const answer = await this.client
      .agentCommand(this.domain, line, seconds, bounds)
      .catch((cause: unknown) => {
        throw faultOf(cause);
      });
    try {
      return (JSON.parse(answer) as { return?: unknown } | null)?.return;
    } catch (cause) {
      throw new QgaTransportError('protocol', 'libvirt handed on an answer that is no JSON', { cause });
    }
  }
}

function faultOf(cause: unknown): unknown {
  if (cause instanceof LibvirtError) {
    const fault = faults.get(cause.code);
    if (fault !== undefined) return new QgaTransportError(fault, cause.message, { cause });
    return new QgaError(/error was '(.*)'$/s.exec(cause.message)?.[1] ?? cause.message);
  }
  if (!(cause instanceof LibvirtConnectionError)) return cause;
  const fault = cause.fault === 'unreachable' ? 'closed' : cause.fault;
  return new QgaTransportError(fault, cause.message, { cause });
}
