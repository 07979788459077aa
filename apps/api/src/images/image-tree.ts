import { createHash } from 'node:crypto';
import { Digest, type Image, type ImageTree, type ImageTreeLayer } from '@berth/model';

type Named = Pick<Image, 'name' | 'content'>;

interface Node {
  readonly layer: Omit<ImageTreeLayer, 'images'> & { readonly images: string[] };
  readonly above: Node[];
}

/** What images of containers share: equal layers upon equal layers are one. Pure; the order of the images is kept. */
export function imageTree(images: readonly Named[]): ImageTree {
  const nodes = new Map<Digest, Node>();
  const lowest: Node[] = [];
  const stored = new Map<Digest, number>();
  let statedBytes = 0;
  for (const { name, content } of images) {
    if (content.kind !== 'oci') continue;
    let below: Node | undefined;
    for (const { digest, diffId, sizeBytes } of content.layers) {
      stored.set(digest, sizeBytes);
      statedBytes += sizeBytes;
      const parent: Digest | null = below?.layer.id ?? null;
      const id = chainId(parent, diffId);
      let node = nodes.get(id);
      if (node === undefined) {
        node = { layer: { id, parent, diffId, digest, sizeBytes, images: [] }, above: [] };
        nodes.set(id, node);
        (below?.above ?? lowest).push(node);
      }
      below = node;
    }
    below?.layer.images.push(name);
  }
  const storedBytes = [...stored.values()].reduce((sum, bytes) => sum + bytes, 0);
  return { layers: inOrder(lowest), storedBytes, statedBytes };
}

/** OCI image-spec, "Layer ChainID". */
function chainId(parent: Digest | null, diffId: Digest): Digest {
  if (parent === null) return diffId;
  return Digest.parse(`sha256:${createHash('sha256').update(`${parent} ${diffId}`).digest('hex')}`);
}

function inOrder(nodes: readonly Node[]): ImageTreeLayer[] {
  return nodes.flatMap(({ layer, above }) => [layer, ...inOrder(above)]);
}
