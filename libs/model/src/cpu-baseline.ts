import { z } from 'zod';
import { CpuModels } from './cpu.js';
import { Name } from './ids.js';

/**
 * Families of processors that QEMU names, the poorest in features first. Between makers the order is by age: a guest that may run on
 * both finds a model of before they parted.
 */
const families = [
  ...['486', 'pentium', 'pentium2', 'pentium3', 'athlon', 'qemu32', 'kvm32', 'coreduo', 'n270'],
  ...['qemu64', 'kvm64', 'core2duo', 'Opteron_G1', 'Conroe', 'Opteron_G2', 'Penryn', 'phenom', 'Opteron_G3'],
  ...['Nehalem', 'Westmere', 'Opteron_G4', 'SandyBridge', 'Opteron_G5', 'IvyBridge', 'Haswell', 'Broadwell'],
  ...['Skylake-Client', 'Denverton', 'Dhyana', 'EPYC', 'Skylake-Server', 'Snowridge', 'Cascadelake-Server'],
  ...['Cooperlake', 'EPYC-Rome', 'Icelake-Server', 'EPYC-Milan', 'SapphireRapids', 'EPYC-Genoa'],
];

/** What the names of QEMU add to a family: `-noTSX` takes something from it, `-IBRS` and `-IBPB` give it something. */
const NAME = /^(.+?)(-noTSX)?(-IBRS|-IBPB)?$/;

/** How much a model is worth; null for one that is not known here, as `max`, which is another processor on each host. */
export function cpuRank(model: string): number | null {
  const [, family = '', less, more] = NAME.exec(model) ?? [];
  const place = families.indexOf(family);
  return place === -1 ? null : place * 4 + (more === undefined ? 0 : 2) + (less === undefined ? 1 : 0);
}

/** The best model that hosts have in common, of what each lists. Null when there is none, or no host. */
export function cpuBaseline(hosts: readonly (readonly string[])[]): string | null {
  const [first = [], ...others] = hosts;
  let best: { readonly model: string; readonly rank: number } | null = null;
  for (const model of first) {
    const rank = cpuRank(model);
    if (rank === null || rank <= (best?.rank ?? -1)) continue;
    if (others.every((models) => models.includes(model))) best = { model, rank };
  }
  return best?.model ?? null;
}

/** Acceleration under which guests are to have it. */
export const BaselineAccel = z.enum(CpuModels.keyof().options);

/** The processor that guests of a group of hosts can have on each of them. */
export const CpuBaseline = z
  .strictObject({
    accel: BaselineAccel,
    model: z
      .string()
      .nullable()
      .describe('The best model that all of them can give; null where there is none'),
    hosts: z.array(Name).describe('The group'),
    without: z
      .array(Name)
      .describe('Those of them that list no model for this acceleration, for which there is no baseline'),
  })
  .meta({ id: 'CpuBaseline' });
export type CpuBaseline = z.infer<typeof CpuBaseline>;
