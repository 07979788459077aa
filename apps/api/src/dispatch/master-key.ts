import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { chmod, mkdir, open, readFile, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

const version = 'v1';

/**
 * The one root-only key (32 bytes, hex, in a file of mode 0600) that envelopes secrets at rest with AES-256-GCM
 * (NIST SP 800-38D; 96-bit random nonces). Replicas of the API share the file.
 */
export class MasterKey {
  constructor(private readonly key: Buffer) {
    if (key.length !== 32) throw new Error('the master key must hold 32 bytes');
  }

  /**
   * Reads the key; makes one where there is none.
   * @throws when others can read the file or it does not hold a key: a lost key must not be papered over by a new one
   */
  static async open(path: string): Promise<MasterKey> {
    await mkdir(dirname(path), { recursive: true, mode: 0o755 });
    await create(path);
    const { mode } = await stat(path);
    if ((mode & 0o077) !== 0)
      throw new Error(`${path} can be read by others; chmod 600 it and rotate what it protects`);
    const text = (await readFile(path, 'utf8')).trim();
    if (!/^[0-9a-f]{64}$/.test(text))
      throw new Error(`${path} does not hold a master key (64 hex digits); restore it from a backup`);
    return new MasterKey(Buffer.from(text, 'hex'));
  }

  /** `v1.<nonce>.<tag>.<ciphertext>`, base64url. `purpose` is bound to it: an envelope opens only for the same purpose. */
  seal(plain: string, purpose: string): string {
    const nonce = randomBytes(12);
    const cipher = createCipheriv('aes-256-gcm', this.key, nonce).setAAD(Buffer.from(purpose));
    const body = Buffer.concat([cipher.update(plain, 'utf8'), cipher.final()]);
    return [version, ...[nonce, cipher.getAuthTag(), body].map((b) => b.toString('base64url'))].join('.');
  }

  /** @throws when the envelope was made by another key, for another purpose, or was changed */
  open(envelope: string, purpose: string): string {
    const [found, nonce, tag, body] = envelope.split('.');
    if (found !== version || nonce === undefined || tag === undefined || body === undefined)
      throw new Error('not an envelope of this version');
    const bytes = (text: string): Buffer => Buffer.from(text, 'base64url');
    const decipher = createDecipheriv('aes-256-gcm', this.key, bytes(nonce), { authTagLength: 16 })
      .setAAD(Buffer.from(purpose))
      .setAuthTag(bytes(tag));
    try {
      return Buffer.concat([decipher.update(bytes(body)), decipher.final()]).toString('utf8');
    } catch (cause) {
      throw new Error(`the ${purpose} was enveloped with another master key`, { cause });
    }
  }
}

/** Whoever comes first writes the key; it is complete on disk before anyone can have used it. */
async function create(path: string): Promise<void> {
  let file;
  try {
    file = await open(path, 'wx', 0o600);
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code === 'EEXIST') return;
    throw e;
  }
  try {
    await file.writeFile(`${randomBytes(32).toString('hex')}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  await chmod(path, 0o600);
}
