import { z } from 'zod';

/** Most screens of one machine. */
export const displaysMost = 4;

/** One screen of a machine, counted from 0: the first has the boot messages. */
export const Head = z
  .int()
  .min(0)
  .max(displaysMost - 1);

/** How many screens a spec asks for, where it is one of a machine that has any. */
export const displaysOf = (spec: { readonly displays?: number | undefined }): number => spec.displays ?? 1;
