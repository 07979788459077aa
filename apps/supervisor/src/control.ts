import { createServer, request, type IncomingMessage, type Server } from 'node:http';
import { rmSync } from 'node:fs';
import type { Fleet, FleetStatus } from './fleet.js';

/** The daemon's door: HTTP over a root-only unix socket. */
export function controlServe(fleet: Fleet, socket: string, ended: () => void): Promise<Server> {
  const server = createServer((req, res) => {
    void answer(fleet, req, ended).then(
      (body) => res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body)),
      (error: Error) => res.writeHead(500).end(JSON.stringify({ error: error.message })),
    );
  });
  rmSync(socket, { force: true });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    // The socket is bound inside this call, so it is never open to others, not even for a moment.
    const before = process.umask(0o177);
    server.listen(socket, () => resolve(server));
    process.umask(before);
  });
}

async function answer(fleet: Fleet, req: IncomingMessage, ended: () => void): Promise<unknown> {
  switch (`${req.method} ${req.url}`) {
    case 'GET /status':
      return fleet.status();
    case 'POST /up': {
      const { hosts } = (await bodyOf(req)) as { hosts: number };
      void fleet.up(hosts).catch(() => undefined);
      return fleet.status();
    }
    case 'POST /down': {
      const { instances, timeoutMs } = (await bodyOf(req)) as {
        instances: 'stop' | 'leave';
        timeoutMs: number;
      };
      void fleet.down(instances, timeoutMs).then(ended, () => undefined);
      return fleet.status();
    }
    default:
      throw new Error(`no such request: ${req.method} ${req.url}`);
  }
}

async function bodyOf(req: IncomingMessage): Promise<unknown> {
  let text = '';
  for await (const chunk of req) text += String(chunk);
  return JSON.parse(text);
}

/** No daemon, or one that ended before, after or while it was asked. */
const gone: ReadonlySet<string> = new Set(['ENOENT', 'ECONNREFUSED', 'ECONNRESET', 'EPIPE']);

/** Asks the daemon; null when none listens. @throws Error when it refuses. */
export function controlAsk(
  socket: string,
  method: string,
  path: string,
  body?: unknown,
): Promise<FleetStatus | null> {
  return new Promise((resolve, reject) => {
    const req = request({ socketPath: socket, method, path, timeout: 5000 }, (res) => {
      let text = '';
      res.on('data', (chunk) => (text += String(chunk)));
      res.on('end', () => {
        const parsed = JSON.parse(text) as FleetStatus & { error?: string };
        if (res.statusCode === 200) resolve(parsed);
        else reject(new Error(parsed.error));
      });
      res.on('error', reject);
    });
    req.on('timeout', () => req.destroy(new Error('the supervisor did not answer within 5 s')));
    req.on('error', (error: NodeJS.ErrnoException) => {
      if (gone.has(error.code ?? '')) resolve(null);
      else reject(error);
    });
    req.end(body === undefined ? undefined : JSON.stringify(body));
  });
}
