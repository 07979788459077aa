import { z } from 'zod';

const keyTypes =
  'ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\\.com';

/** One line of an authorized_keys file without options (sshd(8), AUTHORIZED_KEYS FILE FORMAT). */
export const SshPublicKey = z
  .string()
  .max(8192)
  .regex(
    new RegExp(`^(${keyTypes}) [A-Za-z0-9+/]{32,}={0,3}( [^\\p{Cc}]*)?$`, 'u'),
    'must be one public key as it is in a .pub file: type, key and an optional comment on one line',
  );

/** Who may sign in to a machine whose image has cloud-init. */
export const CloudInitSpec = z.strictObject({
  user: z
    .string()
    .regex(
      /^[a-z_][a-z0-9_-]{0,31}$/,
      'must be the name of a system user: lower-case letters, digits, "_" and "-"',
    )
    .optional()
    .describe('Made at the first boot, and may become root; the one that the image begins with when absent'),
  sshKeys: z
    .array(SshPublicKey)
    .min(1)
    .max(64)
    .describe('Public keys with which that user signs in; added to what the user data says'),
});
export type CloudInitSpec = z.infer<typeof CloudInitSpec>;

/** The files that a machine's cloud-init was given, as they are. */
export const CloudInitSeed = z
  .strictObject({
    metaData: z.string(),
    /** The user's, with what the spec adds. */
    userData: z.string(),
    /** What the spec adds to user data that cannot be added to: a script, or parts. */
    vendorData: z.string().nullable(),
    networkConfig: z.string(),
  })
  .meta({ id: 'CloudInitSeed' });
export type CloudInitSeed = z.infer<typeof CloudInitSeed>;
