import { createHash } from 'node:crypto';
import { Digest, type ImageContent } from '@berth/model';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { OciContent } from './commit-documents.js';
import { imageHistory } from './image-history.js';
import { imageTree } from './image-tree.js';

const digest = (of: string): Digest =>
  Digest.parse(`sha256:${createHash('sha256').update(of).digest('hex')}`);
const content = (layers: readonly string[]): OciContent => ({
  ...({ kind: 'oci', digest: digest('m'), configDigest: digest('c'), arch: 'x86_64', blobs: [] } as const),
  layers: layers.map((of) => ({
    ...{ digest: digest(`gz ${of}`), diffId: digest(of), sizeBytes: of.charCodeAt(0), mediaType: 'tar' },
  })),
  process: { entrypoint: [], cmd: [], env: [], user: '', workdir: '/' },
});
const named = (images: Readonly<Record<string, readonly string[]>>) =>
  Object.entries(images).map(([name, layers]) => ({ name, content: content(layers) as ImageContent }));

test('equal layers upon equal layers are one; the same layer upon another is not', () => {
  const { layers, storedBytes, statedBytes } = imageTree(
    named({ base: ['a'], web: ['a', 'b', 'c'], old: ['a', 'b'], db: ['a', 'd'], odd: ['d'], copy: ['a'] }),
  );
  const shown = layers.map((l) => [
    l.digest,
    l.images,
    layers.find((p) => p.id === l.parent)?.digest ?? null,
  ]);
  const [a, b, c, d] = ['a', 'b', 'c', 'd'].map((of) => digest(`gz ${of}`));
  expect(shown).toEqual([
    [a, ['base', 'copy'], null],
    [b, ['old'], a],
    [c, ['web'], b],
    [d, ['db'], a],
    [d, ['odd'], null],
  ]);
  expect(storedBytes).toBe(97 + 98 + 99 + 100);
  expect(statedBytes).toBe(97 * 5 + 98 * 2 + 99 + 100 * 2);
  // OCI image-spec: ChainID(L0|L1) = Digest(ChainID(L0) + " " + DiffID(L1)).
  expect(layers[1]?.id).toBe(digest(`${digest('a')} ${digest('b')}`));
});

test('every image is found again by following its layer down', () => {
  const layers = fc.array(fc.constantFrom('a', 'b', 'c'), { minLength: 1, maxLength: 5 });
  fc.assert(
    fc.property(fc.array(layers, { maxLength: 8 }), (images) => {
      const tree = imageTree(images.map((of, i) => ({ name: `i${i}`, content: content(of) })));
      const nodes = new Map(tree.layers.map((l) => [l.id, l]));
      expect(nodes.size).toBe(tree.layers.length);
      for (const [i, of] of images.entries()) {
        const found: Digest[] = [];
        let at = tree.layers.find((l) => l.images.includes(`i${i}`));
        for (; at !== undefined; at = at.parent === null ? undefined : nodes.get(at.parent))
          found.unshift(at.diffId);
        expect(found).toEqual(of.map(digest));
      }
    }),
  );
});

test('a history names the layer of each step, newest first, whatever its image says', () => {
  const of = (history: unknown): (string | null)[][] =>
    imageHistory(content(['a', 'b']), Buffer.from(JSON.stringify({ history }))).map((e) => [
      e.createdBy,
      e.layer?.diffId ?? null,
    ]);
  const [a, b] = [digest('a'), digest('b')];
  expect(
    of([{ created_by: 'ADD' }, { created_by: 'ENV', empty_layer: true }, { created_by: 'RUN' }]),
  ).toEqual([
    ['RUN', b],
    ['ENV', null],
    ['ADD', a],
  ]);
  expect(of([{ created_by: 'RUN' }]), 'of a base that says nothing').toEqual([
    ['RUN', b],
    ['', a],
  ]);
  for (const lie of [undefined, 'x', [{}, {}, {}], [1, null]])
    expect(of(lie), JSON.stringify(lie)).toEqual([
      ['', b],
      ['', a],
    ]);
  const [step] = imageHistory(
    content(['a']),
    Buffer.from(JSON.stringify({ history: [{ created: '2020-01-02T03:04:05.678901234+01:00', author: 7 }] })),
  );
  expect(step).toMatchObject({ createdAt: '2020-01-02T02:04:05.678Z', author: null });
  expect(() => imageHistory(content(['a']), Buffer.from('[]'))).toThrow('no JSON object');
});
