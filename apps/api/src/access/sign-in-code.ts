import { randomBytes } from 'node:crypto';
import { hashSecret } from './secret.js';

// Without 0, 1, I, L, O, U: read aloud or typed, no two look alike.
const alphabet = '23456789ABCDEFGHJKMNPQRSTVWXYZ';
const length = 12;

/**
 * A code for people: 12 letters of 30, 58 bits, in groups of four. Enough for a single use within minutes behind the
 * limit on failures; its hash is what is stored.
 */
export function makeSignInCode(): { plain: string; hash: string } {
  const letters: string[] = [];
  // Bytes from 240 on would favour some letters: they are thrown away.
  while (letters.length < length)
    for (const byte of randomBytes(length))
      if (byte < 240 && letters.length < length) letters.push(alphabet[byte % 30] as string);
  const text = letters.join('');
  return { plain: text.replace(/(.{4})(?=.)/g, '$1-'), hash: hashSecret(text) };
}

/** Hash of a code as somebody typed it (any case, spaces, dashes), or null when it cannot be one. */
export function signInCodeHash(typed: string): string | null {
  const text = typed.toUpperCase().replaceAll(/[\s-]/g, '');
  return text.length === length && [...text].every((c) => alphabet.includes(c)) ? hashSecret(text) : null;
}
