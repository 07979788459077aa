import { LinkError, channelFrames, controlFrame, parseMessage, terminalFrames } from '@berth/link';
import type { LinkAnswer, LinkRequest, TerminalFrame } from '@berth/link';
import { TerminalOpen, TerminalOrder, terminalChannels } from '@berth/model';
import type { InstanceId } from '@berth/model';
import { RuntimeError } from '@berth/runtime';
import type { Runtime, Terminal, WorkloadKey } from '@berth/runtime';
import type { AgentLog } from './log.js';
import type { Placements } from './placements.js';
import { refusalOf } from './refusal.js';

/** Terminals of one host at a time: each holds a stream of the link, which lists, reports and logs need too. */
const atOnce = 96;
/** Viewers of one display at a time: QEMU keeps a copy of the screen for each. */
const viewersAtOnce = 16;

/**
 * The agent's side of consoles, displays, attach and exec: opens what the request's first frame asks for, and carries frames both ways
 * until the process or the workload ends, or the API closes its body.
 */
export class Terminals {
  private open = 0;
  /** By instance and head. */
  private readonly viewers = new Map<string, number>();

  constructor(
    private readonly placements: Pick<Placements, 'newest'>,
    private readonly log: AgentLog,
  ) {}

  async serve(request: LinkRequest, instanceId: InstanceId): Promise<LinkAnswer> {
    if (this.open >= atOnce)
      return {
        status: 429,
        body: { code: 'rateLimited', message: `this host has ${atOnce} terminals open` },
      };
    const newest = this.placements.newest(instanceId);
    if ('refusal' in newest) return newest.refusal;
    this.open += 1;
    request.stream.once('close', () => (this.open -= 1));
    const frames = terminalFrames(request.stream as AsyncIterable<Buffer>);
    try {
      const wanted = await openingOf(frames);
      if (wanted.kind === 'display' && !this.lookedAt(`${instanceId} ${wanted.head ?? 0}`, request))
        return {
          status: 429,
          body: { code: 'rateLimited', message: `${viewersAtOnce} viewers look at this display` },
        };
      const terminal = await this.begin(newest.runtime, newest.key, wanted, request.signal);
      this.feed(frames, terminal).catch((err: unknown) => this.log.debug({ err }, 'a terminal lost its API'));
      return { status: 200, body: answer(terminal) };
    } catch (error) {
      return refusalOf(error);
    }
  }

  /** Counts a viewer until its request is over. False when there are enough. */
  private lookedAt(display: string, { stream }: LinkRequest): boolean {
    const now = this.viewers.get(display) ?? 0;
    if (now >= viewersAtOnce) return false;
    this.viewers.set(display, now + 1);
    const leave = (): void => {
      const left = (this.viewers.get(display) ?? 1) - 1;
      if (left > 0) this.viewers.set(display, left);
      else this.viewers.delete(display);
    };
    if (stream.destroyed) leave();
    else stream.once('close', leave);
    return true;
  }

  private begin(
    runtime: Runtime,
    key: WorkloadKey,
    wanted: TerminalOpen,
    signal: AbortSignal,
  ): Promise<Terminal> {
    if (wanted.kind === 'console' && runtime.console !== undefined)
      return runtime.console(key, wanted, signal);
    if (wanted.kind === 'display' && runtime.display !== undefined)
      return runtime.display(key, signal, wanted.head ?? 0);
    if (wanted.kind === 'attach' && runtime.attach !== undefined) return runtime.attach(key, wanted, signal);
    if (wanted.kind === 'exec' && runtime.exec !== undefined) return runtime.exec(key, wanted, signal);
    if (wanted.kind === 'exec' && runtime.guest !== undefined) return runtime.guest.exec(key, wanted, signal);
    throw new RuntimeError('unsupported', `the runtime ${runtime.name} of this host has no ${wanted.kind}`);
  }

  /** What the API sends, until it closes its body: then the terminal goes with it. */
  private async feed(frames: AsyncGenerator<TerminalFrame>, terminal: Terminal): Promise<void> {
    try {
      for await (const frame of frames) {
        if (frame.kind === 'control') obey(terminal, parseMessage(TerminalOrder, frame.text));
        else if (frame.kind === terminalChannels.input) await terminal.write(frame.bytes);
        else throw new LinkError('malformed', 'the API sent output');
      }
    } finally {
      terminal.close();
    }
  }
}

async function openingOf(frames: AsyncGenerator<TerminalFrame>): Promise<TerminalOpen> {
  const first = await frames.next();
  if (first.done === true || first.value.kind !== 'control')
    throw new LinkError('malformed', 'a terminal begins with what it is');
  return parseMessage(TerminalOpen, first.value.text);
}

function obey(terminal: Terminal, order: TerminalOrder): void {
  if (order.type === 'resize') terminal.resize({ columns: order.columns, rows: order.rows });
  else terminal.endInput();
}

async function* answer(terminal: Terminal): AsyncGenerator<Uint8Array> {
  try {
    for await (const { channel, bytes } of terminal.output) yield channelFrames(channel, bytes);
    const end = await terminal.ended;
    if (end !== null) yield controlFrame(end);
  } finally {
    terminal.close();
  }
}
