import { z } from 'zod';

/*
 * A system container: an image with an init of its own, as systemd, that runs like a machine: many services, people who sign in, a
 * clean shutdown. Its root has the capabilities of any container's, and no more.
 */

export const SystemSpec = z.boolean();

/** Facet of hosts that run system containers. */
export const systemFacet = 'systemContainers';

interface Asking {
  readonly isolation: string;
  readonly system?: boolean | undefined;
  readonly process?: { readonly user?: string | undefined; readonly init?: boolean | undefined } | undefined;
  readonly security?:
    { readonly seccomp?: string | undefined; readonly readOnlyRoot?: boolean | undefined } | undefined;
}

/** Tells of what no init of a system could begin with. */
export function checkSystem(
  { isolation, system, process, security }: Asking,
  refuse: (path: readonly (string | number)[], message: string) => void,
): void {
  if (system !== true) return;
  if (isolation !== 'container')
    return refuse(
      ['system'],
      'only for isolation container: a vm boots a system of its own, a microvm one program; leave it out',
    );
  if (process?.user !== undefined)
    refuse(['process', 'user'], 'cannot go with system, whose init is root of the container: leave it out');
  if (process?.init === true)
    refuse(['process', 'init'], 'cannot go with system, whose image has an init: leave one of the two out');
  if (security?.seccomp === 'strict')
    refuse(['security', 'seccomp'], 'strict refuses what services of a system do: leave it out');
  if (security?.readOnlyRoot === true)
    refuse(
      ['security', 'readOnlyRoot'],
      'cannot go with system, which keeps its state on its root: leave it out',
    );
}
