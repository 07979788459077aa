import { X509Certificate, createPrivateKey, generateKeyPair, webcrypto } from 'node:crypto';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join as joinPath } from 'node:path';
import { promisify } from 'node:util';
import { LinkError, join, renew } from '@berth/link';
import type { JoinAnswer, LinkAddress, LinkIdentity } from '@berth/link';
import { writeFileAtomic } from '@berth/linux';
import { HostId } from '@berth/model';
import { z } from 'zod';

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

const Stored = z.strictObject({
  format: z.literal(1),
  hostId: HostId,
  certificate: z.string(),
  key: z.string(),
  ca: z.string(),
});
type Stored = z.infer<typeof Stored>;

/** PKCS #8 PEM of a fresh P-256 key. */
export async function makeKey(): Promise<string> {
  const { privateKey } = await promisify(generateKeyPair)('ec', { namedCurve: algorithm.namedCurve });
  return privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
}

/** PKCS #10 request for a key. The subject is only a hint: the API names hosts. */
export async function makeCsr(keyPem: string, name: string): Promise<string> {
  const pkcs8 = createPrivateKey(keyPem).export({ type: 'pkcs8', format: 'der' });
  const privateKey = await webcrypto.subtle.importKey('pkcs8', pkcs8, algorithm, true, ['sign']);
  const jwk = await webcrypto.subtle.exportKey('jwk', privateKey);
  const { d: _secret, ...publicJwk } = jwk;
  const publicKey = await webcrypto.subtle.importKey(
    'jwk',
    { ...publicJwk, key_ops: ['verify'] },
    algorithm,
    true,
    ['verify'],
  );
  // Only who joins or renews needs it, and loading it takes as long as all the rest of an agent's start.
  await import('reflect-metadata');
  const x509 = await import('@peculiar/x509');
  const csr = await x509.Pkcs10CertificateRequestGenerator.create(
    {
      name: `CN=${name}`,
      keys: { privateKey, publicKey } as webcrypto.CryptoKeyPair,
      signingAlgorithm: algorithm,
    },
    webcrypto as never,
  );
  return csr.toString('pem');
}

/**
 * Who this host is: key, certificate and the CA it trusts, in one root-only file. The key is made once and written
 * before the first request, so that a join whose answer was lost can be repeated with the same token and key.
 */
export class HostIdentity {
  private constructor(
    private readonly dir: string,
    private stored: Stored,
  ) {}

  /** Reads the identity, or joins with the token. @throws LinkError */
  static async obtain(o: {
    dir: string;
    address: LinkAddress;
    name: string;
    labels: Record<string, string>;
    readToken: () => Promise<string>;
  }): Promise<HostIdentity> {
    await mkdir(o.dir, { recursive: true, mode: 0o700 });
    const known = await readText(joinPath(o.dir, 'identity.json'));
    if (known !== null) return new HostIdentity(o.dir, Stored.parse(JSON.parse(known)));
    const keyPath = joinPath(o.dir, 'join-key.pem');
    let key = await readText(keyPath);
    if (key === null) {
      key = await makeKey();
      await writeFileAtomic(keyPath, key, { mode: 0o600 });
    }
    const token = (await o.readToken()).trim();
    const csr = await makeCsr(key, o.name);
    const answer = await join(o.address, { token, csr, name: o.name, labels: o.labels });
    const identity = new HostIdentity(o.dir, storedOf(answer, key));
    await identity.save();
    await rm(keyPath, { force: true });
    return identity;
  }

  get hostId(): HostId {
    return this.stored.hostId;
  }

  get link(): LinkIdentity {
    return this.stored;
  }

  /** When to renew: at two thirds of the certificate's life. Milliseconds since the epoch. */
  get renewAt(): number {
    const { validFrom, validTo } = new X509Certificate(this.stored.certificate);
    const from = Date.parse(validFrom);
    return from + ((Date.parse(validTo) - from) * 2) / 3;
  }

  get expiresAt(): number {
    return Date.parse(new X509Certificate(this.stored.certificate).validTo);
  }

  /** A new certificate for the same key. @throws LinkError */
  async renew(address: LinkAddress): Promise<void> {
    const { key, certificate, ca, hostId } = this.stored;
    const answer = await renew(address, ca, { csr: await makeCsr(key, hostId), certificate });
    if (answer.hostId !== hostId) throw new LinkError('malformed', 'the renewal names another host');
    this.stored = storedOf(answer, key);
    await this.save();
  }

  private save(): Promise<void> {
    return writeFileAtomic(joinPath(this.dir, 'identity.json'), JSON.stringify(this.stored), { mode: 0o600 });
  }
}

const storedOf = ({ hostId, certificate, ca }: JoinAnswer, key: string): Stored => ({
  format: 1,
  hostId,
  certificate,
  key,
  ca,
});

async function readText(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw e;
  }
}
