import { existsSync } from 'node:fs';
import { RuntimeError } from '@berth/runtime';
import type { OciMount } from './oci-types.js';

/** Where it is in a container: in no directory of the image's, so that it is no change of it. */
const PATH = '/dev/berth-init';

/** A program of ours as the first process (libs/kvm/guest-init, tend.c). */
export interface InitProcess {
  readonly before: readonly string[];
  readonly mounts: readonly OciMount[];
}

/** Whether the program is on this host. */
export const initIsThere = (program: string | undefined): program is string =>
  program !== undefined && existsSync(program);

/** How it runs what comes after `before`. @throws RuntimeError unsupported where it is not on this host */
export function initProcess(program: string | undefined): InitProcess {
  if (!initIsThere(program))
    throw new RuntimeError('unsupported', 'this host has no first process to put beside a program', {
      remedy: 'run ./berth up or tools/microvm/build there once, or leave out process.init',
    });
  const options = ['bind', 'ro', 'nosuid', 'nodev', 'rprivate'];
  return { before: [PATH, '--'], mounts: [{ destination: PATH, type: 'bind', source: program, options }] };
}

/** None beside the program itself. */
export const noInit: InitProcess = { before: [], mounts: [] };
