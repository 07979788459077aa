import { chmodSync, rmSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { resolve as absolute } from 'node:path';
import { pipeline } from 'node:stream';
import type { WebSocket } from 'ws';
import { exitCodes, Failure, failureFrom } from './failure.js';
import { refusal } from './terminal-line.js';

/** A port of 127.0.0.1, 0 for a free one, or the path of a unix socket. */
export type Place = { readonly port: number } | { readonly path: string };

/** @throws Failure when it is neither a port nor a path */
export function placeOf(text: string | undefined): Place {
  if (text === undefined) return { port: 0 };
  if (text.includes('/')) return { path: absolute(text) };
  const port = Number(text);
  if (/^\d{1,5}$/.test(text) && port <= 65_535) return { port };
  throw new Failure(
    `--listen ${text} is neither a port nor a path\n  -> 5901, or ./db.sock: a path has a slash`,
    exitCodes.usage,
  );
}

export interface VncServeOptions {
  readonly place: Place;
  /** Asks the API for an address that works once. */
  readonly ticket: () => Promise<URL>;
  readonly signal: AbortSignal;
  readonly ready: (at: { readonly address: string; readonly viewer: string }) => void;
  /** For people: what became of a viewer. */
  readonly said: (line: string) => void;
}

/**
 * A VNC server of this machine alone: each viewer that connects is carried to the API as it is. One at a time; another one
 * is turned away. Ends with the signal. @throws Failure where the place cannot be had
 */
export async function vncServe(options: VncServeOptions): Promise<void> {
  const { place, signal } = options;
  let busy: Socket | null = null;
  const server = createServer((viewer) => {
    viewer.on('error', () => undefined);
    if (busy !== null) {
      options.said('a second viewer was turned away: one is served at a time');
      return void viewer.destroy();
    }
    busy = viewer;
    viewer.once('close', () => (busy = null));
    serve(viewer, options).then(
      (words) => options.said(words),
      (error: unknown) => {
        viewer.destroy();
        options.said(`the viewer was turned away: ${failureFrom(error).message}`);
      },
    );
  });
  await listening(server, place);
  options.ready(shown(server, place));
  await new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
  (busy as Socket | null)?.destroy();
  await new Promise((resolve) => server.close(resolve));
}

/** Resolves with how it ended. */
async function serve(viewer: Socket, { ticket }: VncServeOptions): Promise<string> {
  const { createWebSocketStream, WebSocket } = await import('ws');
  const socket = new WebSocket(await ticket(), { perMessageDeflate: false });
  viewer.once('close', () => socket.close());
  await opened(socket);
  const closed = new Promise<string>((resolve) =>
    socket.once('close', (_code, reason) => resolve(reason.toString() || 'the viewer has gone')),
  );
  const api = createWebSocketStream(socket);
  // Whoever does not read holds the other side up, and either end ends both.
  pipeline(viewer, api, viewer, () => socket.close());
  return closed;
}

function opened(socket: WebSocket): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('open', resolve).once('error', reject);
    socket.once(
      'unexpected-response',
      (_request, answer: IncomingMessage) => void refusal(answer).then(reject),
    );
  });
}

function listening(server: Server, place: Place): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const at = 'port' in place ? `port ${place.port} of 127.0.0.1` : place.path;
      const remedy =
        cause.code === 'EADDRINUSE' ? '\n  -> Something is there already: choose another place' : '';
      reject(new Failure(`cannot listen at ${at}: ${cause.message}${remedy}`));
    });
    const ready = (): void => {
      // Nobody else of this machine may look.
      if ('path' in place) chmodSync(place.path, 0o600);
      resolve();
    };
    if ('port' in place) server.listen(place.port, '127.0.0.1', ready);
    else server.listen(place.path, ready);
    server.once('close', () => {
      if ('path' in place) rmSync(place.path, { force: true });
    });
  });
}

function shown(server: Server, place: Place): { address: string; viewer: string } {
  if ('path' in place) return { address: place.path, viewer: `vncviewer ${place.path}` };
  const { port } = server.address() as AddressInfo;
  return { address: `127.0.0.1:${port}`, viewer: `vncviewer 127.0.0.1::${port}` };
}
