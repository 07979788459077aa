/** The newest rows of a table of numbers, in a fixed piece of memory. A cell that is not known is NaN. */
export class Ring {
  private readonly times: Uint32Array;
  private readonly cells: Float32Array;
  private next = 0;
  private held = 0;

  constructor(
    private readonly capacity: number,
    private readonly columns: number,
  ) {
    this.times = new Uint32Array(capacity);
    this.cells = new Float32Array(capacity * columns);
  }

  /** @param at seconds since the epoch */
  push(at: number, row: readonly number[]): void {
    this.times[this.next] = at;
    this.cells.set(row, this.next * this.columns);
    this.next = (this.next + 1) % this.capacity;
    this.held = Math.min(this.held + 1, this.capacity);
  }

  /**
   * Each column as `count` means over `step` seconds, the first beginning at `from`; null where no row with a number
   * falls into one.
   */
  means(from: number, step: number, count: number): (number | null)[][] {
    const sums = new Float64Array(count * this.columns);
    const rows = new Uint32Array(count * this.columns);
    for (let i = 0; i < this.held; i++) {
      const bucket = Math.floor((this.times[i]! - from) / step);
      if (bucket < 0 || bucket >= count) continue;
      for (let c = 0; c < this.columns; c++) {
        const cell = this.cells[i * this.columns + c]!;
        if (Number.isNaN(cell)) continue;
        sums[c * count + bucket]! += cell;
        rows[c * count + bucket]! += 1;
      }
    }
    return Array.from({ length: this.columns }, (_, c) =>
      Array.from({ length: count }, (__, bucket) => {
        const n = rows[c * count + bucket]!;
        return n === 0 ? null : sums[c * count + bucket]! / n;
      }),
    );
  }
}
