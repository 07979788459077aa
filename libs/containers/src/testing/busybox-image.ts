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

/** Imports a small OCI image into the blob store: this machine's static busybox, two users, one script as its command. */
export async function busyboxImage(
  blobs: BlobStore,
  change: { readonly diffId?: string } = {},
): Promise<OciContent> {
  const layer = await tar([
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
  ]);
  const zipped = gzipSync(layer);
  const config = json({
    architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
    os: 'linux',
    config: { Entrypoint: ['/bin/sh', '-c'], Cmd: ['true'], Env: ['FROM_IMAGE=yes'] },
    rootfs: { type: 'layers', diff_ids: [change.diffId ?? digest(layer)] },
  });
  const manifest = json({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: {
      mediaType: 'application/vnd.oci.image.config.v1+json',
      digest: digest(config),
      size: config.length,
    },
    layers: [
      {
        mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
        digest: digest(zipped),
        size: zipped.length,
      },
    ],
  });
  const target = {
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    digest: digest(manifest),
    size: manifest.length,
  };
  const archive = await tar([
    { name: 'oci-layout', content: json({ imageLayoutVersion: '1.0.0' }) },
    { name: 'index.json', content: json({ schemaVersion: 2, manifests: [target] }) },
    ...[zipped, config, manifest].map((blob) => ({
      name: `blobs/sha256/${digest(blob).slice(7)}`,
      content: blob,
    })),
  ]);
  return importArchive(Readable.from([archive], { objectMode: false }), blobs);
}

async function tar(items: readonly (Headers & { readonly content?: string | Buffer })[]): Promise<Buffer> {
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
