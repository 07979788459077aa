import type { WorkloadSpec } from '@berth/runtime';
import { mergeEnv, type ProcessPlan, processPlan, stopSignal } from '@berth/runtime';
import type { OciMount } from './oci-types.js';

/*
 * What a container must find to run an init as that of a machine, as systemd's "Container Interface" asks: memory at /run and /tmp, a
 * cgroup tree of its own to write to, `container` in its environment, by which it leaves alone what is its host's, and
 * `container_uuid`, from which it makes its machine id. `SIGRTMIN+3` is how systemd is asked for a clean halt.
 */

/** What an image says of its process. */
type ImageProcess = Parameters<typeof processPlan>[0];
interface Image {
  readonly process: ImageProcess;
}

const INIT = '/sbin/init';
const HALT = 'RTMIN+3';

/** The process of a container. @throws RuntimeError badImage as {@link processPlan} */
export function planOf(spec: WorkloadSpec, image: Image): ProcessPlan {
  if (spec.system !== true) return processPlan(image.process, spec.process, spec.name);
  const named = [...(spec.process?.command ?? image.process.entrypoint), ...image.process.cmd];
  const process = named.length === 0 ? { ...image.process, entrypoint: [INIT] } : image.process;
  const plan = processPlan(process, spec.process, spec.name);
  return { ...plan, env: mergeEnv(plan.env, ['container=berth', `container_uuid=${spec.uuid}`]) };
}

/** The signal that asks a container to end. */
export function stopSignalOf(spec: WorkloadSpec, image: Image): string {
  const { process } = image;
  return spec.system === true && (process.stopSignal ?? '') === ''
    ? stopSignal({ ...process, stopSignal: HALT }, spec.process)
    : stopSignal(process, spec.process);
}

/** In place of the read-only tree: the container's own group as the root of a cgroup v2 tree, whatever version bounds it. */
export const systemCgroup: OciMount = {
  destination: '/sys/fs/cgroup',
  type: 'cgroup2',
  source: 'cgroup2',
  options: ['nosuid', 'noexec', 'nodev', 'relatime'],
};

/** Programs can be started from these, as on a machine. They count for the memory of the container, and hold a part of it at most. */
export function systemTmpfs(memoryMiB: number): OciMount[] {
  const part = (of: number): number => Math.max(1, Math.floor(memoryMiB / of));
  const inMemory = (
    destination: string,
    mode: string,
    sizeMiB: number,
    more: readonly string[] = [],
  ): OciMount => ({
    destination,
    type: 'tmpfs',
    source: 'tmpfs',
    options: ['nosuid', 'nodev', ...more, `mode=${mode}`, `size=${sizeMiB}m`],
  });
  return [
    inMemory('/run', '755', part(4)),
    inMemory('/run/lock', '1777', 5, ['noexec']),
    inMemory('/tmp', '1777', part(2)),
  ];
}
