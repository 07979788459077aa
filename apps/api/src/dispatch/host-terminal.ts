import type { ClientHttp2Session, ClientHttp2Stream } from 'node:http2';
import { PassThrough } from 'node:stream';
import {
  LinkError,
  channelFrames,
  controlFrame,
  parseMessage,
  sendForStream,
  terminalFrames,
  terminalPath,
} from '@berth/link';
import { BerthError, TerminalEnd, terminalChannels } from '@berth/model';
import type { InstanceId, TerminalOpen, TerminalOrder } from '@berth/model';
import { z } from 'zod';

/** What a terminal says: bytes of a channel, or how it ended, which comes last. */
export type TerminalSaying =
  { readonly channel: 'output' | 'errorOutput'; readonly bytes: Buffer } | { readonly end: TerminalEnd };

/** The API's side of one terminal of a host: frames on one request of the link, both ways. */
export class HostTerminal {
  private constructor(
    private readonly body: PassThrough,
    private readonly stream: ClientHttp2Stream,
  ) {}

  /** @throws LinkError status, closed, timeout */
  static async open(
    h2: ClientHttp2Session,
    instanceId: InstanceId,
    open: TerminalOpen,
    signal: AbortSignal,
  ): Promise<HostTerminal> {
    const body = new PassThrough();
    body.on('error', () => undefined);
    body.write(controlFrame(open));
    try {
      const path = terminalPath(instanceId);
      return new HostTerminal(body, await sendForStream(h2, { method: 'POST', path, body, signal }));
    } catch (error) {
      body.destroy();
      throw error;
    }
  }

  /** For one reader. Ends without an `end` when this side closed it. @throws LinkError closed, when the host went away */
  async *sayings(): AsyncGenerator<TerminalSaying> {
    for await (const frame of terminalFrames(this.stream as AsyncIterable<Buffer>)) {
      if (frame.kind === 'control') {
        yield { end: parseMessage(TerminalEnd, frame.text) };
        return;
      }
      const channel = frame.kind === terminalChannels.errorOutput ? 'errorOutput' : 'output';
      yield { channel, bytes: frame.bytes };
    }
    if (!this.body.writableEnded) throw new LinkError('closed', 'the host ended the terminal');
  }

  /** Resolves when the link has room for more. */
  type(bytes: Uint8Array): Promise<void> {
    return this.send(channelFrames('input', bytes));
  }

  order(order: TerminalOrder): Promise<void> {
    return this.send(controlFrame(order));
  }

  close(): void {
    this.body.end();
    this.stream.close();
  }

  private async send(bytes: Buffer): Promise<void> {
    if (this.body.writableEnded || this.body.destroyed || this.body.write(bytes)) return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        this.body.off('drain', done).off('close', done);
        resolve();
      };
      this.body.once('drain', done).once('close', done);
    });
  }
}

const HostRefusal = z.object({
  code: z.string().optional(),
  message: z.string(),
  remedy: z.string().optional(),
});

/** Why a host gave no stream, for whoever asked for it. */
export function streamFault(cause: unknown, what: string): BerthError {
  if (cause instanceof BerthError) return cause;
  const status = cause instanceof LinkError ? cause.options.status : undefined;
  const refusal = refusalOf(cause);
  const options = { cause, ...(refusal.remedy === undefined ? {} : { remedy: refusal.remedy }) };
  if (refusal.code === 'noSuchFile' || refusal.code === 'fileRefused')
    return new BerthError(refusal.code, refusal.message ?? 'the guest refused it', options);
  if (status === 404) return new BerthError('notFound', `the host has no ${what} of this instance`, options);
  if (status === 501)
    return new BerthError('unsupported', refusal.message ?? `the driver has no ${what}`, options);
  if (status === 409)
    return new BerthError('stateConflict', refusal.message ?? 'the instance does not run', options);
  if (status === 400)
    return new BerthError('stateConflict', refusal.message ?? 'the host refused it', options);
  if (status === 429) return new BerthError('rateLimited', refusal.message ?? 'too many streams', options);
  const words = status === 503 ? refusal.message : undefined;
  return new BerthError('unavailable', words ?? 'the host of this instance did not answer', options);
}

/** The host's own words, which the link carries behind method, path and status. */
function refusalOf(cause: unknown): Partial<z.infer<typeof HostRefusal>> {
  const text = cause instanceof LinkError ? /\{.*\}$/s.exec(cause.message)?.[0] : undefined;
  if (text === undefined) return {};
  try {
    return HostRefusal.safeParse(JSON.parse(text)).data ?? {};
  } catch {
    return {};
  }
}
