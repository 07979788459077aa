import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { type Headers, pack } from 'tar-stream';
import { type BlobStore, type OciContent, importArchive } from '@berth/images';

const APPLETS = [
  'cat',
  'dd',
  'echo',
  'expr',
  'hostname',
  'id',
  'ip',
  'kill',
  'ls',
  'mount',
  'nslookup',
  'ping',
  'sh',
  'sleep',
  'tail',
  'test',
  'tr',
  'true',
  'unshare',
];
const PASSWD = 'root:x:0:0:root:/root:/bin/sh\nweb:x:101:102:web:/tmp:/bin/sh\n';
const GROUP = 'root:x:0:\nweb:x:102:\nlogs:x:104:root,web\n';

/** An entry of a layer: a tar header with the content of its file. */
export type LayerEntry = Headers & {
  readonly content?: string | Buffer;
  readonly pax?: Readonly<Record<string, string>>;
};

export interface ImageChange {
  /** Stated for the busybox layer in place of its true one. */
  readonly diffId?: string;
  /** Entries of a second layer above busybox's. */
  readonly layer?: readonly LayerEntry[];
  /** Fields of the image's configuration, `WorkingDir` for one. */
  readonly config?: Readonly<Record<string, unknown>>;
}

/** Imports `busyboxArchive` into the blob store. */
export async function busyboxImage(blobs: BlobStore, change: ImageChange = {}): Promise<OciContent> {
  return importArchive(Readable.from([await busyboxArchive(change)], { objectMode: false }), blobs);
}

/** A small OCI image as an archive: this machine's static busybox, two users, one script as its command. */
export async function busyboxArchive(change: ImageChange = {}): Promise<Buffer> {
  const layers = [await tar(busyboxLayer()), ...(change.layer ? [await tar(change.layer)] : [])];
  const zipped = layers.map((layer) => gzipSync(layer));
  const [busyboxDiffId, ...diffIds] = layers.map(digest);
  const config = json({
    architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
    os: 'linux',
    config: { Entrypoint: ['/bin/sh', '-c'], Cmd: ['true'], Env: ['FROM_IMAGE=yes'], ...change.config },
    rootfs: { type: 'layers', diff_ids: [change.diffId ?? busyboxDiffId, ...diffIds] },
  });
  const manifest = json({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: described('application/vnd.oci.image.config.v1+json', config),
    layers: zipped.map((layer) => described('application/vnd.oci.image.layer.v1.tar+gzip', layer)),
  });
  const target = described('application/vnd.oci.image.manifest.v1+json', manifest);
  return tar([
    { name: 'oci-layout', content: json({ imageLayoutVersion: '1.0.0' }) },
    { name: 'index.json', content: json({ schemaVersion: 2, manifests: [target] }) },
    ...[...zipped, config, manifest].map((blob) => ({
      name: `blobs/sha256/${digest(blob).slice(7)}`,
      content: blob,
    })),
  ]);
}

function busyboxLayer(): LayerEntry[] {
  return [
    ...['bin', 'etc', 'proc', 'sys', 'dev', 'root'].map((name) => ({
      name,
      type: 'directory' as const,
      mode: 0o755,
    })),
    { name: 'tmp', type: 'directory', mode: 0o1777 },
    { name: 'bin/busybox', mode: 0o755, content: readFileSync('/bin/busybox') },
    ...APPLETS.map((name) => ({ name: `bin/${name}`, type: 'symlink' as const, linkname: 'busybox' })),
    { name: 'etc/passwd', content: PASSWD },
    { name: 'etc/group', content: GROUP },
  ];
}

/** A descriptor of the OCI image specification. */
function described(mediaType: string, blob: Buffer): { mediaType: string; digest: string; size: number } {
  return { mediaType, digest: digest(blob), size: blob.length };
}

async function tar(items: readonly LayerEntry[]): Promise<Buffer> {
  const packer = pack();
  for (const { content, ...header } of items) packer.entry(header, content ?? '');
  packer.finalize();
  const parts: Buffer[] = [];
  for await (const part of packer) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

function digest(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}
