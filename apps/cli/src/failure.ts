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
} as const;
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

/** An answer of the API that is a problem document. */
export class ProblemFailure extends Failure {
  constructor(readonly problem: Problem) {
    super(
      problemText(problem),
      problem.status === 404
        ? exitCodes.notFound
        : problem.status < 500
          ? exitCodes.refused
          : exitCodes.failed,
    );
  }
}

/** A problem document for people: what is wrong, each bad field, and what to do about it. */
export function problemText(p: Problem): string {
  const fields = (p.errors ?? []).flatMap((e) => [
    `  ${e.path === '' ? '(body)' : e.path}: ${e.message}`,
    ...(e.remedy === '' ? [] : [`    -> ${e.remedy}`]),
  ]);
  const remedy = p.remedy === undefined ? [] : [`  -> ${p.remedy}`];
  const trace = p.status >= 500 && p.traceId !== undefined ? [`  trace ${p.traceId}`] : [];
  return [`${p.detail} (${p.code})`, ...fields, ...remedy, ...trace].join('\n');
}
