import type { Event } from '../api/client.js';

/** What an event says beside its type, in one line. Pure. */
export function eventText(event: Event): string {
  const { data } = event;
  if (event.type === 'instance.stateChanged')
    return `${word(data['from'])} → ${word(data['to'])}${because(data['reason'])}`;
  const error = data['error'] as { message?: unknown } | null | undefined;
  if (error !== null && error !== undefined && typeof error.message === 'string') return error.message;
  return Object.entries(data)
    .filter(([, v]) => v !== null && v !== undefined && !(Array.isArray(v) && v.length === 0))
    .map(([k, v]) => `${k} ${word(v)}`)
    .join(', ');
}

function word(value: unknown): string {
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

function because(reason: unknown): string {
  return typeof reason === 'string' ? `: ${reason}` : '';
}
