import { chmodSync, chownSync, mkdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { deviceNodeMake, deviceNumber, mount, MS, umountAll } from '@berth/linux';
import { RuntimeError } from '@berth/runtime';
import type { OciDeviceRule, OciMount } from '../bundle/oci-types.js';
import { removeEmpty } from './rootfs.js';

/** A device that a container is lent: its node in the container, and the rule that opens it and nothing else. */
export interface LentDevice {
  readonly mount: OciMount;
  readonly rule: OciDeviceRule;
}

/** Of a node: whoever is root of the container, or in its group. */
const NODE_MODE = 0o660;

/** Names of the list whose devices are on this host now, sorted. */
export const devicesThere = (list: Readonly<Record<string, string>>): string[] =>
  Object.keys(list)
    .filter((name) => deviceNumber(list[name] ?? '') !== null)
    .sort();

/**
 * Makes a node for each device that a container asks for, owned by its root: the host's own nodes are for users that it does
 * not have. They lie in a file system of their own, since others are mounted without devices. At the path of the host's node
 * they stand in the container. Making them again is no error.
 * @param directory of this container alone, below which no other user may pass
 * @param base first host id of the container's range
 * @throws RuntimeError unsupported for one that the list does not hold, or that is not there
 */
export function devicesLend(
  directory: string,
  names: readonly string[],
  list: Readonly<Record<string, string>>,
  base: number,
): LentDevice[] {
  if (names.length === 0) return [];
  const found = names.map((name) => ({ path: list[name] ?? '', number: numberOf(name, list) }));
  devicesTake(directory);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  mount('devices', directory, 'tmpfs', MS.NOSUID | MS.NOEXEC, 'mode=700,size=64k');
  return found.map(({ path, number }, index) => {
    const node = join(directory, `${index}-${basename(path)}`);
    deviceNodeMake(node, number, NODE_MODE);
    chownSync(node, base, base);
    chmodSync(node, NODE_MODE); // whatever the umask is
    const { type, major, minor } = number;
    return {
      mount: {
        destination: path,
        type: 'bind',
        source: node,
        options: ['bind', 'nosuid', 'noexec', 'rprivate'],
      },
      rule: { allow: true, type: type === 'char' ? 'c' : 'b', major, minor, access: 'rw' },
    };
  });
}

/** Takes away what {@link devicesLend} made. Taking what never was is no error. */
export function devicesTake(directory: string): void {
  umountAll(directory);
  removeEmpty(directory);
}

function numberOf(
  name: string,
  list: Readonly<Record<string, string>>,
): NonNullable<ReturnType<typeof deviceNumber>> {
  const path = Object.hasOwn(list, name) ? list[name] : undefined;
  if (path === undefined)
    throw new RuntimeError('unsupported', `this host offers no device ${name}`, {
      remedy: 'name it under devices in its agent.yaml, and restart the agent',
    });
  const number = deviceNumber(path);
  if (number === null)
    throw new RuntimeError(
      'unsupported',
      `${path}, which is device ${name} here, is no device of this host`,
      {
        remedy: 'load the kernel module that makes it, or mend devices in its agent.yaml',
      },
    );
  return number;
}
