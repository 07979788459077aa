import { pathText } from './layer-changes.js';
import { directoryNode, type FileFacts, type LayerNode } from './layer-files.js';

/** One path that two images differ in. */
export interface ImageChange {
  /** As {@link pathText} writes it. */
  readonly path: string;
  readonly change: 'added' | 'changed' | 'deleted';
  readonly type: 'file' | 'directory' | 'symlink' | 'fifo' | 'device';
  /** Of a file that is there. */
  readonly sizeBytes: number | null;
}

/** Of a directory that every layer only implies. */
const IMPLIED: FileFacts = { type: 'directory', mode: 0o755, owner: '0:0', sizeBytes: 0, content: '' };

/** The layers as one tree, bottom first. What they are made of is not changed. */
export function mergedFiles(layers: readonly LayerNode[]): LayerNode {
  const root = directoryNode();
  for (const layer of layers) merge(root, layer);
  return root;
}

function merge(below: LayerNode, above: LayerNode): void {
  if (above.facts !== null) below.facts = above.facts;
  if (above.opaque) below.children?.clear();
  for (const name of above.whiteouts) below.children?.delete(name);
  for (const [name, node] of above.children ?? []) {
    if (node.children === null) {
      below.children?.set(name, node);
      continue;
    }
    const there = below.children?.get(name);
    const directory = there?.children ? there : directoryNode();
    below.children?.set(name, directory);
    merge(directory, node);
  }
}

/**
 * What the second tree adds to the first, changes of it and lacks, parents before what is in them, names in the order of their bytes. A directory that is gone is
 * one line; one is changed when its own owner or mode is. Times do not count.
 */
export function* imageChanges(
  before: LayerNode,
  after: LayerNode,
  path: readonly string[] = [],
): Generator<ImageChange> {
  const [was, is] = [before.children, after.children];
  const names = [...new Set([...(was?.keys() ?? []), ...(is?.keys() ?? [])])].map((name) =>
    Buffer.from(name),
  );
  for (const bytes of names.sort((a, b) => a.compare(b))) {
    const name = bytes.toString();
    const [old, now] = [was?.get(name), is?.get(name)];
    const at = [...path, name];
    if (now === undefined) {
      if (old !== undefined) yield told(at, 'deleted', old);
      continue;
    }
    if (old === undefined) yield told(at, 'added', now);
    else if (!same(old.facts ?? IMPLIED, now.facts ?? IMPLIED)) yield told(at, 'changed', now);
    if (now.children !== null) yield* imageChanges(old?.children ? old : directoryNode(), now, at);
  }
}

const same = (a: FileFacts, b: FileFacts): boolean =>
  a.type === b.type &&
  a.mode === b.mode &&
  a.owner === b.owner &&
  a.sizeBytes === b.sizeBytes &&
  a.content === b.content;

function told(path: readonly string[], change: ImageChange['change'], node: LayerNode): ImageChange {
  const { type, sizeBytes } = node.facts ?? IMPLIED;
  return {
    path: pathText(path.map((name) => Buffer.from(name))),
    change,
    type: type === 'character-device' || type === 'block-device' ? 'device' : type === 'link' ? 'file' : type,
    sizeBytes: change !== 'deleted' && type === 'file' ? sizeBytes : null,
  };
}
