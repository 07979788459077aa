import { createHash } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { type Behaviour, file, SourceServer } from './source-server.js';

export const types = {
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  index: 'application/vnd.oci.image.index.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar',
};

export const digestOf = (bytes: Buffer): string =>
  `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
export const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
export const described = (
  mediaType: string,
  bytes: Buffer,
): { mediaType: string; digest: string; size: number } => ({
  mediaType,
  digest: digestOf(bytes),
  size: bytes.length,
});

/** An image in its parts. What its layers unpack to nobody asks here. */
export interface ImageParts {
  readonly manifest: Buffer;
  readonly config: Buffer;
  readonly layers: readonly Buffer[];
}

/** @param change fields of the manifest, which need not be true */
export function imageParts(layers: readonly Buffer[], change: object = {}): ImageParts {
  const config = json({
    architecture: 'amd64',
    os: 'linux',
    rootfs: { type: 'layers', diff_ids: layers.map(digestOf) },
  });
  const manifest = json({
    schemaVersion: 2,
    mediaType: types.manifest,
    config: described(types.config, config),
    layers: layers.map((layer) => described(types.layer, layer)),
    ...change,
  });
  return { manifest, config, layers };
}

/** A registry that does every wrong thing, as far as it is told to. */
export class FakeRegistry {
  private constructor(
    readonly server: SourceServer,
    private readonly repository: string,
  ) {}

  static async start(repository = 'x/y'): Promise<FakeRegistry> {
    return new FakeRegistry(await SourceServer.start(), repository);
  }

  get domain(): string {
    return `127.0.0.1:${this.server.port}`;
  }

  /** A manifest under a name (tag or digest). @returns its reference */
  manifest(name: string, bytes: Buffer, type = types.manifest, headers: Record<string, string> = {}): string {
    return this.at(`manifests/${name}`, (_, response) => {
      response.writeHead(200, { 'content-type': type, ...headers });
      response.end(bytes);
    });
  }

  blob(bytes: Buffer, behaviour: Behaviour = file(() => bytes)): void {
    this.at(`blobs/${digestOf(bytes)}`, behaviour);
  }

  /** A whole image under a tag. @returns its reference */
  image(tag: string, { manifest, config, layers }: ImageParts): string {
    for (const blob of [config, ...layers]) this.blob(blob);
    return this.manifest(tag, manifest);
  }

  at(path: string, behaviour: Behaviour): string {
    this.server.at(`/v2/${this.repository}/${path}`, behaviour);
    const name = path.replace('manifests/', '');
    return `${this.domain}/${this.repository}${name.startsWith('sha256:') ? '@' : ':'}${name}`;
  }

  stop(): Promise<void> {
    return this.server.stop();
  }
}

/** Answers 401 with a challenge. */
export function challenge(response: ServerResponse, header: string): void {
  response.writeHead(401, { 'www-authenticate': header, 'content-type': 'application/json' }).end('{}');
}
