import { readFileSync } from 'node:fs';

export interface HostState {
  readonly state: string;
  readonly reason: string | null;
  readonly lastSeenAt: string | null;
}

/** What the supervisor needs of the REST API: readiness, hosts, a join token, and stopping everything. */
export class ApiAccess {
  constructor(
    readonly base: string,
    private readonly tokenFile: string,
  ) {}

  /** Null when the API answers that it is ready, else what it waits for. */
  async waitsFor(): Promise<string | null> {
    try {
      const answer = await fetch(`${this.base}/readyz`, { signal: AbortSignal.timeout(2000) });
      if (answer.ok) return null;
      const text = (await answer.text()).slice(0, 200);
      return `waiting for the API: ${answer.status} ${text}`;
    } catch {
      return 'waiting for the API to listen';
    }
  }

  /** State of the host of that name, or null when the API does not know it. */
  async hostState(name: string): Promise<HostState | null> {
    const hosts = await this.list<HostState & { name: string }>('/v1/hosts');
    return hosts.find((h) => h.name === name) ?? null;
  }

  /** A single-use token with which the agent of that host may join. */
  async joinToken(host: string): Promise<string> {
    const body = await this.call<{ secret: string | null }>('POST', '/v1/join-tokens', { hostName: host });
    if (body.secret === null) throw new Error('the API gave a join token without its secret');
    return body.secret;
  }

  /** Every instance of every project. */
  async instances(): Promise<{ project: string; name: string; status: { state: string } }[]> {
    const projects = await this.list<{ name: string }>('/v1/projects');
    const all = await Promise.all(
      projects.map((p) =>
        this.list<{ project: string; name: string; status: { state: string } }>(
          `/v1/projects/${encodeURIComponent(p.name)}/instances`,
        ),
      ),
    );
    return all.flat();
  }

  async instanceStop(project: string, name: string): Promise<void> {
    await this.call(
      'POST',
      `/v1/projects/${encodeURIComponent(project)}/instances/${encodeURIComponent(name)}/actions/stop`,
    );
  }

  /** All pages of a list. */
  private async list<T>(path: string): Promise<T[]> {
    const items: T[] = [];
    let cursor: string | null = null;
    do {
      const query: string = cursor === null ? '' : `?cursor=${encodeURIComponent(cursor)}`;
      const page: { items: T[]; nextCursor?: string | null } = await this.call('GET', `${path}${query}`);
      items.push(...page.items);
      cursor = page.nextCursor ?? null;
    } while (cursor !== null);
    return items;
  }

  private async call<T>(method: string, path: string, body?: unknown): Promise<T> {
    const token = readFileSync(this.tokenFile, 'utf8').trim();
    const answer = await fetch(`${this.base}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(method === 'GET' ? {} : { 'idempotency-key': crypto.randomUUID() }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      signal: AbortSignal.timeout(30_000),
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text.slice(0, 500)}`);
    return JSON.parse(text) as T;
  }
}
