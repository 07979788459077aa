import { LinkError } from './door.js';

/** The parts of a join token: the secret is known to the store by its hash only; the fingerprint pins the CA. */
export interface JoinToken {
  readonly secret: string;
  /** SHA-256 of the CA certificate's DER, lower-case hex. */
  readonly caFingerprint: string;
}

const shape = /^([A-Za-z0-9_-]{16,128})\.([0-9a-f]{64})$/;

/** The text an operator carries to the new host. */
export function formatJoinToken(token: JoinToken): string {
  return `${token.secret}.${token.caFingerprint}`;
}

/** @throws LinkError malformed */
export function parseJoinToken(text: string): JoinToken {
  const found = shape.exec(text.trim());
  if (found?.[1] === undefined || found[2] === undefined)
    throw new LinkError(
      'malformed',
      'the join token must read <secret>.<CA fingerprint>; ask the API for a new one',
    );
  return { secret: found[1], caFingerprint: found[2] };
}
