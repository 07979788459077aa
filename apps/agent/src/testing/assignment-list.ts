import { type Assignment, type AssignmentList, protocol, type Workload } from '@berth/link';
import type { HostId, InstanceId } from '@berth/model';

export const hostId = '00000000-0000-4000-8000-000000000001' as HostId;
/** The one instance of a list. */
export const instanceId = '00000000-0000-4000-8000-0000000000aa' as InstanceId;
const digest = `sha256:${'a'.repeat(64)}`;

/** The list of a host with one container, which ends as it will and is not started again unless its workload says otherwise. */
export function assignmentList({
  rev,
  session = 1,
  epoch = 1,
  revision = 1,
  wanted = 'running',
  workload = {},
}: {
  readonly rev: number;
  readonly session?: number;
  readonly epoch?: number;
  readonly revision?: number;
  readonly wanted?: Assignment['wanted'];
  readonly workload?: Partial<Workload>;
}): AssignmentList {
  const whole = {
    instanceId,
    epoch,
    project: 'p',
    name: 'web',
    uuid: instanceId,
    isolation: 'container',
    image: {
      kind: 'oci',
      digest,
      configDigest: digest,
      layers: [],
      process: { entrypoint: [], cmd: [], env: [], user: '', workdir: '/' },
      arch: 'amd64',
      blobs: [],
    },
    vcpus: 1,
    cpuMillis: null,
    memoryMiB: 16,
    rootVolume: { id: instanceId, sizeMiB: 1 },
    volumes: [],
    nics: [],
    process: null,
    userData: null,
    restart: { policy: 'never', backoffSeconds: 1, maxBackoffSeconds: 1 },
    accel: 'any',
    driver: 'any',
    ...workload,
  };
  return {
    protocol,
    hostId,
    storeIncarnation: 'one',
    session,
    assignmentRev: rev,
    assignments: [{ instanceId, epoch, revision, wanted, stopGraceSeconds: 1, workload: whole }],
    networks: [],
    tombstones: [],
  } as unknown as AssignmentList;
}
