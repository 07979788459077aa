import { z } from 'zod';
import { IDENTITY_PATHS, inKernelDirectory } from './container-paths.js';
import { type ContainerSecurity, TmpfsMount } from './container-security.js';
import { Name, VolumeId } from './ids.js';
import { SECRETS_DIRECTORY, secretPath, type SecretUse } from './secret.js';

/** Facet of hosts whose containers have data volumes. */
export const mountsFacet = 'mounts';

/** A data volume that an instance asks for. */
export const VolumeMount = z.strictObject({
  name: Name,
  readOnly: z.boolean().default(false),
  /** Where a container has it, which must say so. A vm has it as a disk. */
  path: TmpfsMount.shape.path.optional(),
});
export type VolumeMount = z.infer<typeof VolumeMount>;

/** A data volume as a host mounts it in a container. */
export const HostMount = z.strictObject({
  id: VolumeId,
  sizeMiB: z.int().min(1),
  readOnly: z.boolean(),
  path: z.string(),
});
export type HostMount = z.infer<typeof HostMount>;

/** What of a spec has places in a container. */
export interface Mounting {
  readonly isolation: string;
  readonly volumes: readonly VolumeMount[];
  readonly secrets?: readonly SecretUse[] | undefined;
  readonly security?: ContainerSecurity | undefined;
}
type Refuse = (path: readonly (string | number)[], message: string) => void;

/** Tells of every place of a volume that cannot be so. */
export function checkMounts(spec: Mounting, refuse: Refuse): void {
  const { isolation, volumes } = spec;
  if (isolation === 'microvm' && volumes.length > 0)
    return refuse(['volumes'], 'only for isolation vm and container; leave the list empty');
  volumes.forEach(({ path }, i) => {
    const at = ['volumes', i, 'path'];
    if (isolation === 'vm') {
      if (path !== undefined)
        refuse(at, 'only for isolation container: a vm mounts its disks itself; leave it out');
    } else if (path === undefined)
      refuse(at, 'must be given for isolation container: where in it the volume is, such as /data');
    else {
      const why = misplaced(spec, path, i);
      if (why !== null) refuse(at, why);
    }
  });
}

/** Why nothing can be mounted there; null when something can. */
export function placeFault(path: string): string | null {
  if (/\/\.\.?(\/|$)/.test(path)) return 'must not hold "." or ".."';
  return inKernelDirectory(path) ? 'is in a directory of the kernel: choose another' : null;
}

/** Why a volume cannot be there. */
function misplaced({ volumes, secrets = [], security }: Mounting, path: string, i: number): string | null {
  const below = (other: string): boolean => `${other}/`.startsWith(`${path}/`);
  const fault = placeFault(path);
  if (fault !== null) return fault;
  if ((IDENTITY_PATHS as readonly string[]).includes(path))
    return 'is a file that its host writes: choose another';
  if (`${path}/`.startsWith(`${SECRETS_DIRECTORY}/`)) return 'is where secrets are: choose another';
  if (volumes.findIndex((one) => one.path === path) < i)
    return 'is the place of another volume in the list already';
  if (secrets.some((use) => secretPath(use) === path)) return 'is the file of a secret: choose another';
  if (security?.tmpfs?.some((one) => below(one.path)) === true)
    return 'would hide a file system of security.tmpfs: take it out of one of the two';
  return null;
}
