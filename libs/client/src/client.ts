import type { Event } from '@berth/model';
import createClient, { type Client } from 'openapi-fetch';
import { followEvents, type FollowOptions } from './events.js';
import {
  followLog,
  type FollowLogOptions,
  type LogAnswer,
  type LogBegin,
  type LogForms,
  type LogPiece,
} from './logs.js';
import { jsonLines } from './json-lines.js';
import { errorOf, errorOfBody, ProblemError, UnreachableError } from './problem.js';
import type { components, paths } from './schema.gen.js';
import { transport, type ClientOptions } from './transport.js';

/** Bodies as the OpenAPI document names them, for example `Schemas['Instance']`. */
export type Schemas = components['schemas'];

type EventsRoute = paths['/v1/events']['get'];
export type EventQuery = NonNullable<EventsRoute['parameters']['query']>;
export type EventPage = EventsRoute['responses'][200]['content']['application/json'];

export interface LogRequest extends LogBegin, LogForms {
  readonly project: string;
  readonly instance: string;
  readonly follow?: boolean;
  readonly signal?: AbortSignal;
}

export interface StatsRequest {
  readonly project: string;
  readonly instance: string;
  /** Go on after the first. */
  readonly follow: boolean;
  readonly intervalSeconds: number;
  readonly signal?: AbortSignal;
}

/** What a terminal opens: the serial console or the display of a VM, a program in a container, or its first process. */
export type TerminalOpens =
  | { readonly console: Schemas['ConsoleOpen'] }
  | { readonly display: Schemas['DisplayOpen'] }
  | { readonly exec: Schemas['ExecOpen'] }
  | { readonly attach: Schemas['AttachOpen'] };

export interface TerminalRequest {
  readonly project: string;
  readonly instance: string;
  readonly opens: TerminalOpens;
  readonly signal?: AbortSignal;
}

export interface FileOf {
  readonly project: string;
  readonly instance: string;
  /** Absolute, in the guest. */
  readonly path: string;
  readonly signal?: AbortSignal;
}

/** Which part of a file is asked for. */
interface PartOf {
  readonly project: string;
  /** Its first byte. */
  readonly from: number;
  /** ETag of the file of which it is a part; null where none is known. */
  readonly tag: string | null;
  readonly signal?: AbortSignal;
}

/** A file, or what is left of it. */
export interface FileAnswer {
  /** Which byte of the file is the first: 0 where it is another file than the one that was asked for. */
  readonly from: number;
  /** Of the whole file, bytes. */
  readonly sizeBytes: number;
  readonly tag: string | null;
  readonly body: ReadableStream<Uint8Array>;
}

const signalOf = ({ signal }: FileOf): RequestInit => (signal === undefined ? {} : { signal });

/**
 * Berth's REST API, typed by its OpenAPI document. `rest` is openapi-fetch on those types; hand its answers to
 * {@link answer} to get the body or a ProblemError. Streams have methods of their own.
 */
export class BerthClient {
  readonly rest: Client<paths>;
  private readonly send: (request: Request) => Promise<Response>;

  constructor(private readonly options: ClientOptions) {
    this.send = transport(options);
    this.rest = createClient<paths>({
      baseUrl: options.baseUrl,
      fetch: this.send,
      pathSerializer: (path, names) => path.replace(/\{(\w+)\}/g, (_, key: string) => segment(names[key])),
    });
  }

  /** One page of the ledger; go on with `after: next`. @throws ProblemError gone, when what comes next was trimmed */
  async eventList(query: EventQuery = {}): Promise<EventPage> {
    // The route also answers with a stream, which its type cannot tell apart by the Accept header.
    return (await answer(this.rest.GET('/v1/events', { params: { query } }))) as EventPage;
  }

  /** Follows the ledger; see {@link followEvents}. */
  events(options: FollowOptions): AsyncGenerator<Event> {
    return followEvents(this.options.baseUrl, this.send, options);
  }

  /**
   * Imports an image. In Node, `openAsBlob(path)` of `node:fs` gives a Blob that is read as it is sent.
   * @throws ProblemError nameTaken, badImage, unsupported, tooLarge
   */
  async imageUpload(
    project: string,
    image: { readonly name: string; readonly kind: 'oci' | 'disk' | 'iso' },
    file: Blob | ReadableStream<Uint8Array>,
    signal?: AbortSignal,
  ): Promise<Schemas['Imported']> {
    const url = this.url(`/v1/projects/${segment(project)}/images`, image);
    const init: RequestInit & { duplex: 'half' } = {
      method: 'POST',
      body: file,
      duplex: 'half',
      headers: { 'content-type': 'application/octet-stream' },
      ...(signal === undefined ? {} : { signal }),
    };
    const response = await this.send(new Request(url, init));
    if (!response.ok) throw await errorOf(response);
    return (await response.json()) as Schemas['Imported'];
  }

  /** What an instance printed. With `follow` it ends when the connection does: see {@link followLog}. @throws ProblemError */
  async logs(request: LogRequest): Promise<ReadableStream<Uint8Array>> {
    return (await this.logOpen(request)).body;
  }

  /** What an instance prints, over lost connections and into each next epoch; see {@link followLog}. */
  followLog(
    of: { readonly project: string; readonly instance: string },
    options: FollowLogOptions,
  ): AsyncGenerator<LogPiece> {
    const params = { path: { project: of.project, name: of.instance } };
    const { timestamps = false, format = 'text' } = options;
    const get = (signal: AbortSignal): Promise<Schemas['Instance']> =>
      answer(this.rest.GET('/v1/projects/{project}/instances/{name}', { params, signal }));
    return followLog(
      {
        open: (from, signal) => this.logOpen({ ...of, ...from, timestamps, format, follow: true, signal }),
        epoch: async (signal) => {
          const { epoch, phase } = (await get(signal)).status;
          return phase === null || phase === 'assigned' ? null : epoch;
        },
        changes: async (changed, signal) => {
          const { id } = await get(signal);
          const about = { project: of.project, objectKind: 'instance' as const, objectId: id };
          // What happened before a connection stands is not told.
          for await (const _ of this.events({ ...about, connected: changed, signal })) changed();
        },
      },
      options,
    );
  }

  /**
   * What an instance uses now: once, or after each interval until it runs no more. @throws ProblemError; UnreachableError when the
   * stream breaks off
   */
  async *stats({
    project,
    instance,
    signal,
    ...query
  }: StatsRequest): AsyncGenerator<Schemas['InstanceStats']> {
    const path = `/v1/projects/${segment(project)}/instances/${segment(instance)}/stats`;
    const url = this.url(path, {
      follow: String(query.follow),
      intervalSeconds: String(query.intervalSeconds),
    });
    const response = await this.send(new Request(url, signal === undefined ? {} : { signal }));
    if (!response.ok) throw await errorOf(response);
    if (response.body !== null) yield* jsonLines<Schemas['InstanceStats']>(response.body);
  }

  private async logOpen(request: LogRequest & { readonly after?: string }): Promise<LogAnswer> {
    const { project, instance, signal, ...query } = request;
    const path = `/v1/projects/${segment(project)}/instances/${segment(instance)}/logs`;
    const asked = Object.entries(query).filter(([, value]) => value !== undefined);
    const url = this.url(path, Object.fromEntries(asked.map(([name, value]) => [name, String(value)])));
    const response = await this.send(new Request(url, signal === undefined ? {} : { signal }));
    if (!response.ok) throw await errorOf(response);
    const [epoch, offset] = (response.headers.get('berth-log-start') ?? '').split('.').map(Number);
    return {
      start: epoch === undefined || offset === undefined ? null : { epoch, offset },
      gap: response.headers.get('berth-log-gap') === 'true',
      body: response.body ?? new ReadableStream({ start: (c) => c.close() }),
    };
  }

  /**
   * Asks for a ticket. The result is the address of a WebSocket that carries the terminal (docs/api-streams.md): it works
   * once, within 30 seconds. @throws ProblemError unsupported, stateConflict (does not run), unavailable, forbidden
   */
  async terminalAddress(request: TerminalRequest): Promise<URL> {
    // None is in the answer to a repeat, when the first answer was lost: then one with a key of its own.
    const secret = (await this.ticket(request)) ?? (await this.ticket(request));
    if (secret === null) throw new UnreachableError('the API gave no ticket', true);
    const url = this.url('/v1/console', { ticket: secret });
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    return url;
  }

  private async ticket({ project, instance, opens, signal }: TerminalRequest): Promise<string | null> {
    const params = { path: { project, name: instance } };
    const init = { params, ...(signal === undefined ? {} : { signal }) };
    const at = '/v1/projects/{project}/instances/{name}';
    const call =
      'console' in opens
        ? this.rest.POST(`${at}/console`, { ...init, body: opens.console })
        : 'display' in opens
          ? this.rest.POST(`${at}/display`, { ...init, body: opens.display })
          : 'attach' in opens
            ? this.rest.POST(`${at}/attach`, { ...init, body: opens.attach })
            : this.rest.POST(`${at}/exec`, { ...init, body: opens.exec });
    return (await answer(call)).secret;
  }

  /** What is on the screen of a running VM: a PNG file. @throws ProblemError */
  async screenshot(of: {
    readonly project: string;
    readonly instance: string;
    /** Which of its screens, counted from 0; the first when absent. */
    readonly head?: number;
    readonly signal?: AbortSignal;
  }): Promise<Uint8Array<ArrayBuffer>> {
    const { project, instance: name, head, signal } = of;
    const query = head === undefined ? {} : { query: { head } };
    const init = {
      params: { path: { project, name }, ...query },
      ...(signal === undefined ? {} : { signal }),
    };
    const path = '/v1/projects/{project}/instances/{name}/screenshot';
    const bytes = await answer(this.rest.GET(path, { ...init, parseAs: 'arrayBuffer' }));
    return new Uint8Array(bytes);
  }

  /** A file of a running VM, as its guest agent reads it; `sizeBytes` is null where the guest does not say. @throws ProblemError */
  async fileRead(
    of: FileOf,
  ): Promise<{ readonly sizeBytes: number | null; readonly body: ReadableStream<Uint8Array> }> {
    const response = await this.send(new Request(this.fileUrl(of, {}), signalOf(of)));
    if (!response.ok) throw await errorOf(response);
    const size = response.headers.get('berth-file-size');
    const body = response.body ?? new ReadableStream<Uint8Array>({ start: (c) => c.close() });
    return { sizeBytes: size === null ? null : Number(size), body };
  }

  /** Writes a file of a running VM by its guest agent; it is there when it is whole. @throws ProblemError */
  async fileWrite(
    of: FileOf & { readonly mode?: string },
    file: Blob | ReadableStream<Uint8Array>,
  ): Promise<Schemas['FileWritten']> {
    const url = this.fileUrl(of, of.mode === undefined ? {} : { mode: of.mode });
    const init: RequestInit & { duplex: 'half' } = {
      ...signalOf(of),
      method: 'PUT',
      body: file,
      duplex: 'half',
      headers: { 'content-type': 'application/octet-stream' },
    };
    const response = await this.send(new Request(url, init));
    if (!response.ok) throw await errorOf(response);
    return (await response.json()) as Schemas['FileWritten'];
  }

  /** The file of an export, from a byte on, while it is the one that `tag` stands for. @throws ProblemError */
  exportRead(of: PartOf & { readonly volume: string }): Promise<FileAnswer> {
    return this.filePart(`/v1/projects/${segment(of.project)}/volumes/${segment(of.volume)}/file`, of);
  }

  /** An image as a file, from a byte on, while it is the one that `tag` stands for. @throws ProblemError */
  imageRead(of: PartOf & { readonly image: string }): Promise<FileAnswer> {
    return this.filePart(`/v1/projects/${segment(of.project)}/images/${segment(of.image)}/file`, of);
  }

  private async filePart(route: string, { from, tag, signal }: PartOf): Promise<FileAnswer> {
    const headers = {
      ...(from === 0 ? {} : { range: `bytes=${from}-` }),
      ...(from === 0 || tag === null ? {} : { 'if-range': tag }),
    };
    const init: RequestInit = { headers, ...(signal === undefined ? {} : { signal }) };
    const response = await this.send(new Request(this.url(route, {}), init));
    if (!response.ok) throw await errorOf(response);
    const [, first, size] =
      /^bytes (\d+)-\d+\/(\d+)$/.exec(response.headers.get('content-range') ?? '') ?? [];
    return {
      from: Number(first ?? 0),
      sizeBytes: Number(size ?? response.headers.get('content-length')),
      tag: response.headers.get('etag'),
      body: response.body ?? new ReadableStream<Uint8Array>({ start: (c) => c.close() }),
    };
  }

  private fileUrl({ project, instance, path }: FileOf, query: Readonly<Record<string, string>>): URL {
    const route = `/v1/projects/${segment(project)}/instances/${segment(instance)}/files`;
    return this.url(route, { path, ...query });
  }

  private url(path: string, query: Readonly<Record<string, string>>): URL {
    const url = new URL(this.options.baseUrl + path);
    for (const [key, value] of Object.entries(query)) url.searchParams.set(key, value);
    return url;
  }
}

/**
 * A name as one segment of an address. URLs take `.` and `..` for steps between folders, however they are written, and an
 * empty name would address the list. @throws ProblemError invalid, as the API would answer
 */
function segment(name: unknown): string {
  const text = String(name);
  if (text !== '' && text !== '.' && text !== '..') return encodeURIComponent(text);
  const detail = `"${text}" is no name`;
  const remedy = 'names have lower-case letters, digits and "-"';
  throw new ProblemError({
    type: 'about:blank',
    title: 'Bad Request',
    status: 400,
    code: 'invalid',
    detail,
    remedy,
  });
}

/** One page of a list as the API gives it. */
interface Page<T> {
  readonly items: readonly T[];
  readonly nextCursor: string | null;
}

/** The items of all pages, at most `most`. `pageGet` asks for one page. @throws ProblemError, UnreachableError */
export async function everyPage<T>(
  pageGet: (query: { cursor?: string }) => Promise<Page<T>>,
  most = Infinity,
): Promise<T[]> {
  const items: T[] = [];
  let cursor: string | null = null;
  do {
    const page: Page<T> = await pageGet(cursor === null ? {} : { cursor });
    items.push(...page.items);
    cursor = page.nextCursor;
  } while (cursor !== null && items.length < most);
  return items.slice(0, most);
}

/** The body of an answer, or its error thrown. @throws ProblemError, UnreachableError */
export async function answer<T>(
  call: Promise<{ data?: T; error?: unknown; response: Response }>,
): Promise<NonNullable<T>> {
  const { data, error, response } = await call.catch((cause: unknown) => {
    if (!(cause instanceof SyntaxError)) throw cause;
    throw new UnreachableError('what answered speaks no JSON', true, { cause });
  });
  if (!response.ok) throw errorOfBody(response, error);
  return data as NonNullable<T>;
}
