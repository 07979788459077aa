/*
 * What a registry asks for and is given: challenges (RFC 9110 section 11.6.1) and bearer tokens (distribution's "token
 * authentication").
 */

export interface PasswordCredentials {
  readonly username: string;
  readonly password: string;
}

/** What is signed in with at a registry: a password, or what its token server takes as an OAuth 2 refresh token. */
export type RegistryCredentials = PasswordCredentials | { readonly identityToken: string };

export interface Challenge {
  /** In lower case. */
  readonly scheme: string;
  readonly params: Readonly<Record<string, string>>;
}

/** A word, and the value after it where there is one: quoted, or a token. */
const item = /([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*)))?/g;

/** The challenges of a `WWW-Authenticate` header. What is no challenge is passed over. */
export function challengesOf(header: string): readonly Challenge[] {
  const found: { scheme: string; params: Record<string, string> }[] = [];
  for (const [, word = '', quoted, token] of header.matchAll(item)) {
    const value = quoted?.replace(/\\(.)/g, '$1') ?? token;
    if (value === undefined)
      found.push({ scheme: word.toLowerCase(), params: Object.create(null) as Record<string, string> });
    else {
      const params = found.at(-1)?.params;
      if (params !== undefined) params[word.toLowerCase()] ??= value;
    }
  }
  return found;
}

export const basicAuthorization = ({ username, password }: PasswordCredentials): string =>
  `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;

/**
 * The token in a token server's answer; null when there is none that may stand in a header.
 */
export function tokenOf(body: Buffer): string | null {
  let answer: { token?: unknown; access_token?: unknown } | null;
  try {
    answer = JSON.parse(body.toString('utf8')) as typeof answer;
  } catch {
    return null;
  }
  const token = answer?.token ?? answer?.access_token;
  return typeof token === 'string' && /^[\x21-\x7e]{1,16384}$/.test(token) ? token : null;
}
