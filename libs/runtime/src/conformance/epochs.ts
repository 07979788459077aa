import assert from 'node:assert/strict';
import type { Behaviour } from './harness.js';
import { boots, context, find, gone, held, refused, running, up, upAndHeard } from './steps.js';

/** Incarnations of an instance, and what belongs to which. */
export const epochs: readonly Behaviour[] = [
  {
    name: 'a lower epoch is refused after a higher one was seen',
    run: async (h) => {
      const rt = await h.runtime();
      const low = await h.spec('steady');
      const high = { ...low, epoch: low.epoch + 1 };
      await rt.prepare(high, context(h));
      await refused('preparing a lower epoch', ['lowerEpoch'], () => rt.prepare(low, context(h)));
      await refused('starting a lower epoch', ['lowerEpoch'], () => rt.start(low, context(h)));
      await gone(h, rt, high);
    },
  },
  {
    name: 'a stopped instance keeps its disk over a new epoch',
    run: async (h) => {
      const rt = await h.runtime();
      const first = await h.spec('steady');
      await up(h, rt, first);
      assert.equal(await boots(h, rt, first, 1), 1);
      await rt.stop(first, 20, context(h));
      await rt.remove(first, context(h));
      const second = { ...first, epoch: first.epoch + 1 };
      await up(h, rt, second);
      assert.equal(await boots(h, rt, second, 2), 2, 'the guest finds what it wrote');
      await gone(h, rt, second);
    },
  },
  {
    name: 'a second epoch does not start while the first one runs',
    run: async (h) => {
      const rt = await h.runtime();
      const first = await h.spec('steady');
      const { pid } = await up(h, rt, first);
      const second = { ...first, epoch: first.epoch + 1 };
      await refused('a second epoch', ['hostFault'], async () => {
        await rt.prepare(second, context(h));
        await rt.start(second, context(h));
      });
      const seen = (await rt.recover()).filter((o) => o.instanceId === first.instanceId);
      assert.deepEqual(
        seen.filter((o) => o.phase === 'running').map((o) => [o.epoch, o.pid]),
        [[first.epoch, pid]],
        'only the first runs, as before',
      );
      await rt.remove(second, context(h));
      await gone(h, rt, first);
    },
  },
  {
    name: 'the late removal of an ended epoch does the next one no harm',
    run: async (h) => {
      const rt = await h.runtime();
      const first = await h.spec('steady');
      await upAndHeard(h, rt, first);
      await rt.stop(first, 0, context(h));
      const second = { ...first, epoch: first.epoch + 1 };
      const { pid } = await up(h, rt, second);
      await rt.remove(first, context(h));
      assert.equal(await find(rt, first), undefined);
      assert.equal((await find(rt, second))?.pid, pid, 'the second runs on');
      assert.equal((await held(rt, second))?.runs, true);
      assert.equal(await boots(h, rt, second, 2), 2, 'with the disk of the first');
      assert.equal((await h.macs(second, pid)).length, second.nics.length, 'and with its nics');
      await gone(h, rt, second);
    },
  },
  {
    name: "two instances of one image do not see each other's writes",
    run: async (h) => {
      const rt = await h.runtime();
      const a = await h.spec('steady');
      const b = { ...(await h.spec('steady')), image: a.image };
      await up(h, rt, a);
      assert.equal(await boots(h, rt, a, 1), 1);
      await up(h, rt, b);
      assert.equal(
        await boots(h, rt, b, 1),
        1,
        "the second begins from the image, not from the first's disk",
      );
      await gone(h, rt, a);
      await gone(h, rt, b);
    },
  },
  {
    name: 'two instances on one network have each its own nic, and keep it when the other goes',
    run: async (h) => {
      const rt = await h.runtime();
      const [a, b] = [await h.spec('steady'), await h.spec('steady')];
      const macsOf = async (spec: typeof a): Promise<readonly string[]> =>
        h.macs(spec, (await running(h, rt, spec)).pid);
      for (const spec of [a, b]) await up(h, rt, spec);
      for (const spec of [a, b])
        assert.deepEqual(
          await macsOf(spec),
          spec.nics.map((nic) => nic.mac),
        );
      await gone(h, rt, a);
      assert.deepEqual(
        await macsOf(b),
        b.nics.map((nic) => nic.mac),
      );
      await gone(h, rt, b);
    },
  },
];
