import { z } from 'zod';
import type { Isolation } from './instance.js';

/** The longest time of grace, seconds. */
export const maxStopGraceSeconds = 3600;

/** Seconds that a guest gets to end by itself; 0 forces it at once. */
export const StopGrace = z.int().min(0).max(maxStopGraceSeconds);

/** Seconds a guest gets unless said: a machine shuts its system down, as a system container does; a process only handles a signal. */
const usual: Readonly<Record<Isolation, number>> = { vm: 30, microvm: 10, container: 10 };

/** Seconds that the guest of this spec gets to end by itself. */
export const stopGraceOf = (spec: {
  readonly isolation: Isolation;
  readonly system?: boolean | undefined;
  readonly stopGraceSeconds?: number | undefined;
}): number => spec.stopGraceSeconds ?? usual[spec.system === true ? 'vm' : spec.isolation];
