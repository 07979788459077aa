/** A string that QEMU's command line cannot carry. */
export class OptionError extends Error {
  constructor(what: string, value: string) {
    super(`QEMU's command line cannot carry ${what} ${JSON.stringify(value)}`);
    this.name = 'OptionError';
  }
}

export type OptionValue = string | number | boolean;

const FLAG = /^-[a-z][a-z-]*$/;
const KEY = /^[a-z][a-z0-9_-]*(\.[a-z][a-z0-9_-]*)*$/;
const HEAD = /^[a-zA-Z0-9][a-zA-Z0-9._-]*$/;

/**
 * One option of QEMU: `-flag head,key=value,…`. Flags, heads and keys are words of ours; values may be anything a
 * user wrote, because a doubled comma stands for one and nothing else is special (qemu(1), keyval syntax).
 * @param head the option's implied first value (`tap`, `virtio-blk-pci`); null for none
 * @param values those that are null are left out
 * @throws OptionError for a NUL, text that is not well-formed, or a flag, head or key that is no such word
 */
export function option(
  flag: string,
  head: string | null,
  values: Readonly<Record<string, OptionValue | null>> = {},
): [string, string] {
  if (!FLAG.test(flag)) throw new OptionError('the flag', flag);
  if (head !== null && !HEAD.test(head)) throw new OptionError('the word', head);
  const parts = head === null ? [] : [head];
  for (const [key, value] of Object.entries(values)) {
    if (!KEY.test(key)) throw new OptionError('the key', key);
    if (value !== null) parts.push(`${key}=${written(value)}`);
  }
  // Without any part QEMU would take the next option as this one's value.
  if (parts.length === 0) throw new OptionError('nothing after', flag);
  return [flag, parts.join(',')];
}

function written(value: OptionValue): string {
  if (typeof value === 'boolean') return value ? 'on' : 'off';
  const text = String(value);
  if (text.includes('\0') || /\p{Surrogate}/u.test(text)) throw new OptionError('the value', text);
  return text.replaceAll(',', ',,');
}
