/*
 * Places of a container's root that are its host's.
 */

/** Files that tell a container who it is, mounted over the image's own. */
export const IDENTITY_PATHS = ['/etc/hostname', '/etc/hosts', '/etc/resolv.conf'] as const;
export type IdentityPath = (typeof IDENTITY_PATHS)[number];

/** Whether a path is one of the kernel's file systems, or in one. */
export const inKernelDirectory = (path: string): boolean => /^\/(proc|sys|dev)(\/|$)/.test(path);
