// Reads a source map (revision 3) for the few places that a stack trace names. Node's own reader makes an object of each of
// a hundred thousand positions, which takes a busy server half a second at its first error.

/** Values of the digits of base 64, by their character codes. */
const digits = new Uint8Array(128);
[...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'].forEach(
  (digit, value) => (digits[digit.charCodeAt(0)] = value),
);
const [COMMA, SEMICOLON] = [44, 59];
const ends = (code) => code === COMMA || code === SEMICOLON;
/** What is kept of each line of the program: where it begins in the mappings, and the source, line and column before it. */
const KEPT = 4;

export class SourceLines {
  #sources;
  #mappings;
  #lines;

  /** @param map parsed JSON */
  constructor({ sources, mappings }) {
    this.#sources = sources;
    this.#mappings = mappings;
    this.#lines = this.#index();
  }

  /**
   * Where a position of the program comes from, or null. All numbers count from 0.
   * @returns {{ source: string, line: number, column: number } | null}
   */
  find(row, column) {
    const first = row * KEPT;
    if (row < 0 || first >= this.#lines.length) return null;
    const [begin, ...before] = this.#lines.slice(first, first + KEPT);
    let found = null;
    this.#line(begin, before, (at, mapped, [source, line, col]) => {
      if (at > column) return false;
      found = mapped ? { source: this.#sources[source], line, column: col } : null;
      return true;
    });
    return found;
  }

  #index() {
    const kept = [];
    let begin = 0;
    const place = [0, 0, 0];
    while (begin <= this.#mappings.length) {
      kept.push(begin, ...place);
      begin = this.#line(begin, place, null) + 1;
    }
    return Int32Array.from(kept);
  }

  /**
   * Reads one line from where it begins and moves `place` along. `each` is told of every position and says whether to go on.
   * @returns where the line ends in the mappings
   */
  #line(begin, place, each) {
    const text = this.#mappings;
    let at = begin;
    let column = 0;
    while (at < text.length && text.charCodeAt(at) !== SEMICOLON) {
      let field = 0;
      for (; at < text.length && !ends(text.charCodeAt(at)); field++) {
        let value = 0;
        for (let shift = 0, digit = 32; digit >= 32; shift += 5) {
          digit = digits[text.charCodeAt(at++)];
          value |= (digit & 31) << shift;
        }
        const step = (value & 1) === 1 ? -(value >>> 1) : value >>> 1;
        // The fifth is a name, which nobody asks for.
        if (field === 0) column += step;
        else if (field < 4) place[field - 1] += step;
      }
      if (each !== null && !each(column, field > 1, place)) return at;
      if (text.charCodeAt(at) === COMMA) at++;
    }
    return at;
  }
}
