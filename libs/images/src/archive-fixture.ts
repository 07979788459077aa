import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import type { Digest } from '@berth/model';
import { Digest as DigestSchema } from '@berth/model';
import type { Headers } from 'tar-stream';
import { pack } from 'tar-stream';

/** One tar entry of a test archive, written as given: also names that no honest tool writes. */
export type TarItem = Headers & {
  readonly content?: string | Buffer;
  /** Records of a pax header before it. */
  readonly pax?: Readonly<Record<string, string>>;
};

/** Archives for tests, made byte by byte. */
export async function tarOf(items: readonly TarItem[]): Promise<Buffer> {
  const packer = pack();
  for (const { content, ...header } of items) {
    const mtime = header.mtime ?? new Date(1_000_000_000_000);
    packer.entry({ ...header, mtime }, content ?? '');
  }
  packer.finalize();
  const parts: Buffer[] = [];
  for await (const part of packer) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

export function digestOf(bytes: Buffer | string): Digest {
  return DigestSchema.parse(`sha256:${createHash('sha256').update(bytes).digest('hex')}`);
}

export function streamOf(bytes: Buffer): Readable {
  return Readable.from([bytes], { objectMode: false });
}

export interface OciParts {
  readonly layer: Buffer;
  readonly arch?: string;
  readonly diffId?: Digest;
  /** Last change before the archive is packed. */
  readonly files?: (files: Map<string, Buffer>) => void;
  readonly index?: (manifest: { digest: Digest; size: number }) => unknown;
}

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

/** An OCI layout tar with one gzip layer. */
export async function ociTar(parts: OciParts): Promise<Buffer> {
  const zipped = gzipSync(parts.layer);
  const config = json({
    architecture: parts.arch ?? 'amd64',
    os: 'linux',
    config: { Entrypoint: ['/bin/demo'], Cmd: null, Env: ['A=b'], StopSignal: 'SIGTERM' },
    rootfs: { type: 'layers', diff_ids: [parts.diffId ?? digestOf(parts.layer)] },
  });
  const manifest = json({
    schemaVersion: 2,
    config: {
      mediaType: 'application/vnd.oci.image.config.v1+json',
      digest: digestOf(config),
      size: config.length,
    },
    layers: [
      {
        mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
        digest: digestOf(zipped),
        size: zipped.length,
      },
    ],
  });
  const files = new Map<string, Buffer>();
  for (const blob of [zipped, config, manifest]) files.set(blobPath(digestOf(blob)), blob);
  const target = { digest: digestOf(manifest), size: manifest.length };
  files.set('oci-layout', json({ imageLayoutVersion: '1.0.0' }));
  const mediaType = 'application/vnd.oci.image.manifest.v1+json';
  files.set(
    'index.json',
    json(parts.index?.(target) ?? { schemaVersion: 2, manifests: [{ mediaType, ...target }] }),
  );
  parts.files?.(files);
  return tarOf([...files].map(([name, content]) => ({ name, content })));
}

export function blobPath(digest: Digest): string {
  return `blobs/sha256/${digest.slice(7)}`;
}
