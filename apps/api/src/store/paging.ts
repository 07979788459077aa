import { BerthError } from '@berth/model';
import type { Page, PageRequest } from './rows.js';

const bad = (): BerthError =>
  new BerthError('invalid', 'the cursor is not one this API gave out', {
    errors: [
      {
        path: 'query/cursor',
        code: 'invalid',
        message: 'unknown cursor',
        remedy: 'use nextCursor of the page before, unchanged',
      },
    ],
  });

/** Where a page begins: the sort key of the last row before it, or null at the start. @throws invalid */
export function cursorRead(request: PageRequest, length: number): readonly string[] | null {
  if (request.cursor === undefined) return null;
  try {
    const key: unknown = JSON.parse(Buffer.from(request.cursor, 'base64url').toString());
    if (
      Array.isArray(key) &&
      key.length === length &&
      key.every((k) => typeof k === 'string' && !k.includes('\0'))
    )
      return key as string[];
  } catch {
    // falls through to the one refusal
  }
  throw bad();
}

export const limitOf = (request: PageRequest): number => Math.min(Math.max(request.limit ?? 100, 1), 1000);

/** Cuts rows read with LIMIT `limit + 1` into a page. */
export function pageOf<R, T>(
  rows: readonly R[],
  limit: number,
  key: (row: R) => readonly string[],
  map: (row: R) => T,
): Page<T> {
  const items = rows.slice(0, limit);
  const last = items.at(-1);
  return {
    items: items.map(map),
    nextCursor:
      rows.length > limit && last !== undefined
        ? Buffer.from(JSON.stringify(key(last))).toString('base64url')
        : null,
  };
}
