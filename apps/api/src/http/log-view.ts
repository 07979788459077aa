import { BerthError, LogFrames, LogRenderer, type Instance, type LogForm } from '@berth/model';
import type { HttpDeps } from './deps.js';
import { kindOf } from './guest-refusal.js';

/** What of a log is to be seen, and how. */
export interface LogView extends LogForm {
  readonly tailBytes?: number | undefined;
  readonly tailLines?: number | undefined;
  /** Lines that were written then or later, milliseconds since 1970. */
  readonly since?: number | undefined;
}

/** Bytes as they are shown. */
export interface LogPart {
  readonly bytes: Uint8Array;
  /** When they were written, as of `LogView.since`; null where the log does not say. */
  readonly at: number | null;
}

/** Whether it needs to know when each line was written. */
const needsTimes = ({ format, timestamps, since }: LogView): boolean =>
  format === 'json' || timestamps || since !== undefined;

/** Whether its host can say where it begins: nothing but bytes is to be counted. */
export const onlyBytes = (view: LogView): boolean => !needsTimes(view) && view.tailLines === undefined;

/** Only the output of a container comes line by line through somebody who notes the time. @throws BerthError unsupported */
export function refuseTimes({ name, spec }: Instance, view: LogView): void {
  if (!needsTimes(view) || spec.isolation === 'container') return;
  const fields = {
    since: view.since !== undefined,
    timestamps: view.timestamps,
    format: view.format === 'json',
  };
  const remedy = 'Ask without it: tailLines and tailBytes say where to begin.';
  const message = 'this log does not say when a line was written, nor to which stream';
  const errors = Object.entries(fields)
    .filter(([, asked]) => asked)
    .map(([field]) => ({ path: `/${field}`, code: 'unsupported', message, remedy }));
  const kind = spec.isolation === 'vm' ? 'a virtual machine' : kindOf({ spec });
  const words = `The log of ${name} is the output of ${kind}, kept as its bytes came.`;
  throw new BerthError('unsupported', words, { remedy, errors });
}

/** The end of what a host keeps, as it was written. */
export function logTail(
  deps: Pick<HttpDeps, 'logs'>,
  instance: Instance,
  tailBytes: number | undefined,
  signal: AbortSignal,
): Promise<AsyncIterable<Uint8Array>> {
  return deps.logs(instance, { follow: false, ...(tailBytes === undefined ? {} : { tailBytes }) }, signal);
}

/** Everything a host keeps of an instance's log, shown as it is wanted; where it begins is not looked at. */
export async function logShown(
  deps: Pick<HttpDeps, 'logs'>,
  instance: Instance,
  view: LogView & { readonly follow: boolean },
  signal: AbortSignal,
): Promise<AsyncIterable<LogPart>> {
  const { follow } = view;
  const framed = needsTimes(view);
  const bytes = await deps.logs(instance, framed ? { follow, framed } : { follow }, signal);
  return framed ? rendered(bytes, new LogRenderer(view)) : plain(bytes);
}

async function* plain(log: AsyncIterable<Uint8Array>): AsyncGenerator<LogPart> {
  for await (const bytes of log) yield { bytes, at: null };
}

async function* rendered(log: AsyncIterable<Uint8Array>, renderer: LogRenderer): AsyncGenerator<LogPart> {
  const frames = new LogFrames();
  for await (const chunk of log)
    for (const frame of frames.feed(chunk))
      yield { bytes: renderer.show(frame), at: frame.time === null ? null : Date.parse(frame.time) };
}

/** Where a view begins in what is kept, which is fed part by part. */
export class LogBeginning {
  private total = 0;
  private since: number | null = null;
  /** Where the newest lines begin, as a ring; the next one's place is `lines % length`. */
  private readonly begins: number[] = [];
  private lines = 0;
  private fresh = true;

  constructor(private readonly view: LogView) {}

  feed({ bytes, at }: LogPart): void {
    const { since, tailLines } = this.view;
    if (since !== undefined && this.since === null && at !== null && at >= since) this.since = this.total;
    if (tailLines !== undefined) this.count(bytes, tailLines);
    this.total += bytes.length;
  }

  /** Bytes before it. */
  get offset(): number {
    const { since, tailBytes, tailLines } = this.view;
    return Math.max(
      since === undefined ? 0 : (this.since ?? this.total),
      tailBytes === undefined ? 0 : this.total - tailBytes,
      tailLines === undefined ? 0 : this.lineBegin(tailLines),
    );
  }

  private count(bytes: Uint8Array, most: number): void {
    for (let i = 0; i < bytes.length; i++) {
      if (this.fresh && most > 0) this.begins[this.lines++ % most] = this.total + i;
      this.fresh = bytes[i] === 10;
    }
  }

  private lineBegin(most: number): number {
    if (most === 0) return this.total;
    return this.lines <= most ? 0 : (this.begins[this.lines % most] ?? 0);
  }
}
