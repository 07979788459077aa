import { z } from 'zod';

/*
 * What a machine says of itself, through the agent inside it. Whoever owns the guest decides what that is: it is bounded
 * where it comes in, and nothing is decided by it.
 */

const text = z.string().max(256);

export const GuestAddress = z.strictObject({
  family: z.enum(['ipv4', 'ipv6']),
  address: z.string().max(64),
  prefixLength: z.int().min(0).max(128),
});

export const GuestInterface = z.strictObject({
  name: text,
  mac: z.string().max(32).nullable(),
  addresses: z.array(GuestAddress).max(64),
});

export const GuestInfo = z
  .strictObject({
    agentVersion: text,
    /** The name it gave itself; its own business. */
    hostname: text.nullable(),
    /** From its os-release and uname; null where its agent does not tell. */
    os: z
      .strictObject({
        id: text.nullable(),
        name: text.nullable(),
        version: text.nullable(),
        kernel: text.nullable(),
        machine: text.nullable(),
      })
      .nullable(),
    interfaces: z.array(GuestInterface).max(64),
  })
  .meta({ id: 'GuestInfo' });
export type GuestInfo = z.infer<typeof GuestInfo>;
