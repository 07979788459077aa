/**
 * Characters that steer a terminal or turn the reading direction: controls (C0, DEL, C1) and formats (bidirectional marks,
 * zero-width). What a guest or a user wrote must show as what it is.
 */
const steering = /[\p{Cc}\p{Cf}\u2028\u2029]/gu;

/** One line of text that is safe to show; each such character is a question mark. */
export const plainLine = (text: string): string => text.replace(steering, '?');

/** The same for several lines. */
export const plainText = (text: string): string => text.split('\n').map(plainLine).join('\n');

/** JSON, or YAML whose strange strings are double-quoted, with such characters as escapes: the same value, safe to show. */
export function escaped(document: string): string {
  return document.replace(steering, (c) => {
    if (c === '\n') return c;
    return c.replace(/[\s\S]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
  });
}

export const isStrange = (text: string): boolean => text.search(steering) !== -1;

export const isTerminal = (stream: { readonly isTTY?: boolean }): boolean => stream.isTTY === true;
