/** A state is told by a shape and a word; colour only helps. */
export type Tone = 'good' | 'busy' | 'wait' | 'off' | 'bad' | 'odd';

const tones: Readonly<Record<string, Tone>> = {
  running: 'good',
  ready: 'good',
  succeeded: 'good',
  usable: 'good',
  valid: 'good',
  pending: 'wait',
  new: 'wait',
  paused: 'off',
  suspended: 'off',
  stopped: 'off',
  cancelled: 'off',
  superseded: 'off',
  expired: 'off',
  revoked: 'off',
  absent: 'off',
  error: 'bad',
  failed: 'bad',
  unusable: 'bad',
  unknown: 'odd',
  silent: 'odd',
  unmeasured: 'odd',
};

/** Every state that passes by itself is busy. */
export const toneOf = (state: string): Tone => tones[state] ?? 'busy';

const shapes: Readonly<Record<Tone, string>> = {
  good: 'M6 1a5 5 0 1 1 0 10A5 5 0 0 1 6 1z',
  busy: 'M6 1a5 5 0 0 1 5 5H9a3 3 0 0 0-3-3z',
  wait: 'M2 1h8L7 6l3 5H2l3-5z',
  off: 'M2 2h8v8H2z',
  bad: 'M6 0l6 11H0z',
  odd: 'M6 0l6 6-6 6-6-6z',
};

export function Shape({ tone }: { tone: Tone }) {
  return (
    <svg className={`shape shape-${tone}`} viewBox="0 0 12 12" aria-hidden="true">
      <path d={shapes[tone]} />
    </svg>
  );
}

export function State({ state, tone = toneOf(state) }: { state: string; tone?: Tone }) {
  return (
    <span className={`state tone-${tone}`}>
      <Shape tone={tone} />
      {state}
    </span>
  );
}
