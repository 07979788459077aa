import assert from 'node:assert/strict';
import { existsSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RuntimeError } from '../runtime.js';
import type { Behaviour } from './harness.js';
import { boots, context, find, gone, held, refused, running, up } from './steps.js';

/** What is made before a start, and what is refused. */
export const preparing: readonly Behaviour[] = [
  {
    name: 'prepare twice makes one volume and starts nothing',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      const before = (await h.volumes()).length;
      await rt.prepare(spec, context(h));
      await rt.prepare(spec, context(h));
      assert.equal((await h.volumes()).length, before + 1, 'one volume more');
      assert.notEqual((await find(rt, spec))?.phase, 'running');
      await gone(h, rt, spec);
    },
  },
  {
    name: 'a bad image is refused and nothing is left',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('badImage');
      await refused('a bad image', ['badImage'], async () => {
        await rt.prepare(spec, context(h));
        await rt.start(spec, context(h));
      });
      assert.equal(await find(rt, spec), undefined, 'no workload is reported');
      assert.deepEqual(await h.leftovers(spec), []);
      assert.ok(!(await h.volumes()).includes(spec.rootVolume.id), 'no volume was made');
    },
  },
  {
    name: 'a full pool refuses a new workload with noSpace and nothing is left',
    run: async (h) => {
      const full = await h.fullPool();
      const spec = await h.spec('steady');
      await refused('a volume without room', ['noSpace'], () => full.prepare(spec, context(h)));
      assert.deepEqual(await h.leftovers(spec), []);
      assert.equal(await find(full, spec), undefined, 'no workload is reported');
      assert.ok(!(await h.volumes()).includes(spec.rootVolume.id), 'no volume was made');
      const rt = await h.runtime();
      await up(h, rt, spec);
      await gone(h, rt, spec);
    },
  },
  {
    name: 'a full pool keeps nothing from starting that has its volume',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      await up(h, rt, spec);
      await boots(h, rt, spec, 1);
      await rt.stop(spec, 0, context(h));
      const full = await h.fullPool();
      await full.prepare(spec, context(h));
      await full.start(spec, context(h));
      await running(h, full, spec);
      await gone(h, await h.runtime(), spec);
    },
  },
  {
    name: 'a start of what was never prepared is refused and leaves nothing',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      await refused('a start without a prepare', ['notPrepared'], () => rt.start(spec, context(h)));
      assert.equal(await find(rt, spec), undefined);
      assert.equal(await held(rt, spec), undefined);
      assert.deepEqual(await h.leftovers(spec), []);
    },
  },
  {
    name: 'names made to break out of a text or a path reach nothing',
    run: async (h) => {
      const rt = await h.runtime();
      const sentinel = join(tmpdir(), `conformance-${process.pid}-broke-out`);
      const hostile = `"'><x/>;$(touch ${sentinel})\n../../x,process=y`;
      const plain = await h.spec('steady');
      const spec = { ...plain, name: hostile, project: hostile };
      const before = await h.volumes();
      try {
        await up(h, rt, spec);
        await boots(h, rt, spec, 1);
      } catch (error) {
        assert.ok(error instanceof RuntimeError, `refused in a runtime's words, not ${String(error)}`);
      }
      assert.ok(!existsSync(sentinel), 'no shell ran');
      rmSync(sentinel, { force: true });
      await gone(h, rt, spec);
      assert.deepEqual(await h.volumes(), before, 'nothing was made beside its volume');
    },
  },
];
