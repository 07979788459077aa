import { readOnlyReason, storageErrorType, type VolumeId } from '@berth/model';
import type { Observation } from '@berth/runtime';

/**
 * What is said of a container that runs on file systems which nothing can be written to any more. Pure.
 * @param layer its writable layer @param has its data volumes
 */
export function endedConditions(
  ended: ReadonlySet<VolumeId>,
  layer: VolumeId,
  has: readonly VolumeId[],
): NonNullable<Observation['conditions']> {
  const parts = [
    ...(ended.has(layer) ? ['its writable layer'] : []),
    ...has.filter((id) => id !== layer && ended.has(id)).map((id) => `volume ${id}`),
  ];
  if (parts.length === 0) return [];
  return [
    {
      type: storageErrorType,
      reason: readOnlyReason,
      message: `${parts.join(' and ')} cannot be written any more: the pool of its host is full, or its disk fails`,
      remedy:
        'make space in the pool of its host (delete instances or images, or enlarge it), then restart it; what it wrote last may be lost',
    },
  ];
}
