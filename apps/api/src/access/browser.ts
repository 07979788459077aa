import { createHmac, timingSafeEqual } from 'node:crypto';

/*
 * What a browser shows instead of a bearer token: a cookie that scripts cannot read, and for every mutation a header
 * that only a script of the same origin can have. Both names differ by scheme, because a cookie that was set over HTTPS
 * must not be replaceable over HTTP: `__Host-` makes browsers refuse that (RFC 6265bis section 4.1.3.2).
 */
const names = { 'http:': 'berth_session', 'https:': '__Host-berth_session' } as const;
type Scheme = keyof typeof names;

/** Header that repeats {@link csrfOf} on mutations by cookie. */
export const csrfHeader = 'x-berth-csrf';

const wellFormed = /^berthsession_[A-Za-z0-9_-]{43}$/;

/** The session secret of a Cookie header, and the scheme it was set under; null when there is none of ours. */
export function cookieOf(header: string | undefined): { secret: string; scheme: Scheme } | null {
  const pairs = (header ?? '').split(';').map((p) => p.trim().split('=') as [string, string | undefined]);
  for (const scheme of ['https:', 'http:'] as const) {
    const value = pairs.find(([name]) => name === names[scheme])?.[1];
    if (value !== undefined && wellFormed.test(value)) return { secret: value, scheme };
  }
  return null;
}

/** `Set-Cookie` for a session of that many seconds; 0 removes it. */
export function cookieSet(scheme: Scheme, secret: string, maxAgeSeconds: number): string {
  const secure = scheme === 'https:' ? '; Secure' : '';
  return `${names[scheme]}=${secret}; Path=/; Max-Age=${maxAgeSeconds}; HttpOnly; SameSite=Strict${secure}`;
}

/**
 * The scheme under which a browser sees this API, or null when the request came from a page of elsewhere. Browsers send
 * Origin with everything but GET and HEAD (Fetch standard, "append a request Origin header"); a proxy that ends TLS
 * must pass the Host header on as it came.
 */
export function originScheme(origin: string | undefined, host: string | undefined): Scheme | null {
  if (origin === undefined || host === undefined || !URL.canParse(origin)) return null;
  const url = new URL(origin);
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return null;
  const asked = `${url.protocol}//${host}`;
  return URL.canParse(asked) && new URL(asked).host === url.host ? url.protocol : null;
}

/** What a page must send in {@link csrfHeader}: bound to its session, and of no use without the cookie. */
export function csrfOf(secret: string): string {
  return createHmac('sha256', secret).update('berth csrf').digest('base64url');
}

export function csrfMatches(secret: string, sent: string | string[] | undefined): boolean {
  const wanted = Buffer.from(csrfOf(secret));
  const got = Buffer.from(typeof sent === 'string' ? sent : '');
  return wanted.length === got.length && timingSafeEqual(wanted, got);
}
