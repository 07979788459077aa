import type { Event } from '../api/client.js';

/** One state of an instance and how long it lasted; the last one still does. */
export interface Stretch {
  readonly state: string;
  readonly from: string;
  /** Milliseconds; null while it lasts. */
  readonly lasted: number | null;
  readonly reason: string | null;
  readonly host: string | null;
}

/** The states an instance went through, oldest first, as its events tell. Pure. */
export function stretchesOf(events: readonly Event[], createdAt: string): Stretch[] {
  const changes = events.filter((e) => e.type === 'instance.stateChanged');
  const first = changes[0];
  const points = [
    {
      state: first === undefined ? null : String(first.data['from']),
      at: createdAt,
      data: {} as Event['data'],
    },
    ...changes.map((e) => ({ state: String(e.data['to']), at: e.at, data: e.data })),
  ].filter((p) => p.state !== null);
  return points.map((p, i) => {
    const next = points[i + 1];
    return {
      state: p.state ?? '',
      from: p.at,
      lasted: next === undefined ? null : Math.max(0, Date.parse(next.at) - Date.parse(p.at)),
      reason: textOf(p.data['reason']),
      host: textOf(p.data['host']),
    };
  });
}

const textOf = (value: unknown): string | null => (typeof value === 'string' ? value : null);
