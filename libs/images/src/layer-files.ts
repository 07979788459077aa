import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { confined, confinedId } from './confine.js';
import { ImageError } from './image-error.js';
import { archivePath, gunzipped, tarEntries, type TarEntry } from './tar-entries.js';
import type { TarHeader } from './tar-header.js';

/** What there is to compare of one path: all but its times. */
export interface FileFacts {
  readonly type: TarHeader['type'];
  readonly mode: number;
  readonly owner: string;
  readonly sizeBytes: number;
  /** SHA-256 of a file's bytes, or the target of a symbolic link; else ''. */
  readonly content: string;
}

/** A directory or a file of one layer. */
export interface LayerNode {
  /** null for a directory that the layer only implies. */
  facts: FileFacts | null;
  /** null for what is no directory. */
  readonly children: Map<string, LayerNode> | null;
  /** Names below it that are hidden in the layers below. */
  readonly whiteouts: Set<string>;
  opaque: boolean;
}

export interface ListLimits {
  readonly tarBytes: number;
  readonly entries: number;
  readonly depth: number;
}

const bad = (name: string, why: string): ImageError =>
  new ImageError(
    'badLayer',
    `the layer is refused: entry ${JSON.stringify(name.slice(0, 200))} ${why}`,
    'Build the image again with a current tool.',
  );

export const directoryNode = (facts: FileFacts | null = null): LayerNode => ({
  facts,
  children: new Map(),
  whiteouts: new Set(),
  opaque: false,
});

/**
 * What a layer says of each path (OCI image-spec, "Image Layer Filesystem Changeset"), read and not unpacked. Zstandard is taken apart by the
 * confined `zstd` program, all else here. @throws ImageError badLayer, badArchive, tooLarge, hostFault
 */
export async function layerFiles(path: string, mediaType: string, limits: ListLimits): Promise<LayerNode> {
  const root = directoryNode();
  let count = 0;
  const read = async (tar: Readable): Promise<void> => {
    for await (const entry of tarEntries(tar, limits.tarBytes)) {
      if (++count > limits.entries)
        throw new ImageError(
          'tooLarge',
          `the layer has more than ${limits.entries} entries`,
          'Use a smaller layer.',
        );
      await place(root, entry, limits.depth);
    }
  };
  if (mediaType.endsWith('+zstd')) await throughZstd(path, limits, read);
  else await read(await gunzipped(createReadStream(path)));
  return root;
}

async function throughZstd(
  path: string,
  { tarBytes }: ListLimits,
  read: (tar: Readable) => Promise<void>,
): Promise<void> {
  const bounds = { fileBytes: tarBytes, cpuSeconds: 900, openFiles: 128, addressBytes: 2 ** 30 };
  const args = ['-q', '-d', '-c', '--single-thread', '--memory=128MB'];
  const zstd = confined([], bounds, 'zstd', args, confinedId());
  const blob = await open(path, 'r');
  const child = spawn(zstd.command, zstd.args, {
    stdio: [blob.fd, 'pipe', 'ignore'],
    env: { PATH: process.env['PATH'] ?? '', LC_ALL: 'C' },
    cwd: '/',
  });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', (e) =>
      reject(new ImageError('hostFault', `cannot start zstd: ${e.message}`, 'Install util-linux and zstd.')),
    );
    child.once('close', resolve);
  });
  ended.catch(() => undefined);
  try {
    await read(child.stdout as Readable);
    if ((await ended) !== 0)
      throw new ImageError('badArchive', 'zstd cannot decompress the layer', 'Build the image again.');
  } finally {
    child.kill('SIGKILL');
    await blob.close();
  }
}

async function place(root: LayerNode, { header, content }: TarEntry, depth: number): Promise<void> {
  const parts = archivePath(header.name, depth, 'badLayer');
  const hidden = parts.slice(0, -1).find((part) => part.startsWith('.wh.'));
  if (hidden?.startsWith('.wh..wh.') === true) return;
  if (hidden !== undefined) throw bad(header.name, 'lies below a whiteout');
  const name = parts.at(-1);
  if (name === undefined) {
    if (header.type !== 'directory') throw bad(header.name, `makes the root a ${header.type}`);
    root.facts = factsOf(header, '');
    return;
  }
  const parent = directoryOf(root, parts.slice(0, -1), header.name);
  if (name === '.wh..wh..opq') parent.opaque = true;
  else if (name.startsWith('.wh..wh.')) return;
  else if (name.startsWith('.wh.')) parent.whiteouts.add(name.slice('.wh.'.length));
  else if (header.type === 'directory') {
    const there = parent.children?.get(name);
    if (there?.children) there.facts = factsOf(header, '');
    else parent.children?.set(name, directoryNode(factsOf(header, '')));
  } else {
    const facts = header.type === 'link' ? linked(root, header, depth) : await fileFacts(header, content);
    parent.children?.set(name, { facts, children: null, whiteouts: new Set(), opaque: false });
  }
}

async function fileFacts(header: TarHeader, content: AsyncIterable<Buffer>): Promise<FileFacts> {
  if (header.type === 'symlink') return factsOf(header, header.linkname);
  if (header.type !== 'file') return factsOf(header, '');
  const hash = createHash('sha256');
  for await (const chunk of content) hash.update(chunk);
  return factsOf(header, hash.digest('hex'));
}

/** A hard link is what it links to. */
function linked(root: LayerNode, { name, linkname }: TarHeader, depth: number): FileFacts {
  const parts = archivePath(linkname, depth, 'badLayer');
  let at: LayerNode | undefined = root;
  for (const part of parts) at = at?.children?.get(part);
  if (at === undefined || at.children !== null || at.facts === null)
    throw bad(name, `links to ${JSON.stringify(linkname.slice(0, 200))}, which is no file of this layer`);
  return at.facts;
}

function directoryOf(root: LayerNode, parts: readonly string[], of: string): LayerNode {
  let at = root;
  for (const part of parts) {
    const next: LayerNode = at.children?.get(part) ?? directoryNode();
    at.children?.set(part, next);
    if (next.children === null) throw bad(of, `lies below ${JSON.stringify(part)}, which is no directory`);
    at = next;
  }
  return at;
}

const factsOf = (header: TarHeader, content: string): FileFacts => ({
  type: header.type,
  mode: header.mode & 0o7777,
  owner: `${header.uid}:${header.gid}`,
  sizeBytes: header.size,
  content,
});
