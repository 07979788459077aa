import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Problem } from '@berth/model';
import { exitCodes, Failure, ProblemFailure } from './failure.js';

/** Where the API is and who asks. */
export interface Target {
  readonly base: string;
  readonly token: string;
}

/**
 * From the options, then BERTH_API and BERTH_TOKEN, then the admin token that the API wrote for root.
 * @throws Failure when there is no token.
 */
export function targetFrom(env: NodeJS.ProcessEnv, options: { api?: string; token?: string }): Target {
  const base = options.api ?? env['BERTH_API'] ?? `http://127.0.0.1:${env['BERTH_API_PORT'] || '7070'}`;
  const token =
    options.token ??
    env['BERTH_TOKEN'] ??
    adminToken(join(env['BERTH_ROOT'] || '/', 'etc/berth/admin-token'));
  return { base: base.replace(/\/+$/, ''), token };
}

function adminToken(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EACCES') throw new Failure(`${file} is for root alone.\n  -> Use sudo, or set BERTH_TOKEN`);
    throw new Failure(
      `There is no token: ${file} is missing.\n  -> Start Berth with ./berth up, or set BERTH_API and BERTH_TOKEN`,
      exitCodes.unreachable,
    );
  }
}

export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

export interface Call {
  readonly query?: Query;
  /** JSON body. */
  readonly body?: unknown;
  /** Raw body, sent as it is. */
  readonly stream?: ReadableStream<Uint8Array>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

/** Calls the REST API. Problem documents come out as {@link ProblemFailure}. */
export class Connection {
  constructor(readonly target: Target) {}

  async get<T>(path: string, query: Query = {}): Promise<T> {
    return (await (await this.send('GET', path, { query })).json()) as T;
  }

  /** All pages of a list, at most `most` items. */
  async list<T>(path: string, query: Query = {}, most = Infinity): Promise<T[]> {
    const items: T[] = [];
    let cursor: string | undefined;
    do {
      const page = await this.get<{ items: T[]; nextCursor?: string | null }>(path, { ...query, cursor });
      items.push(...page.items);
      cursor = page.nextCursor ?? undefined;
    } while (cursor !== undefined && items.length < most);
    return items.slice(0, most);
  }

  async mutate<T>(method: 'POST' | 'PUT' | 'PATCH' | 'DELETE', path: string, call: Call = {}): Promise<T> {
    const answer = await this.send(method, path, call);
    const text = await answer.text();
    return (text === '' ? null : JSON.parse(text)) as T;
  }

  /** The answer's bytes as they come. */
  async stream(path: string, call: Call): Promise<ReadableStream<Uint8Array>> {
    const { body } = await this.send('GET', path, call);
    if (body === null) throw new Failure(`${path} answered without a body`);
    return body;
  }

  private async send(method: string, path: string, call: Call): Promise<Response> {
    const url = new URL(this.target.base + path);
    for (const [key, value] of Object.entries(call.query ?? {}))
      if (value !== undefined) url.searchParams.set(key, String(value));
    const answer = await fetch(url, this.request(method, call)).catch((error: Error) => {
      if (call.signal?.aborted === true) throw error;
      const why = (error.cause as Error | undefined)?.message ?? error.message;
      throw new Failure(
        `The API at ${this.target.base} does not answer: ${why}\n  -> Start it with ./berth up, look with ./berth status, or set BERTH_API`,
        exitCodes.unreachable,
      );
    });
    if (!answer.ok) throw await failureOf(answer, method, path);
    return answer;
  }

  private request(method: string, call: Call): RequestInit & { duplex?: 'half' } {
    return {
      method,
      headers: {
        authorization: `Bearer ${this.target.token}`,
        accept: 'application/json',
        ...(method === 'POST' ? { 'idempotency-key': randomUUID() } : {}),
        ...(call.body === undefined ? {} : { 'content-type': 'application/json' }),
        ...(call.stream === undefined ? {} : { 'content-type': 'application/octet-stream' }),
        ...call.headers,
      },
      ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
      ...(call.stream === undefined ? {} : { body: call.stream, duplex: 'half' }),
      ...(call.signal === undefined ? {} : { signal: call.signal }),
    };
  }
}

async function failureOf(answer: Response, method: string, path: string): Promise<Failure> {
  const text = await answer.text();
  try {
    const problem = JSON.parse(text) as Problem;
    if (typeof problem.code === 'string' && typeof problem.detail === 'string')
      return new ProblemFailure(problem);
  } catch {
    // Not a problem document: whatever answered is told as it is.
  }
  return new Failure(`${method} ${path}: ${answer.status} ${text.slice(0, 300)}`);
}
