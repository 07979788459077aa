import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { digestOf, streamOf } from './archive-fixture.js';
import { BlobStore } from './blob-store.js';

let dir: string;
let blobs: BlobStore;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'berth-blobs-'));
  blobs = new BlobStore(dir);
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const hello = Buffer.from('hello');
const limit = { maxBytes: 100 };

describe('BlobStore', () => {
  it('stores content under its digest, read-only, and gives it back', async () => {
    const blob = await blobs.put(streamOf(hello), limit);
    expect(blob).toEqual({ digest: digestOf(hello), sizeBytes: 5 });
    expect(await blobs.list()).toEqual([blob]);
    expect((await blobs.read(blob.digest, 5)).toString()).toBe('hello');
    expect(statSync(blobs.path(blob.digest)).mode & 0o777).toBe(0o444);
  });

  it('leaves nothing behind when digest or size is wrong, or the stream breaks', async () => {
    await expect(blobs.put(streamOf(hello), { ...limit, digest: digestOf('x') })).rejects.toMatchObject({
      code: 'badDigest',
    });
    await expect(blobs.put(streamOf(hello), { maxBytes: 4 })).rejects.toMatchObject({ code: 'tooLarge' });
    const broken = Readable.from(
      (async function* () {
        yield hello;
        throw new Error('cable pulled');
      })(),
    );
    await expect(blobs.put(broken, limit)).rejects.toThrow('cable pulled');
    expect(await blobs.list()).toEqual([]);
    expect(readdirSync(join(dir, 'staging'))).toEqual([]);
  });

  it('stores the same content once when put by several at the same time', async () => {
    await Promise.all([1, 2, 3].map(() => blobs.put(streamOf(hello), limit)));
    expect(await blobs.list()).toHaveLength(1);
  });

  it('drops the stream of a blob that it has already', async () => {
    const { digest } = await blobs.put(streamOf(hello), limit);
    const again = streamOf(Buffer.from('never read'));
    expect(await blobs.put(again, { ...limit, digest })).toEqual({ digest, sizeBytes: 5 });
    expect(again.destroyed).toBe(true);
  });

  it('removes twice, says what is missing, and sweeps what a crash left', async () => {
    const { digest } = await blobs.put(streamOf(hello), limit);
    mkdirSync(join(dir, 'staging', '1-abc'), { recursive: true });
    await blobs.clean();
    expect(readdirSync(dir)).toEqual(['sha256']);
    await blobs.remove(digest);
    await blobs.remove(digest);
    expect(await blobs.has(digest)).toBe(false);
    await expect(blobs.open(digest)).rejects.toMatchObject({ code: 'missingBlob' });
  });

  it('takes no digest that could be a path', async () => {
    await expect(blobs.has('sha256:../../etc/passwd' as never)).rejects.toThrow();
  });
});
