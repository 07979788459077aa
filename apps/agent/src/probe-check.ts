import { request } from 'node:http';
import { connect } from 'node:net';
import type { ProbeSpec } from '@berth/model';
import { RuntimeError } from '@berth/runtime';
import type { Runtime, Terminal, WorkloadKey } from '@berth/runtime';

/** Of a program's words, bytes; the rest is read and dropped. */
const wordsBytes = 512;
/** Of an answer's head, bytes. */
const headBytes = 16 * 1024;

/** What one question came to; `none` says nothing of the workload. */
export type Answer =
  { readonly kind: 'good' } | { readonly kind: 'bad'; readonly message: string } | { readonly kind: 'none' };

export interface ProbeTarget {
  readonly key: WorkloadKey;
  readonly runtime: Runtime;
  /** IPv4 address of its first nic; null without one. */
  readonly address: string | null;
}

/** An answer, and when nothing of its question is left in the workload. */
export interface Asked {
  readonly answer: Answer;
  readonly over: Promise<unknown>;
}

const good: Answer = { kind: 'good' };
const none: Answer = { kind: 'none' };
const bad = (message: string): Answer => ({ kind: 'bad', message: message.slice(0, wordsBytes) });
const nothing = Promise.resolve();

/**
 * Asks once. http and tcp go to its address from the host's end of its network: security groups ask guests, not the host
 * (ADR 26), so they neither help nor hinder. Never rejects.
 * @param late when the time of the question is over
 */
export async function probeAsk(probe: ProbeSpec, target: ProbeTarget, late: AbortSignal): Promise<Asked> {
  if (probe.exec !== undefined) return execAsk(probe.exec.command, target, late);
  const { address } = target;
  if (address === null) return { answer: bad('it has no nic to be asked at'), over: nothing };
  const answer =
    probe.http !== undefined
      ? await httpAsk(address, probe.http, late)
      : await tcpAsk(address, probe.tcp?.port ?? 0, late);
  return { answer, over: nothing };
}

function httpAsk(
  host: string,
  { port, path }: NonNullable<ProbeSpec['http']>,
  late: AbortSignal,
): Promise<Answer> {
  return new Promise((resolve) => {
    const asked = request(
      {
        host,
        port,
        path,
        agent: false,
        maxHeaderSize: headBytes,
        headers: { 'user-agent': 'berth-probe', connection: 'close' },
        signal: late,
      },
      (answer) => {
        const status = answer.statusCode ?? 0;
        answer.destroy(); // what it says further is not read
        resolve(status >= 200 && status < 400 ? good : bad(`answers ${status} to GET ${path}`));
      },
    );
    // An answer that was destroyed may fail once more, when nobody listens any longer.
    asked.on('error', (error) => resolve(bad(wordsOf(error, late))));
    asked.end();
  });
}

function tcpAsk(host: string, port: number, late: AbortSignal): Promise<Answer> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, signal: late });
    socket.once('connect', () => {
      resolve(good);
      socket.destroy();
    });
    socket.on('error', (error) => resolve(bad(wordsOf(error, late))));
  });
}

/** `ECONNREFUSED: connect ECONNREFUSED 10.0.0.2:80` has what matters; of a question that came too late only the time does. */
const wordsOf = (error: Error, late: AbortSignal): string =>
  late.aborted ? 'no answer in time' : error.message;

async function execAsk(
  command: readonly string[],
  { runtime, key }: ProbeTarget,
  late: AbortSignal,
): Promise<Asked> {
  let terminal: Terminal | undefined;
  try {
    terminal = await runtime.exec?.(key, { command: [...command], tty: false }, late);
  } catch (error) {
    // It is no longer there to be asked, or paused.
    if (error instanceof RuntimeError && error.code === 'notPrepared') return { answer: none, over: nothing };
    return { answer: late.aborted ? bad('no answer in time') : bad(String(error)), over: nothing };
  }
  if (terminal === undefined) return { answer: bad(`${runtime.name} runs no programs in it`), over: nothing };
  terminal.endInput();
  const words = firstWords(terminal);
  const over = terminal.ended;
  const end = await Promise.race([over, aborted(late)]);
  // Its terminal closes at the same moment, and tells no end then.
  if (end === 'late' || late.aborted) return { answer: bad('no answer in time'), over };
  if (end === null || end.reason === 'workloadEnded') return { answer: none, over };
  if (end.reason === 'failed') return { answer: bad(end.message), over };
  if (end.code === 0) return { answer: good, over };
  const said = await Promise.race([words, aborted(late).then(() => '')]);
  return { answer: bad(`exits with ${end.code}${said === '' ? '' : `: ${said}`}`), over };
}

/** The first words of its output, all of which is read: nobody else does, and what is not read holds it up. */
async function firstWords(terminal: Terminal): Promise<string> {
  const kept: Uint8Array[] = [];
  let room = wordsBytes;
  for await (const { bytes } of terminal.output) {
    if (room > 0) kept.push(bytes.slice(0, room));
    room -= Math.min(room, bytes.length);
  }
  return Buffer.concat(kept).toString('utf8').trim();
}

const aborted = (signal: AbortSignal): Promise<'late'> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve('late');
    else signal.addEventListener('abort', () => resolve('late'), { once: true });
  });
