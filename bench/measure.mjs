// Pairs taken in turn, and what can be said of them: medians, and the median of the per-pair ratios with its interval.

export const now = () => performance.now();
export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

let interrupted = false;
/** Ctrl-C or SIGTERM ends the measuring after the step under way, so that everything is cleaned up. */
export function endOnInterrupt() {
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => (interrupted = true));
}

/** Nearest-rank percentile of numbers. */
export function percentile(numbers, p) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(p * sorted.length) - 1))];
}
export const median = (numbers) => {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

/** Numbers in [0, 1) from a seed (mulberry32), so that the same results give the same interval. */
export function seeded(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Median of numbers and its 95 % interval: percentile bootstrap, 10,000 resamples. */
export function medianInterval(numbers, seed = 1) {
  const random = seeded(seed);
  const medians = Array.from({ length: 10_000 }, () =>
    median(numbers.map(() => numbers[Math.floor(random() * numbers.length)])),
  );
  return { median: median(numbers), low: percentile(medians, 0.025), high: percentile(medians, 0.975) };
}

/**
 * Runs each contender once per round, the order turned by one each round, until `rounds` are done or the time is up.
 * A contender is an async function of the round that gives milliseconds. Two rounds before the first warm up.
 * @returns milliseconds by contender; all lists have the same length
 */
export async function inTurn(contenders, { rounds, limitMs, progress }) {
  const names = Object.keys(contenders);
  const times = Object.fromEntries(names.map((name) => [name, []]));
  const end = now() + limitMs;
  for (let round = -2; round < rounds; round++) {
    if (round > 2 && now() > end) {
      progress(`the time is up after ${round} of ${rounds} rounds`);
      break;
    }
    const taken = {};
    for (let i = 0; i < names.length; i++) {
      if (interrupted) throw new Error('interrupted');
      const name = names[(i + round + 2 * names.length) % names.length];
      taken[name] = await contenders[name](round + 2);
    }
    if (round >= 0) for (const name of names) times[name].push(taken[name]);
    progress(
      `round ${round + 1} of ${rounds}: ${names.map((n) => `${n} ${taken[n].toFixed(1)} ms`).join(', ')}`,
    );
  }
  return times;
}

/** Fewer decide nothing: their interval is too narrow for what it claims. */
const pairsToDecide = 30;

/** An aim is met or missed when there are pairs enough and the whole interval says so. */
function verdict({ low, high }, pairs, aim) {
  if (pairs < pairsToDecide) return 'open';
  if (high <= aim) return 'met';
  return low > aim ? 'missed' : 'open';
}

/** One line of the results: us against a peer. `aim` is the ratio not to be above, or null. */
export function comparison(what, ours, peer, peerName, aim) {
  const ratio = medianInterval(ours.map((ms, i) => ms / peer[i]));
  return {
    what,
    peer: peerName,
    pairs: ours.length,
    ours: { p50: median(ours), p95: percentile(ours, 0.95) },
    theirs: { p50: median(peer), p95: percentile(peer, 0.95) },
    ratio,
    aim,
    verdict: aim === null ? null : verdict(ratio, ours.length, aim),
  };
}
