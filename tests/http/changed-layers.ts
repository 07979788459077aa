import type { Layers } from '../../apps/api/src/http/deps.js';
import { tarOf } from '../../libs/images/src/archive-fixture.js';

const items = [
  { path: '/etc/motd', change: 'changed', type: 'file', sizeBytes: 6 },
  { path: '/tmp/\\x0a', change: 'added', type: 'directory', sizeBytes: null },
] as const;

/** Hosts whose containers have all changed the same. */
export const changedLayers: Layers = {
  refuseAway: () => undefined,
  changes: (_, { limit, after }) => {
    const from = after === undefined ? 0 : Number(after);
    const next = from + limit < items.length ? String(from + limit) : null;
    return Promise.resolve({ items: items.slice(from, from + limit), next });
  },
  read: async () =>
    [await tarOf([{ name: 'etc/motd', content: 'hello\n' }])] as unknown as AsyncIterable<Uint8Array>,
};
