import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** What a server does with the n-th request for it (from 1). */
export type Behaviour = (request: IncomingMessage, response: ServerResponse, n: number) => void;

/** A web server of a test, on loopback, that does with each path what it is told to. */
export class SourceServer {
  readonly requests: {
    readonly path: string;
    readonly range: string | null;
    readonly ifRange: string | null;
  }[] = [];
  private readonly paths = new Map<string, { behaviour: Behaviour; seen: number }>();

  private constructor(private readonly server: Server) {}

  static async start(): Promise<SourceServer> {
    const server = createServer();
    const made = new SourceServer(server);
    server.on('request', (request, response) => made.answer(request, response));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return made;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** The address at which it behaves so from now on. */
  at(path: string, behaviour: Behaviour): string {
    this.paths.set(path, { behaviour, seen: 0 });
    return `http://127.0.0.1:${this.port}${path}`;
  }

  /** Ranges that were asked for at a path, in order; null for the whole. */
  ranges(path: string): (string | null)[] {
    return this.requests.filter((r) => r.path === path).map((r) => r.range);
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private answer(request: IncomingMessage, response: ServerResponse): void {
    const path = (request.url ?? '').split('?')[0] ?? '';
    const { range, 'if-range': ifRange } = request.headers;
    this.requests.push({ path, range: range ?? null, ifRange: (ifRange as string | undefined) ?? null });
    const known = this.paths.get(path);
    if (known === undefined) return void response.writeHead(404).end();
    known.behaviour(request, response, ++known.seen);
  }
}

interface FileOptions {
  readonly etag?: string;
  readonly lastModified?: string;
  /** False: ranges are ignored. */
  readonly ranges?: boolean;
  /** How many bytes of the n-th answer's body are sent before the connection is cut; Infinity: all. */
  readonly cut?: (n: number) => number;
}

/** A file as a web server gives it (RFC 9110 section 14), over a connection that may be cut. */
export function file(content: (n: number) => Buffer, o: (n: number) => FileOptions = () => ({})): Behaviour {
  return (request, response, n) => {
    const whole = content(n);
    const { etag, lastModified, ranges = true, cut = () => Infinity } = o(n);
    const asked = /^bytes=(\d+)-$/.exec(request.headers.range ?? '');
    const same =
      request.headers['if-range'] === undefined || request.headers['if-range'] === (etag ?? lastModified);
    const from = ranges && asked !== null && same ? Number(asked[1]) : 0;
    const headers: Record<string, string> = {
      ...(etag === undefined ? {} : { etag }),
      ...(lastModified === undefined ? {} : { 'last-modified': lastModified }),
      'content-length': String(whole.length - from),
    };
    if (from >= whole.length && from > 0) return void response.writeHead(416).end();
    if (from > 0) headers['content-range'] = `bytes ${from}-${whole.length - 1}/${whole.length}`;
    response.writeHead(from > 0 ? 206 : 200, headers);
    const body = whole.subarray(from);
    if (body.length <= cut(n)) return void response.end(body);
    response.write(body.subarray(0, cut(n)), () => response.destroy());
  };
}
