import { createHash, randomBytes } from 'node:crypto';

/** A bearer secret as it is shown once, and what is stored of it. */
export interface Secret {
  readonly plain: string;
  readonly hash: string;
}

/**
 * 256 random bits behind a prefix that secret scanners can find; `berth_` for API tokens, `berthjoin_` for hosts,
 * `berthsession_` for browsers, `berthticket_` for terminals.
 */
export function makeSecret(prefix: 'berth_' | 'berthjoin_' | 'berthsession_' | 'berthticket_'): Secret {
  const plain = prefix + randomBytes(32).toString('base64url');
  return { plain, hash: hashSecret(plain) };
}

/**
 * What is stored and looked up. One round of SHA-256 is right here, where a password would need argon2: the input has
 * 256 bits of entropy, so guessing is hopeless at any speed, and each request pays for this hash. Looking the hash up
 * in an index leaks nothing useful by timing: an attacker cannot choose its bytes.
 */
export function hashSecret(plain: string): string {
  return createHash('sha256').update(plain, 'utf8').digest('hex');
}

const wellFormed = /^berth_[A-Za-z0-9_-]{43}$/;

/** The token of an `Authorization: Bearer …` header (RFC 6750 section 2.1), or null when there is none of ours. */
export function bearerOf(header: string | undefined): string | null {
  const match = /^Bearer +(\S+) *$/i.exec(header ?? '');
  const token = match?.[1];
  return token !== undefined && wellFormed.test(token) ? token : null;
}
