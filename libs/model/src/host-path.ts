import { z } from 'zod';
import { IDENTITY_PATHS } from './container-paths.js';
import { TmpfsMount } from './container-security.js';
import { Name } from './ids.js';
import { SECRETS_DIRECTORY, secretPath } from './secret.js';
import { type Mounting, placeFault } from './volume-mount.js';

/*
 * Directories of a host that its operator lets containers mount. The agent's configuration gives each a name, its path, and whether it
 * may be written; a spec says the name, and a directory below it. No path of a host is in any spec.
 */

/** A directory that a host offers. */
export const HostPathOffer = z.strictObject({
  name: Name,
  readOnly: z.boolean(),
  /** Projects that may ask for it; all when absent. */
  projects: z.array(Name).max(256).optional(),
});
export type HostPathOffer = z.infer<typeof HostPathOffer>;
export const HostPathOffers = z.array(HostPathOffer).max(64);

/** A directory of its host that a container asks for. */
export const HostPathUse = z.strictObject({
  /** What its operator calls it. */
  name: Name,
  /** Below what is offered; all of it when absent. */
  subPath: z
    .string()
    .max(1024)
    .regex(
      /^(?!\.\.?(\/|$))[A-Za-z0-9_.@+-]+(\/(?!\.\.?(\/|$))[A-Za-z0-9_.@+-]+)*$/,
      'a path below it without "." and "..", of letters, digits and "_.@+-"',
    )
    .optional(),
  /** Where the container has it. */
  path: TmpfsMount.shape.path,
  readOnly: z.boolean().default(true),
});
export type HostPathUse = z.infer<typeof HostPathUse>;

export const HostPathUses = z.array(HostPathUse).max(16);

/** What of these a project may ask of a host. */
export const hostPathsFor = (offers: readonly HostPathOffer[], project: string): readonly HostPathOffer[] =>
  offers.filter(({ projects }) => projects === undefined || projects.includes(project));

/** Whether an offer is what a use asks for. */
export const hostPathFits = (offer: HostPathOffer, { name, readOnly }: HostPathUse): boolean =>
  offer.name === name && (readOnly || !offer.readOnly);

type Refuse = (path: readonly (string | number)[], message: string) => void;
type Asking = Mounting & { readonly hostPaths?: readonly HostPathUse[] | undefined };

/** Tells of every directory of a host that cannot be so. */
export function checkHostPaths(spec: Asking, refuse: Refuse): void {
  const { isolation, hostPaths = [] } = spec;
  if (hostPaths.length > 0 && isolation !== 'container')
    return refuse(
      ['hostPaths'],
      'only for isolation container: a machine shares no directory; leave the list out',
    );
  hostPaths.forEach(({ path }, i) => {
    const why = placeFault(path) ?? crossed(spec, path, i);
    if (why !== null) refuse(['hostPaths', i, 'path'], why);
  });
}

/**
 * Why a directory of the host cannot be mounted there. Nothing else is mounted in it or around it: whoever mounts would make its place
 * in the host's directory.
 */
function crossed(
  { volumes, secrets = [], security, hostPaths = [] }: Asking,
  path: string,
  i: number,
): string | null {
  const crosses = (other: string | null | undefined): boolean =>
    typeof other === 'string' && (`${other}/`.startsWith(`${path}/`) || `${path}/`.startsWith(`${other}/`));
  if (IDENTITY_PATHS.some(crosses)) return 'holds files that its host writes: choose another';
  if (crosses(SECRETS_DIRECTORY)) return 'is where secrets are: choose another';
  if (hostPaths.slice(0, i).some((one) => crosses(one.path)))
    return 'is that of another in the list, or one is in the other: choose another';
  if (volumes.some((one) => crosses(one.path)))
    return 'is that of a volume, or one is in the other: choose another';
  if (secrets.some((use) => crosses(secretPath(use)))) return 'holds the file of a secret: choose another';
  if (security?.tmpfs?.some((one) => crosses(one.path)) === true)
    return 'is that of security.tmpfs, or one is in the other: choose another';
  return null;
}
