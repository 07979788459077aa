/** Modes that are on in a terminal before anybody switches one: line wrap, and the cursor shown. */
const onAtFirst: ReadonlySet<string> = new Set(['7', '25']);

/** Longest sequence that is looked for, characters: one may come in two pieces. */
const longest = 64;

/** A sequence that is whole, or none of the kind that is looked for. */
// eslint-disable-next-line no-control-regex -- sequences begin with a control character
const settled = /^\u001b(?:[^[]|\[[^@-~]*[@-~])/;

/**
 * What a guest switched in the terminal that shows it (DEC private modes: cursor, mouse, bracketed paste, second screen), so
 * that it can be switched back when the guest is left in the middle of it.
 */
export class TerminalModes {
  private readonly switched = new Map<string, boolean>();
  private held = '';

  /** Output on its way to the terminal. */
  see(bytes: Uint8Array): void {
    const text = this.held + Buffer.from(bytes).toString('latin1');
    // eslint-disable-next-line no-control-regex -- the sequences that are looked for begin with one
    for (const [, modes = '', set] of text.matchAll(/\u001b\[\?([\d;]{1,40})([hl])/g))
      for (const mode of modes.split(';')) this.switched.set(mode, set === 'h');
    const at = text.lastIndexOf('\u001b');
    this.held =
      at !== -1 && text.length - at <= longest && !settled.test(text.slice(at)) ? text.slice(at) : '';
  }

  /** What brings the terminal back; it also ends colours. */
  undo(): string {
    const back = [...this.switched]
      .filter(([mode, on]) => on !== onAtFirst.has(mode))
      .map(([mode, on]) => `\u001b[?${mode}${on ? 'l' : 'h'}`);
    return `${back.join('')}\u001b[0m`;
  }
}
