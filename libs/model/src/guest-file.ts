import { z } from 'zod';

/** Largest file that is copied into or out of a guest, bytes. */
export const fileMaxBytes = 16 * 1024 ** 3;

/** A file in a guest. */
export const GuestPath = z
  .string()
  .max(4000)
  .startsWith('/', 'must be absolute')
  .refine((path) => !path.includes('\0'), 'must not contain NUL')
  .refine((path) => !path.endsWith('/'), 'must name a file, not a directory');

/** Permissions, as chmod takes them. */
export const FileMode = z.string().regex(/^[0-7]{3,4}$/, 'must be octal, as 0644');

export const FileTarget = z.strictObject({ path: GuestPath, mode: FileMode });
export type FileTarget = z.infer<typeof FileTarget>;
