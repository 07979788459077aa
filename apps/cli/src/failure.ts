import { ProblemError, UnreachableError } from '@berth/client';
import type { Problem } from '@berth/model';

/** Exit codes of the command line; scripts may rely on them. */
export const exitCodes = {
  ok: 0,
  failed: 1,
  usage: 2,
  unreachable: 3,
  notFound: 4,
  refused: 5,
  timeout: 6,
  interrupted: 130,
} as const;
/** The same for people: the one table that help and docs/cli.md show. */
export const exitMeanings: Readonly<Record<keyof typeof exitCodes, string>> = {
  ok: 'done',
  failed: 'the operation failed, or the API made a mistake',
  usage: 'the command line, a file or the environment is not usable; nothing was sent',
  unreachable: 'the API cannot be reached',
  notFound: 'there is no such object, or it is not for this token to see',
  refused: 'the API refused: bad fields, a missing right, a conflict with what is there',
  timeout: 'not ended in time; the operation goes on',
  interrupted: 'Ctrl-C; what was asked for goes on',
};
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** A failure that is told in one place and ends the command with its code. */
export class Failure extends Error {
  override name = 'Failure';
  constructor(
    message: string,
    readonly exitCode: ExitCode = exitCodes.failed,
  ) {
    super(message);
  }
}

/** A program that was run elsewhere has ended: the command ends with the same code, and says nothing. */
export class ProgramEnded extends Error {
  override name = 'ProgramEnded';
  constructor(readonly exitCode: number) {
    super(`ended with ${exitCode}`);
  }
}

/** Any error as a failure of the command; one that nobody expected keeps its own message and stack. */
export function failureFrom(error: unknown): Failure {
  if (error instanceof Failure) return error;
  if (error instanceof ProblemError)
    return new Failure(problemText(error.problem), problemExit(error.status));
  if (error instanceof UnreachableError)
    return error.answered
      ? new Failure(`${error.message}\n  -> Is this the address of a Berth API? See BERTH_API`)
      : new Failure(
          `${error.message}\n  -> Start it with berth up, look with berth status, or set BERTH_API`,
          exitCodes.unreachable,
        );
  return new Failure((error as Error).message);
}

function problemExit(status: number): ExitCode {
  if (status === 404) return exitCodes.notFound;
  return status < 500 ? exitCodes.refused : exitCodes.failed;
}

const tokenRemedy =
  'The token is unknown, expired or revoked. Set BERTH_TOKEN to another; an administrator makes one with: berth token create NAME --role operator';

/** A problem document for people: what is wrong, each bad field, and what to do about it. */
export function problemText(p: Problem): string {
  const fields = (p.errors ?? []).flatMap((e) => [
    `  ${e.path === '' ? '(body)' : e.path}: ${e.message}`,
    ...(e.remedy === '' ? [] : [`    -> ${e.remedy}`]),
  ]);
  const next = p.status === 401 ? tokenRemedy : p.remedy;
  const remedy = next === undefined ? [] : [`  -> ${next}`];
  const trace = p.status >= 500 && p.traceId !== undefined ? [`  trace ${p.traceId}`] : [];
  return [`${p.detail} (${p.code})`, ...fields, ...remedy, ...trace].join('\n');
}
