import { z } from 'zod';

/** The processor of the host as it is; only under KVM. */
export const HOST_PASSTHROUGH = 'host-passthrough';

/** QEMU's own words for no model in particular. */
const noModels = new Set(['host', 'base']);

export const CpuSpec = z.strictObject({
  /**
   * What processor the guest sees: a name of QEMU's (`Nehalem`, `EPYC`), `max` for all that the host can give, or
   * `host-passthrough` (with `placement.accel` `kvm`). GET /v1/hosts/{host} lists the names that a host has.
   */
  model: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/, 'the name of a model, as GET /v1/hosts/{host} lists them')
    .refine((name) => !noModels.has(name), 'is no model: use host-passthrough or max'),
});
export type CpuSpec = z.infer<typeof CpuSpec>;

/** Names of models whose every feature a host has, by acceleration. `host-passthrough` is not among them. */
export const CpuModels = z.strictObject({
  tcg: z.array(z.string()).max(512),
  /** Empty where KVM is not usable. */
  kvm: z.array(z.string()).max(512),
});
export type CpuModels = z.infer<typeof CpuModels>;
