import { retryable, type ErrorCode, type Problem } from '@berth/model';

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
  constructor(
    message: string,
    /** Whether something answered that is no Berth API. */
    readonly answered: boolean,
    options?: ErrorOptions,
    /** Whether it took the connection and then said nothing for the whole time allowed. */
    readonly silent = false,
  ) {
    super(message, options);
  }
}

/** The error of an answer that is not 2xx. */
export async function errorOf(response: Response): Promise<ProblemError | UnreachableError> {
  return errorOfBody(response, await response.text());
}

/** The same from a body that was read already, parsed or not. */
export function errorOfBody(response: Response, body: unknown): ProblemError | UnreachableError {
  const problem = typeof body === 'string' ? parsed(body) : body;
  if (isProblem(problem)) return new ProblemError(problem);
  const said = typeof body === 'string' ? body.slice(0, 300) : JSON.stringify(body)?.slice(0, 300);
  return new UnreachableError(
    `${response.url || 'the server'} answered ${response.status} ${said ?? ''}, which is no problem document`,
    true,
  );
}

// Members that are not known are let through (RFC 9457, section 3.2): an older client meets a newer API.
function isProblem(body: unknown): body is Problem {
  if (typeof body !== 'object' || body === null) return false;
  const { code, detail, status } = body as Partial<Record<keyof Problem, unknown>>;
  return typeof code === 'string' && typeof detail === 'string' && typeof status === 'number';
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
