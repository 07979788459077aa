import { BerthError, type FieldError } from '@berth/model';
import type { ArgumentMetadata, PipeTransform } from '@nestjs/common';
import { z } from 'zod';

type Issue = z.core.$ZodIssue;

/** JSON pointer (RFC 6901) of a path, with the part of the request in front when it is not the body. */
export function pointer(part: 'body' | 'query' | 'path', path: readonly PropertyKey[]): string {
  const escaped = path.map((p) => String(p).replaceAll('~', '~0').replaceAll('/', '~1'));
  return part === 'body' ? escaped.map((p) => `/${p}`).join('') : [part, ...escaped].join('/');
}

/** Every issue as fields a client can point at, each with what to do about it. */
export function fieldErrors(part: 'body' | 'query' | 'path', issues: readonly Issue[]): FieldError[] {
  const all = issues.flatMap((issue) => fieldErrorsOf(part, issue));
  // A number beyond every bound fails the integer's own and the field's: the field's comes last and is the one to meet.
  return all.filter(
    (e, i) =>
      !all
        .slice(i + 1)
        .some((later) => later.path === e.path && later.code === e.code && e.code === 'outOfRange'),
  );
}

function fieldErrorsOf(part: 'body' | 'query' | 'path', issue: Issue): FieldError[] {
  if (issue.code === 'unrecognized_keys')
    return issue.keys.map((key) => ({
      path: pointer(part, [...issue.path, key]),
      code: 'unknownField',
      message: `Unknown field "${key}"`,
      remedy: 'Leave it out; /v1/openapi.json lists the fields there are.',
    }));
  const inner = nested(issue);
  if (inner !== null) return fieldErrors(part, inner);
  return [
    { path: pointer(part, issue.path), code: codeOf(issue), message: issue.message, remedy: remedyOf(issue) },
  ];
}

/** Issues inside a record's key or a union whose option is clear, with their full path. */
function nested(issue: Issue): Issue[] | null {
  if (issue.code === 'invalid_key' || issue.code === 'invalid_element')
    return issue.issues.map((i) => ({ ...i, path: [...issue.path, ...i.path] }));
  return null;
}

function codeOf(issue: Issue): string {
  switch (issue.code) {
    case 'invalid_type':
      return isMissing(issue) ? 'required' : 'wrongType';
    case 'too_big':
    case 'too_small':
      return 'outOfRange';
    case 'invalid_value':
      return 'notOneOf';
    case 'invalid_format':
      return 'wrongFormat';
    default:
      return 'invalid';
  }
}

function remedyOf(issue: Issue): string {
  switch (issue.code) {
    case 'invalid_type':
      return isMissing(issue) ? `Add the field (${issue.expected}).` : `Send ${article(issue.expected)}.`;
    case 'too_big':
      return `Send at most ${String(issue.maximum)}${unit(issue.origin)}.`;
    case 'too_small':
      return `Send at least ${String(issue.minimum)}${unit(issue.origin)}.`;
    case 'invalid_value':
      return `Send one of: ${issue.values.map(String).join(', ')}.`;
    case 'invalid_format':
      return issue.format === 'regex'
        ? 'Send text of the form that the message names.'
        : `Send a valid ${issue.format}.`;
    case 'custom':
      return 'Change or leave out the field as the message says.';
    default:
      return 'Send a value that fits the schema in /v1/openapi.json.';
  }
}

function isMissing(issue: Issue): boolean {
  return / received undefined$/.test(issue.message);
}

function article(type: string): string {
  return /^[aeiou]/.test(type) ? `an ${type}` : `a ${type}`;
}

function unit(origin: string): string {
  return origin === 'string' ? ' characters' : origin === 'array' || origin === 'set' ? ' items' : '';
}

const parts = { body: 'body', query: 'query', param: 'path' } as const;

/** Text that Postgres cannot hold: NUL, and halves of surrogate pairs. Refused here, so that no schema has to think of it. */
function unstorable(value: unknown, path: readonly PropertyKey[] = []): (readonly PropertyKey[])[] {
  if (typeof value === 'string') return /\0|\p{Surrogate}/u.test(value) ? [path] : [];
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, v]) => [
    ...unstorable(key, [...path, key]),
    ...unstorable(v, [...path, key]),
  ]);
}

function refusal(errors: readonly FieldError[]): BerthError {
  return new BerthError(
    'invalid',
    `${errors.length === 1 ? 'A field is' : `${errors.length} fields are`} not valid.`,
    {
      remedy: 'Correct the fields listed in errors; nothing was changed.',
      errors,
    },
  );
}

/** Parses a value or throws `invalid` with every bad field. */
export function parse<T>(part: 'body' | 'query' | 'path', schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value);
  if (!result.success) throw refusal(fieldErrors(part, result.error.issues));
  const bad = unstorable(result.data).map((path) => ({
    path: pointer(part, path),
    code: 'wrongFormat',
    message: 'must be well-formed Unicode without NUL',
    remedy: 'Remove the character.',
  }));
  if (bad.length > 0) throw refusal(bad);
  return result.data;
}

/**
 * Runs the schema that a handler's parameter names (`@Body({ schema })`, `@Query({ schema })`, `@Param({ schema })`).
 * Path parameters are never `invalid`: a name that cannot exist is looked up and not found, like any other.
 */
export class SchemaPipe implements PipeTransform {
  transform(value: unknown, metadata: ArgumentMetadata): unknown {
    if (!(metadata.schema instanceof z.ZodType) || metadata.type === 'custom') return value;
    return parse(parts[metadata.type], metadata.schema, value ?? (metadata.type === 'body' ? undefined : {}));
  }
}
