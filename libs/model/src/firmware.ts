import { z } from 'zod';

/** Least memory of a machine that UEFI firmware starts, MiB: it needs some 40 for itself before any system is loaded. */
export const UEFI_LEAST_MIB = 64;

/**
 * What starts a machine. UEFI keeps its variables (boot entries, enrolled keys) with the root disk; those with and without
 * secure boot are apart, because the keys that it trusts are among them.
 */
export const FirmwareSpec = z
  .strictObject({
    type: z.enum(['bios', 'uefi']),
    /** Only what is signed by a key that the firmware trusts is started: at first Microsoft's, as every distribution's loader is. */
    secureBoot: z.boolean().default(false),
  })
  .superRefine(({ type, secureBoot }, ctx) => {
    if (secureBoot && type === 'bios')
      ctx.addIssue({
        code: 'custom',
        path: ['secureBoot'],
        message: 'only with type uefi: a BIOS checks no signatures',
      });
  });
export type FirmwareSpec = z.infer<typeof FirmwareSpec>;

/** The same as one word, as hosts and their records have it. */
export const FirmwareKind = z.enum(['bios', 'uefi', 'secureBoot']);
export type FirmwareKind = z.infer<typeof FirmwareKind>;

/** Absent is BIOS, which every machine had before there was a choice. */
export function firmwareKind(firmware: FirmwareSpec | undefined): FirmwareKind {
  if (firmware?.type !== 'uefi') return 'bios';
  return firmware.secureBoot ? 'secureBoot' : 'uefi';
}

/** The facet of a host that has it; null where every host does. */
export function firmwareFacet(kind: FirmwareKind): Exclude<FirmwareKind, 'bios'> | null {
  return kind === 'bios' ? null : kind;
}
