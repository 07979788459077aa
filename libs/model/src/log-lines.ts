/*
 * Lines of a log that says when each was written: `<time> <stdout|stderr> <F|P> <text>`, the CRI log format, as conmon
 * writes it. `F` ends a line of the guest's, `P` is a part of one. No schemas here: it is read byte by byte.
 */

export type LogStream = 'stdout' | 'stderr';

export interface LogFrame {
  /** As it stands in the log, RFC 3339 with nanoseconds; null for a line in another form, which is taken as it is. */
  readonly time: string | null;
  readonly stream: LogStream;
  /** With it a line of the guest's ends; otherwise more of that line follows in the same stream. */
  readonly whole: boolean;
  readonly bytes: Uint8Array;
}

/** Takes frames out of chunks, and keeps an unfinished one. */
export class LogFrames {
  private rest: Uint8Array = new Uint8Array();

  feed(chunk: Uint8Array): LogFrame[] {
    const data = joined([this.rest, chunk]);
    const frames: LogFrame[] = [];
    let at = 0;
    for (let end = data.indexOf(newline); end >= 0; end = data.indexOf(newline, at)) {
      frames.push(frameOf(data.subarray(at, end)));
      at = end + 1;
    }
    this.rest = data.slice(at);
    return frames;
  }
}

/** How lines are shown. */
export interface LogForm {
  readonly format: 'text' | 'json';
  /** Each line begins with its time; JSON always has it. */
  readonly timestamps: boolean;
}

/**
 * Shows frames, one after the other from the first of a log: as the guest wrote them, or one JSON object for each,
 * `{"time", "stream", "text"}`, with `"partial": true` where the line goes on in the next object of the same stream. What
 * is no UTF-8 is replaced in JSON, and a character that two frames share is in the latter.
 */
export class LogRenderer {
  private readonly streams = { stdout: new Line(), stderr: new Line() };

  constructor(private readonly form: LogForm) {}

  show(frame: LogFrame): Uint8Array {
    const line = this.streams[frame.stream];
    if (this.form.format === 'json') {
      const text = line.text(frame);
      const of = { time: frame.time === null ? null : utcTime(frame.time), stream: frame.stream, text };
      return encoder.encode(`${JSON.stringify(frame.whole ? of : { ...of, partial: true })}\n`);
    }
    const begins = line.begins(frame);
    const time = this.form.timestamps && begins && frame.time !== null ? `${utcTime(frame.time)} ` : '';
    return joined([encoder.encode(time), frame.bytes, frame.whole ? lineEnd : none]);
  }
}

/** What is shown of a whole log as the guest wrote it. */
export const asWritten: LogForm = { format: 'text', timestamps: false };

const newline = 10;
const lineEnd = Uint8Array.of(newline);
const none = new Uint8Array();
const encoder = new TextEncoder();
const ascii = new TextDecoder('latin1');
const headForm = /^(\S+) (stdout|stderr) ([FP]) /;

/** The state of one stream. */
class Line {
  private fresh = true;
  private readonly decoder = new TextDecoder('utf-8', { ignoreBOM: true });

  begins({ whole }: LogFrame): boolean {
    const was = this.fresh;
    this.fresh = whole;
    return was;
  }

  text({ whole, bytes }: LogFrame): string {
    return this.decoder.decode(bytes, { stream: !whole });
  }
}

function frameOf(line: Uint8Array): LogFrame {
  const head = headForm.exec(ascii.decode(line.subarray(0, 64)));
  if (head === null) return { time: null, stream: 'stdout', whole: true, bytes: line };
  const [all, time = '', stream, tag] = head;
  return { time, stream: stream as LogStream, whole: tag === 'F', bytes: line.subarray(all.length) };
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** The same moment in UTC, with all its digits; as it is where it is no time. */
function utcTime(text: string): string {
  const moment = Date.parse(text);
  if (Number.isNaN(moment)) return text;
  const digits = /\.(\d+)/.exec(text)?.[1] ?? '000';
  return `${new Date(moment).toISOString().slice(0, 19)}.${digits}Z`;
}
