import type { Schemas } from '@berth/client';
import { expect, test } from 'vitest';
import { treeText } from './image-layers.js';

const layer = (
  id: string,
  parent: string | null,
  images: string[] = [],
): Schemas['ImageTree']['layers'][number] => ({
  ...{ id, parent, images, diffId: id, digest: `sha256:${id.repeat(64)}`, sizeBytes: 1024 },
});

test('a tree of images has a line for each fork and each image, and no name steers a terminal', () => {
  const layers = [
    layer('a', null),
    layer('b', 'a', ['base', 'bas\u001be']),
    layer('c', 'b'),
    layer('d', 'c', ['web']),
    layer('e', 'b', ['db']),
    layer('f', null, ['alone']),
  ];
  expect(treeText({ layers, storedBytes: 6144, statedBytes: 9216 })).toBe(
    `bbbbbbbbbbbb (2 layers)  2.0 KiB  base, bas?e
├─ dddddddddddd (2 layers)  2.0 KiB  web
└─ eeeeeeeeeeee  1.0 KiB  db
ffffffffffff  1.0 KiB  alone
6.0 KiB stored, 9.0 KiB were none shared
`,
  );
  expect(treeText({ layers: [], storedBytes: 0, statedBytes: 0 })).toBe('none\n');
});
