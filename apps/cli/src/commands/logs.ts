import type { LogPiece } from '@berth/client';
import { once } from 'node:events';
import { examples, note, untilInterrupted, wholeNumber, type Commands, type Session } from '../session.js';

interface LogsOptions {
  readonly follow: boolean;
  readonly tailBytes?: number;
}

export const logsCommands: Commands = (program, session) => {
  const logs = program
    .command('logs <name>')
    .description('what an instance printed: serial output of a VM, output of a container')
    .option(
      '-f, --follow',
      'go on with what comes, over lost connections and into each next start, until it is deleted',
      false,
    )
    .option('--tail-bytes <n>', 'begin this many bytes before the end', (t) => wholeNumber('--tail-bytes', t))
    .action(async (name: string, options: LogsOptions) => {
      const s = session();
      if (options.follow) return logsFollow(s, name, options);
      const { tailBytes } = options;
      const tail = tailBytes === undefined ? {} : { tailBytes };
      for await (const chunk of await s.api.logs({ project: s.project, instance: name, ...tail }))
        process.stdout.write(chunk);
    });
  examples(
    logs,
    `berth logs web
     berth logs web --tail-bytes 4096
     berth logs -f web`,
  );
};

/** Until Ctrl-C, or the end of the instance. @throws Failure interrupted */
async function logsFollow(s: Session, name: string, { tailBytes }: LogsOptions): Promise<void> {
  await untilInterrupted(async (signal) => {
    const of = { project: s.project, instance: name };
    const options = { signal, ...(tailBytes === undefined ? {} : { tailBytes }) };
    let before = 0;
    for await (const piece of s.api.followLog(of, options)) {
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
