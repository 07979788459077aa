import { protocol } from '@berth/link';
import type { Assignment, AssignmentList as ListMessage, SnapshotOrder, Tombstone } from '@berth/link';
import { displaysOf, sizesOf, stopGraceOf } from '@berth/model';
import type { AssignmentList, AssignmentRow, SnapshotOrderRow, TombstoneRow } from '../store/store.js';

/** The store's list as the link carries it. */
export function renderList(list: AssignmentList, session: number): ListMessage {
  return {
    protocol,
    hostId: list.hostId,
    storeIncarnation: list.storeIncarnation,
    session,
    assignmentRev: list.assignmentRev,
    assignments: list.assignments.map(renderAssignment),
    networks: [...list.networks],
    tombstones: list.tombstones.flatMap(renderTombstone),
    ...(list.unusedImages.length === 0 ? {} : { imageTombstones: [...list.unusedImages] }),
    ...(list.clones.length === 0 ? {} : { clones: list.clones.map((order) => ({ ...order })) }),
    ...(list.snapshots.length === 0 ? {} : { snapshots: list.snapshots.map(renderSnapshot) }),
  };
}

function renderAssignment(row: AssignmentRow): Assignment {
  const { spec } = row;
  return {
    instanceId: row.instanceId,
    epoch: row.epoch,
    revision: row.generation,
    wanted: row.wanted,
    stopGraceSeconds: row.stopGraceSeconds ?? stopGraceOf(spec),
    workload: {
      instanceId: row.instanceId,
      epoch: row.epoch,
      project: row.project,
      name: row.name,
      uuid: row.uuid,
      isolation: spec.isolation,
      image: row.image,
      ...sizesOf(spec),
      rootVolume: row.rootVolume,
      volumes: row.volumes.map((volume) => ({ ...volume })),
      ...(row.mounts.length === 0 ? {} : { mounts: row.mounts.map((mount) => ({ ...mount })) }),
      nics: row.nics.map((nic) => ({ ...nic })),
      ...(row.cdroms.length === 0 ? {} : { cdroms: row.cdroms.map((drive) => ({ ...drive })) }),
      process: spec.process ?? null,
      userData: spec.userData ?? null,
      ...(spec.cloudInit === undefined ? {} : { cloudInit: spec.cloudInit }),
      ...(spec.firmware?.type === 'uefi' ? { firmware: spec.firmware } : {}),
      ...(spec.cpu === undefined ? {} : { cpuModel: spec.cpu.model }),
      ...(spec.tpm === true ? { tpm: true } : {}),
      ...(spec.hugePages === undefined ? {} : { hugePages: spec.hugePages }),
      ...(spec.numa === undefined ? {} : { numa: spec.numa }),
      ...(spec.usbTablet === false ? { usbTablet: false } : {}),
      ...(displaysOf(spec) > 1 ? { displays: displaysOf(spec) } : {}),
      ...(spec.vsock === true ? { vsock: true } : {}),
      ...(spec.watchdog === undefined ? {} : { watchdog: spec.watchdog.action }),
      ...(spec.probes === undefined ? {} : { probes: spec.probes }),
      ...(spec.security === undefined ? {} : { security: spec.security }),
      ...(spec.system === true ? { system: true } : {}),
      ...(spec.devices === undefined || spec.devices.length === 0 ? {} : { devices: spec.devices }),
      ...(spec.hostPaths === undefined || spec.hostPaths.length === 0 ? {} : { hostPaths: spec.hostPaths }),
      ...(spec.dns === undefined ? {} : { dns: spec.dns }),
      ...(row.secrets.length === 0 ? {} : { secrets: row.secrets.map((secret) => ({ ...secret })) }),
      ...(spec.resources === undefined ? {} : { resources: spec.resources }),
      restart: spec.restart,
      accel: spec.placement.accel,
      driver: spec.placement.driver,
    },
    ...(row.sizes === null ? {} : { booked: row.sizes }),
  };
}

const verbs = { creating: 'take', reverting: 'revert', deleting: 'remove' } as const;

function renderSnapshot({ state, volumes, memory, ...order }: SnapshotOrderRow): SnapshotOrder {
  return { ...order, verb: verbs[state], volumes: [...volumes], ...(memory ? { memory } : {}) };
}

function renderTombstone(row: TombstoneRow): Tombstone[] {
  const { id, instanceId, epoch, volumeId, mounted } = row;
  if (epoch !== null && instanceId !== null) return [{ id, kind: 'epoch', instanceId, epoch }];
  if (volumeId === null) return [];
  return [{ id, kind: 'volume', instanceId, volumeId, ...(mounted ? { mounted } : {}) }];
}
