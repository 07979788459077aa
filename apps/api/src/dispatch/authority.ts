import { X509Certificate, createHash, randomBytes, webcrypto } from 'node:crypto';
import 'reflect-metadata';
import * as x509 from '@peculiar/x509';
import { certificateFingerprint, formatJoinToken, linkServerName } from '@berth/link';
import type { HostId } from '@berth/model';
import type { Clock, MetaStore } from '../store/store.js';
import type { MasterKey } from './master-key.js';

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const purpose = 'certificate authority key';
/** RFC 5280 section 4.2.1.12 */
const usage = { server: '1.3.6.1.5.5.7.3.1', client: '1.3.6.1.5.5.7.3.2' } as const;
const hour = 3_600_000;
/** Clocks of hosts may be behind by this much. */
const skewMs = hour;
const hostUri = 'berth:host:';

x509.cryptoProvider.set(webcrypto as never);

/** A certificate request or certificate that this authority does not accept. */
export class AuthorityError extends Error {}

/**
 * The cluster's certificate authority. Its key lives in the store, enveloped with the master key, so that two replicas
 * of the API are one authority. It signs host certificates (client only, at most 24 hours) and the link's own.
 */
export class Authority {
  private constructor(
    readonly certificatePem: string,
    private readonly certificate: x509.X509Certificate,
    private readonly key: webcrypto.CryptoKey,
    private readonly clock: Clock,
    readonly hostLifeMs: number,
  ) {}

  /** Loads the authority, or makes it; of several first starts one wins. `hostLifeMs`: life of host certificates. */
  static async open(
    store: MetaStore,
    masterKey: MasterKey,
    clock: Clock,
    hostLifeMs = 24 * hour,
  ): Promise<Authority> {
    const material = (await store.caGet()) ?? (await store.caInit(await makeAuthority(masterKey, clock)));
    const pkcs8 = Buffer.from(masterKey.open(material.keyEnvelope, purpose), 'base64');
    const key = await webcrypto.subtle.importKey('pkcs8', pkcs8, algorithm, false, ['sign']);
    const certificate = new x509.X509Certificate(material.certificatePem);
    return new Authority(material.certificatePem, certificate, key, clock, Math.min(hostLifeMs, 24 * hour));
  }

  /** SHA-256 of the CA certificate, as join tokens carry it. */
  get fingerprint(): string {
    return certificateFingerprint(this.certificatePem);
  }

  /** The text an operator carries to a new host, from the secret whose hash the store keeps. */
  joinTokenText(secret: string): string {
    return formatJoinToken({ secret, caFingerprint: this.fingerprint });
  }

  /** Key and chain of the link's server, fresh. */
  async serverCredentials(): Promise<{ key: string; cert: string; expiresAt: Date }> {
    const pair = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
    const expiresAt = new Date(this.clock.now().getTime() + 24 * hour);
    const cert = await this.sign(pair.publicKey, `CN=${linkServerName}`, expiresAt, [
      new x509.ExtendedKeyUsageExtension([usage.server]),
      new x509.SubjectAlternativeNameExtension([{ type: 'dns', value: linkServerName }]),
    ]);
    const pkcs8 = await webcrypto.subtle.exportKey('pkcs8', pair.privateKey);
    const key = x509.PemConverter.encode(pkcs8, 'PRIVATE KEY');
    return { key, cert: `${cert}\n${this.certificatePem}\n`, expiresAt };
  }

  /** @throws AuthorityError when the request is not one, is not signed by its own key, or has a weak key */
  async readRequest(csrPem: string): Promise<{ publicKey: x509.PublicKey; keyFingerprint: string }> {
    let csr: x509.Pkcs10CertificateRequest;
    let sound: boolean;
    try {
      csr = new x509.Pkcs10CertificateRequest(csrPem);
      sound = await csr.verify();
    } catch (cause) {
      throw new AuthorityError('the certificate request cannot be read', { cause });
    }
    if (!sound) throw new AuthorityError('the certificate request is not signed by its own key');
    const kind = csr.publicKey.algorithm as { name: string; namedCurve?: string };
    if (kind.name !== 'ECDSA' || kind.namedCurve !== 'P-256')
      throw new AuthorityError('host keys must be ECDSA P-256');
    const keyFingerprint = createHash('sha256').update(Buffer.from(csr.publicKey.rawData)).digest('hex');
    return { publicKey: csr.publicKey, keyFingerprint };
  }

  /** A host's certificate: for TLS clients only, naming the host by id. */
  async certifyHost(hostId: HostId, publicKey: x509.PublicKey): Promise<string> {
    const until = new Date(this.clock.now().getTime() + this.hostLifeMs);
    return this.sign(publicKey, `CN=${hostId}`, until, [
      new x509.ExtendedKeyUsageExtension([usage.client]),
      new x509.SubjectAlternativeNameExtension([{ type: 'url', value: `${hostUri}${hostId}` }]),
    ]);
  }

  /** The host a certificate of ours names, expired or not. @throws AuthorityError when it is not ours */
  hostOf(certificate: X509Certificate): HostId {
    const ca = new X509Certificate(this.certificatePem);
    if (!certificate.verify(ca.publicKey))
      throw new AuthorityError('the certificate is of another authority');
    const found = /^URI:berth:host:([0-9a-f-]{36})$/.exec(certificate.subjectAltName ?? '');
    if (found?.[1] === undefined) throw new AuthorityError('the certificate names no host');
    return found[1] as HostId;
  }

  private async sign(
    publicKey: webcrypto.CryptoKey | x509.PublicKey,
    subject: string,
    notAfter: Date,
    extensions: x509.Extension[],
  ): Promise<string> {
    // A host that expires within the skew would otherwise get a life that began after it ended.
    const notBefore = new Date(this.clock.now().getTime() - skewMs);
    const certificate = await x509.X509CertificateGenerator.create({
      serialNumber: serial(),
      subject,
      issuer: this.certificate.subject,
      notBefore,
      notAfter,
      signingKey: this.key as never,
      publicKey: publicKey as never,
      signingAlgorithm: algorithm,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        ...extensions,
      ],
    });
    return certificate.toString('pem');
  }
}

/** Positive and random (RFC 5280 section 4.1.2.2). */
function serial(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes.toString('hex');
}

async function makeAuthority(
  masterKey: MasterKey,
  clock: Clock,
): Promise<{ certificatePem: string; keyEnvelope: string }> {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const now = clock.now().getTime();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serial(),
    name: `CN=Berth authority ${randomBytes(4).toString('hex')}`,
    notBefore: new Date(now - skewMs),
    notAfter: new Date(now + 10 * 365 * 24 * hour),
    keys: keys as never,
    signingAlgorithm: algorithm,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey as never),
    ],
  });
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64');
  return { certificatePem: certificate.toString('pem'), keyEnvelope: masterKey.seal(pkcs8, purpose) };
}
