import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import type { FilesFacet, Runtime, WorkloadKey } from '../runtime.js';
import type { Behaviour, ConformanceHarness } from './harness.js';
import { context, gone, refused, upAndHeard } from './steps.js';

const filesOf = (rt: Runtime): FilesFacet => {
  assert.ok(rt.files, 'the runtime has the files facet');
  return rt.files;
};

async function read(h: ConformanceHarness, rt: Runtime, key: WorkloadKey, path: string): Promise<Buffer> {
  const { bytes } = await filesOf(rt).readFile(key, path, AbortSignal.timeout(h.stepMs));
  return Buffer.concat(await Readable.from(bytes).toArray());
}

function write(
  h: ConformanceHarness,
  rt: Runtime,
  key: WorkloadKey,
  path: string,
  bytes: Buffer,
): Promise<number> {
  const half = bytes.length >> 1;
  const pieces = Readable.from([bytes.subarray(0, half), bytes.subarray(half)]);
  return filesOf(rt).writeFile(key, { path, mode: '0640' }, pieces, AbortSignal.timeout(h.stepMs));
}

/** More than fits into one message, window or pipe, and no text. */
const bytes = Buffer.from(Uint8Array.from({ length: 300_001 }, (_, i) => (i * 7) % 256));

/** Files of workloads whose root their host can reach. */
export const files: readonly Behaviour[] = [
  {
    name: 'a file that was put into a workload is read as it was written, also by another life of the agent',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      assert.ok((await rt.probe()).facets.includes('files'));
      await upAndHeard(h, rt, spec);
      assert.equal(await write(h, rt, spec, '/put', Buffer.from('first')), 5);
      assert.equal(await write(h, rt, spec, '/put', bytes), bytes.length);
      assert.ok((await read(h, await h.runtime(), spec, '/put')).equals(bytes));
      assert.equal(await write(h, rt, spec, '/put', Buffer.alloc(0)), 0);
      assert.equal((await read(h, rt, spec, '/put')).length, 0);
      await refused('a file that is not there', ['noSuchFile'], async () => {
        await read(h, rt, spec, '/not-there');
      });
      await gone(h, rt, spec);
    },
  },
  {
    name: 'files of what does not run are not copied',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      const asked = async (): Promise<void> => {
        await refused('a file', ['notPrepared'], async () => void (await read(h, rt, spec, '/put')));
        await refused('a file of ours', ['notPrepared'], async () => {
          await write(h, rt, spec, '/put', bytes);
        });
      };
      await asked();
      await upAndHeard(h, rt, spec);
      await rt.stop(spec, 0, context(h));
      await asked();
      await gone(h, rt, spec);
    },
  },
];
