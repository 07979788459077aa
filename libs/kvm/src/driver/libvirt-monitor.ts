import { LibvirtConnectionError, LibvirtError } from '../libvirt/errors.js';
import type { LibvirtClient } from '../libvirt/client.js';
import type { DomainRef } from '../libvirt/protocol.js';
import { QmpTransportError, type ExecuteOptions, type QmpCall, type QmpExecutor } from '../qmp/commands.js';
import { parseMessage } from '../qmp/messages.js';
import type { QmpCommands } from '../qmp/schema.gen.js';

/** QMP through libvirt's monitor program, for machines that libvirt owns. */
export class LibvirtMonitor implements QmpExecutor {
  constructor(
    private readonly client: LibvirtClient,
    private readonly domain: DomainRef,
  ) {}

  async execute<C extends keyof QmpCommands>(
    command: C,
    ...[args, options = {}]: QmpCall<C>
  ): Promise<QmpCommands[C]['result']> {
    const line = await this.#send(JSON.stringify({ execute: command, arguments: args }), options);
    const message = parseMessage(line);
    if (message.kind === 'return') return message.value as QmpCommands[C]['result'];
    if (message.kind === 'error') throw message.error;
    throw new QmpTransportError('protocol', `libvirt's monitor answered ${command} with a ${message.kind}`);
  }

  async #send(line: string, options: ExecuteOptions): Promise<string> {
    try {
      return await this.client.monitorCommand(this.domain, line, options);
    } catch (cause) {
      if (cause instanceof LibvirtError) throw new QmpTransportError('closed', cause.message, { cause });
      if (!(cause instanceof LibvirtConnectionError)) throw cause;
      const fault = cause.fault === 'unreachable' ? 'closed' : cause.fault;
      throw new QmpTransportError(fault, cause.message, { cause });
    }
  }
}
