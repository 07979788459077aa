import type { LogBegin, LogForms, LogPiece } from '@berth/client';
import { once } from 'node:events';
import { timeOf } from '../moments.js';
import { examples, note, untilInterrupted, wholeNumber, type Commands, type Session } from '../session.js';

interface LogsOptions {
  readonly follow: boolean;
  readonly tailBytes?: number;
  readonly tail?: number;
  readonly since?: string;
  readonly timestamps: boolean;
}

export const logsCommands: Commands = (program, session) => {
  const logs = program
    .command('logs <name>')
    .description(
      'what an instance printed: serial output of a VM, output of a container; of a container with -o json an object for each line',
    )
    .option(
      '-f, --follow',
      'go on with what comes, over lost connections and into each next start, until it is deleted',
      false,
    )
    .option('-n, --tail <lines>', 'begin this many lines before the end', (t) => wholeNumber('--tail', t))
    .option('--tail-bytes <n>', 'begin this many bytes before the end', (t) => wholeNumber('--tail-bytes', t))
    .option(
      '--since <time>',
      'of a container: begin so long ago (90s, 10m, 2h, 1d), or at a time (2026-01-31T08:00:00Z)',
    )
    .option('-t, --timestamps', 'of a container: begin each line with its time', false)
    .action(async (name: string, options: LogsOptions) => {
      const s = session();
      const view = viewOf(s, options);
      if (options.follow) return logsFollow(s, name, view);
      for await (const chunk of await s.api.logs({ project: s.project, instance: name, ...view }))
        process.stdout.write(chunk);
    });
  examples(
    logs,
    `berth logs web
     berth logs web --tail 20
     berth logs cache --since 10m --timestamps
     berth logs web --tail-bytes 4096
     berth -o json logs cache
     berth logs -f web`,
  );
};

/** What the API is asked for. */
function viewOf(s: Session, { tail, tailBytes, since, timestamps }: LogsOptions): LogBegin & LogForms {
  return {
    ...(tail === undefined ? {} : { tailLines: tail }),
    ...(tailBytes === undefined ? {} : { tailBytes }),
    ...(since === undefined ? {} : { since: timeOf('--since', since, new Date()) }),
    ...(timestamps ? { timestamps } : {}),
    ...(s.format === 'json' ? { format: 'json' as const } : {}),
  };
}

/** Until Ctrl-C, or the end of the instance. @throws Failure interrupted */
async function logsFollow(s: Session, name: string, view: LogBegin & LogForms): Promise<void> {
  await untilInterrupted(async (signal) => {
    const of = { project: s.project, instance: name };
    let before = 0;
    for await (const piece of s.api.followLog(of, { ...view, signal })) {
      if (piece.type === 'bytes') {
        if (!process.stdout.write(piece.bytes)) await once(process.stdout, 'drain', { signal });
      } else before = noteOf(piece, name, before);
    }
    if (!signal.aborted) note(`${name} was deleted`);
  });
}

/** Says what is no output. The result is the epoch. */
function noteOf(piece: Exclude<LogPiece, { type: 'bytes' }>, name: string, before: number): number {
  if (piece.type === 'gap') {
    note(`some of what ${name} printed is missing here: its host has dropped it`);
    return before;
  }
  if (before > 0) note(`${name} was started anew (epoch ${piece.epoch})`);
  return piece.epoch;
}
