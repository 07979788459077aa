/** Chance that a seed repeats: mulberry32, small and the same on every machine. Numbers in [0, 1). */
export function chanceOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** The seed a test runs with: `BERTH_SEED` repeats one. Print it in the test's name. */
export const seedOfRun = (): number =>
  Number(process.env['BERTH_SEED'] ?? Math.trunc(Math.random() * 2 ** 31));

/** A whole number in [0, `below`), and one of some, by a chance. */
export function dice(chance: () => number): {
  below: (n: number) => number;
  pick: <T>(of: readonly T[]) => T;
} {
  const below = (n: number): number => Math.trunc(chance() * n);
  return { below, pick: (of) => of[below(of.length)] as (typeof of)[number] };
}
