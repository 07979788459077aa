import assert from 'node:assert/strict';
import type { Behaviour } from './harness.js';
import { context, find, gone, refused, up } from './steps.js';

/** Directories of the host, of which the harness's offers none. */
export const hostPaths: readonly Behaviour[] = [
  {
    name: 'a directory of the host that nobody offers is refused, and nothing runs until it is no longer asked for',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      const asking = { ...spec, hostPaths: [{ name: 'etc', path: '/mnt', readOnly: true }] };
      await refused('what is not offered', ['unsupported'], async () => {
        await rt.prepare(asking, context(h));
        await rt.start(asking, context(h));
      });
      assert.notEqual((await find(rt, spec))?.phase, 'running', 'nothing runs');
      await up(h, rt, spec);
      await gone(h, rt, spec);
    },
  },
];
