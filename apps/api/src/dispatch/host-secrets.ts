import type { ClientHttp2Session } from 'node:http2';
import { LinkError, protocol, secretsAtOnce, send, type SecretValues } from '@berth/link';
import type { HostId, HostSecret, SecretId } from '@berth/model';
import type { DispatchLog, SecretSource } from './hooks.js';

interface Ports {
  readonly secrets: SecretSource;
  readonly log: DispatchLog;
}

/**
 * The values of secrets on their way to one connected host: those that its assignments name, and no others, each version once in a
 * connection. They go before the list that names them, so that what it starts need not wait.
 */
export class HostSecrets {
  /** Versions that the host has of us. */
  private readonly sent = new Map<SecretId, number>();

  constructor(
    private readonly h2: ClientHttp2Session,
    private readonly hostId: HostId,
    private readonly ports: Ports,
  ) {}

  /** @throws LinkError, BerthError: what was not sent is sent with the next list */
  async send(assignments: readonly { readonly secrets: readonly HostSecret[] }[]): Promise<void> {
    const named = new Map(assignments.flatMap(({ secrets }) => secrets).map((one) => [one.id, one.version]));
    // The host forgets what its list does not name.
    for (const id of this.sent.keys()) if (!named.has(id)) this.sent.delete(id);
    const wanted = [...named].filter(([id, version]) => this.sent.get(id) !== version).map(([id]) => id);
    for (let at = 0; at < wanted.length; at += secretsAtOnce) {
      const values = await this.ports.secrets.open(wanted.slice(at, at + secretsAtOnce));
      await this.put({ protocol, values });
      for (const { id, version } of values) this.sent.set(id, version);
    }
  }

  private async put(body: SecretValues): Promise<void> {
    const answer = await send(this.h2, { method: 'PUT', path: '/secrets', body, timeoutMs: 60_000 });
    if (answer.status === 204) return;
    // An agent of before has no secrets; its list is not held up by those that it was given when it was newer.
    if (answer.status !== 404)
      throw new LinkError('status', `the agent answered ${answer.status} to secrets`);
    this.ports.log.warn({ hostId: this.hostId }, 'the agent of this host is too old for secrets');
  }
}
