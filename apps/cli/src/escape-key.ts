import { exitCodes, Failure } from './failure.js';

/** The key that leaves a console. */
export interface EscapeKey {
  /** The byte it sends; null where no key leaves. */
  readonly byte: number | null;
  /** How people call it: `Ctrl-]`. */
  readonly name: string;
}

/** `^]` is Ctrl and ]; `none` is no key. @throws Failure for anything else */
export function escapeKey(text: string): EscapeKey {
  if (text === 'none') return { byte: null, name: 'no key' };
  const key = /^\^([A-Za-z[\]\\_^])$/.exec(text)?.[1];
  if (key === undefined)
    throw new Failure(
      `--escape ${text} is no key\n  -> Give Ctrl with a letter or one of [ ] \\ ^ _, as in ^] or ^a, or none`,
      exitCodes.usage,
    );
  return { byte: key.toUpperCase().charCodeAt(0) & 0x1f, name: `Ctrl-${key}` };
}

/** What was typed before the key, and whether it came. */
export function untilEscape(typed: Uint8Array, { byte }: EscapeKey): { send: Uint8Array; left: boolean } {
  const at = byte === null ? -1 : typed.indexOf(byte);
  return at === -1 ? { send: typed, left: false } : { send: typed.subarray(0, at), left: true };
}
