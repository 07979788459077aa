import { z } from 'zod';
import { healthyType, readyType } from './conditions.js';
import { Name } from './ids.js';
import type { ProbeKind } from './health.js';
import type { ExitInfo, InstanceState } from './instance.js';

/** What an instance has to be before those that depend on it start; `completed`: it ended by itself, without a fault. */
export const DependencyCondition = z.enum(['running', 'ready', 'healthy', 'completed']);
export type DependencyCondition = z.infer<typeof DependencyCondition>;

export const Dependency = z.strictObject({
  /** Name of an instance of the project. */
  instance: Name,
  /** `ready` and `healthy` are what its readiness and liveness probes say. */
  condition: DependencyCondition.default('running'),
});
export type Dependency = z.infer<typeof Dependency>;

export const DependsOn = z
  .array(Dependency)
  .max(16)
  .refine((all) => new Set(all.map((d) => d.instance)).size === all.length, 'names an instance twice');

/** What its dependency is now. */
export interface DependencySeen extends Dependency {
  /** Null where the project has no such instance, or it is being deleted. */
  readonly state: InstanceState | null;
  /** Types of its conditions. */
  readonly conditions: readonly string[];
  /** How its last run ended. */
  readonly exit: Pick<ExitInfo, 'reason' | 'code'> | null;
  readonly probes: readonly ProbeKind[];
}

/** Why a start waits, in the words of the scheduler's filters. */
export interface Waiting {
  readonly need: string;
  readonly have: string;
  readonly message: string;
}

/** The probe by which a condition is known; null where none is asked. */
export const probeOfCondition = (condition: DependencyCondition): ProbeKind | null =>
  condition === 'ready' ? 'readiness' : condition === 'healthy' ? 'liveness' : null;

/** The first dependency that is not as it has to be; null where all are. Pure. */
export function waitingFor(seen: readonly DependencySeen[]): Waiting | null {
  for (const one of seen) {
    const have = shortOf(one);
    if (have === null) continue;
    const need = `${one.instance} ${one.condition}`;
    return { need, have, message: `waits until ${one.instance} is ${one.condition}: it is ${have}` };
  }
  return null;
}

/** What it is instead; null where it is as it has to be. */
function shortOf({ condition, state, conditions, exit, probes }: DependencySeen): string | null {
  if (state === null) return 'not there: create it, or take it out of dependsOn';
  if (condition === 'completed') {
    if (state !== 'stopped' && state !== 'error') return state;
    const done = exit?.reason === 'exited' ? exit.code === 0 : exit?.reason === 'guestShutdown';
    if (done) return null;
    const how =
      exit?.reason === 'exited' ? `ended with code ${exit.code}` : (exit?.reason ?? 'never started');
    return `${state}, ${how}: start it again`;
  }
  if (state !== 'running') return state;
  const probe = probeOfCondition(condition);
  if (probe === null || conditions.includes(condition === 'ready' ? readyType : healthyType)) return null;
  return probes.includes(probe) ? `not ${condition} yet` : `without a ${probe} probe, which would tell`;
}

/**
 * The circle that an instance would close, beginning and ending with its name; null where it closes none. Pure.
 * @param edges what the others depend on
 */
export function dependencyCycle(
  name: string,
  dependsOn: readonly string[],
  edges: ReadonlyMap<string, readonly string[]>,
): string[] | null {
  const dead = new Set<string>();
  const way = (at: string, before: readonly string[]): string[] | null => {
    if (at === name) return [...before, at];
    if (dead.has(at)) return null;
    dead.add(at); // whatever leads on from here is looked at once
    for (const next of edges.get(at) ?? []) {
      const found = way(next, [...before, at]);
      if (found !== null) return found;
    }
    return null;
  };
  for (const first of dependsOn) {
    const found = way(first, [name]);
    if (found !== null) return found;
  }
  return null;
}
