import { z } from 'zod';
import { Name } from './ids.js';

/*
 * Devices of a host that its operator lends to containers. The agent's configuration gives each a name and its path; a spec says
 * the name. No path of a host is in any spec, and nothing that is not in that list can be asked for.
 */

/** Names of devices that a host offers. */
export const HostDevices = z.array(Name).max(64);
export type HostDevices = z.infer<typeof HostDevices>;

/** Devices that a container asks for. */
export const DevicesSpec = z.array(Name).max(16);
export type DevicesSpec = z.infer<typeof DevicesSpec>;

interface Asking {
  readonly isolation: string;
  readonly devices?: DevicesSpec | undefined;
}

/** Tells of devices that cannot be given. */
export function checkDevices(
  { isolation, devices = [] }: Asking,
  refuse: (path: readonly (string | number)[], message: string) => void,
): void {
  if (devices.length > 0 && isolation !== 'container')
    return refuse(
      ['devices'],
      'only for isolation container: a machine has devices of its own; leave the list out',
    );
  devices.forEach((name, i) => {
    if (devices.indexOf(name) < i) refuse(['devices', i], 'is in the list already');
  });
}
