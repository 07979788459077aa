import { Problem, retryable, type ErrorCode } from '@berth/model';

/** The API refused: its problem document (RFC 9457). */
export class ProblemError extends Error {
  override readonly name = 'ProblemError';

  constructor(readonly problem: Problem) {
    super(problem.detail);
  }
  get code(): ErrorCode {
    return this.problem.code;
  }
  get status(): number {
    return this.problem.status;
  }
  /** Whether the same request may succeed later. */
  get retryable(): boolean {
    return retryable(this.problem.code);
  }
}

/** No answer, or one that is not Berth's (a proxy's error page, another server). */
export class UnreachableError extends Error {
  override readonly name = 'UnreachableError';
}

/** The error of an answer that is not 2xx. */
export async function errorOf(response: Response): Promise<ProblemError | UnreachableError> {
  return errorOfBody(response, await response.text());
}

/** The same from a body that was read already, parsed or not. */
export function errorOfBody(response: Response, body: unknown): ProblemError | UnreachableError {
  const problem = Problem.safeParse(typeof body === 'string' ? parsed(body) : body);
  return problem.success
    ? new ProblemError(problem.data)
    : new UnreachableError(
        `${response.url} answered ${response.status} ${response.statusText} without a problem document`,
      );
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
