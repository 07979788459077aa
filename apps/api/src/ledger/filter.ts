import type { Event } from '@berth/model';
import type { EventFilter } from '../store/store.js';

/** Whether an event passes, exactly as the store's own statement chooses rows. */
export function passes({ project, classes, objectKind, objectId }: EventFilter, event: Event): boolean {
  return (
    (project === undefined || event.project === project) &&
    (classes === undefined || classes.includes(event.class)) &&
    (objectKind === undefined || event.object.kind === objectKind) &&
    (objectId === undefined || event.object.id === objectId)
  );
}
