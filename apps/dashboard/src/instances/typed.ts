/* What was typed, as what it means. Pure. */

/** What is no number is sent as it was typed, so that the API names the field. */
export function numberOf(text: string): number {
  return (/^\s*\d+\s*$/.test(text) ? Number(text) : text) as number;
}

/** Words, split by commas or blanks. */
export const listOf = (text: string): string[] => text.split(/[\s,]+/).filter((word) => word !== '');

/** Words as a shell would split them, by blanks, with single and double quotes; nothing is expanded. */
export function wordsOf(text: string): string[] {
  const words: string[] = [];
  let word: string | null = null;
  let quote: string | null = null;
  for (const c of text) {
    if (quote !== null) {
      if (c === quote) quote = null;
      else word = (word ?? '') + c;
    } else if (c === '"' || c === "'") {
      quote = c;
      word ??= '';
    } else if (/\s/.test(c)) {
      if (word !== null) words.push(word);
      word = null;
    } else word = (word ?? '') + c;
  }
  if (word !== null) words.push(word);
  return words;
}

/** `key=value`, several split by commas or lines; what has no `=` is a key without a value. */
export function pairsOf(text: string, between: ',' | '\n'): Record<string, string> {
  const parts = text
    .split(between)
    .map((p) => (between === ',' ? p.trim() : p.replace(/\r$/, '')))
    .filter((p) => p.trim() !== '');
  return Object.fromEntries(
    parts.map((p) => {
      const at = p.indexOf('=');
      return at === -1 ? [p.trim(), ''] : [p.slice(0, at).trim(), p.slice(at + 1)];
    }),
  );
}
