import type { Instance } from '../api/client.js';

export type Verb = 'start' | 'stop' | 'restart' | 'pause' | 'resume' | 'suspend';

/** What makes sense to ask of an instance now; the API decides again. Pure. */
export function verbsFor(instance: Instance): Verb[] {
  const { state, power } = instance.status;
  if (state === 'deleting' || state === 'stopping') return [];
  if (state === 'paused') return ['resume', 'stop'];
  const wanted = instance.spec.desired;
  if (state === 'suspended') return ['resume', 'stop'];
  const ended = state === 'stopped' || state === 'error';
  if (ended) return ['start'];
  const verbs: Verb[] = ['stop'];
  if (state === 'running') verbs.push('restart');
  const machine = instance.spec.isolation !== 'container';
  if (state === 'running' && machine && power === 'running' && wanted === 'running')
    verbs.push('pause', ...(instance.spec.isolation === 'vm' ? (['suspend'] as const) : []));
  return verbs;
}
