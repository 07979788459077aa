import { ProblemError, UnreachableError } from '@berth/client';

/** An error as a person should read it: what happened, what to do, and where in a form. */
export interface Said {
  readonly text: string;
  readonly remedy: string | null;
  /** By JSON pointer into the request's body, for example `/spec/memoryMiB`. */
  readonly fields: Readonly<Record<string, string>>;
  readonly traceId: string | null;
}

export function said(error: unknown): Said {
  if (error instanceof ProblemError) {
    const { detail, remedy, errors, traceId } = error.problem;
    const fields = Object.fromEntries((errors ?? []).map((e) => [e.path, `${e.message}. ${e.remedy}`]));
    return { text: detail, remedy: remedy ?? null, fields, traceId: traceId ?? null };
  }
  if (error instanceof UnreachableError)
    return {
      text: 'Berth does not answer.',
      remedy:
        'Look at ./berth status on the machine of the API. This page goes on by itself when it is back.',
      fields: {},
      traceId: null,
    };
  return {
    text: error instanceof Error ? error.message : String(error),
    remedy: null,
    fields: {},
    traceId: null,
  };
}

/** The message of a field, or of what it holds: `/spec/process` also says what is wrong at `/spec/process/env`. */
export function fieldSaid(fields: Said['fields'], pointer: string): string | undefined {
  const key = Object.keys(fields).find((path) => path === pointer || path.startsWith(`${pointer}/`));
  return key === undefined ? undefined : fields[key];
}
