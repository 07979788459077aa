import type { IncomingMessage } from 'node:http';
import type { RegistryReference } from '@berth/images';
import { BerthError, type ImageSources } from '@berth/model';
import { Turns } from '../ledger/turns.js';
import { arriving } from './arriving.js';
import { asInterrupted, refusal } from './download.js';
import { urlFault } from './image-source.js';
import {
  basicAuthorization,
  type Challenge,
  challengesOf,
  type RegistryCredentials,
  tokenOf,
} from './registry-auth.js';
import { sourceGet, type SourceRequest } from './source-get.js';

export interface RegistryAccess {
  readonly reference: RegistryReference;
  /** Null: anonymous. */
  readonly credentials: RegistryCredentials | null;
  /** They are those that the project keeps, and did not come with the request. */
  readonly kept: boolean;
  readonly base: URL;
  /** What is done there, and a token asked for. */
  readonly access: 'pull' | 'push';
  /** Other repositories of the registry that blobs may be taken over from: a token is asked for that reads them too. */
  readonly elsewhere?: readonly string[];
  /** The configuration of the API names it, so it may be at a private address. What it leads to may not. */
  readonly named?: boolean;
  /** Without a byte for this long a connection is given up, milliseconds. */
  readonly stallMs: number;
}

/** A request that sends, or asks whether something is there. */
export type RegistryRequest = Pick<SourceRequest, 'method' | 'body' | 'length'> & {
  readonly headers?: Readonly<Record<string, string>>;
} & ({ readonly path: string } | { readonly at: URL });

/** A token server's answer is at most this long, bytes. */
const tokenAnswerMost = 64 * 1024;
/** Of one request, with what others got and with what itself got. */
const triesMost = 4;

/**
 * Reads, or writes, one repository of a registry (OCI distribution specification 1.1, "Pull" and "Push"). Signs in when it is asked to: what it was
 * given is sent to the registry alone and, in exchange for a token, to the token server that the registry names. Every
 * connection is made by {@link sourceGet}, so the project's rules hold for token servers and redirects too.
 */
export class RegistryClient {
  /** What got the last request through. */
  private authorization: string | undefined;
  /** One request signs in at a time, for all. */
  private readonly signingIn = new Turns(1);

  constructor(private readonly o: RegistryAccess) {}

  /**
   * GET below the repository. Answers that are for good are refused; a busy server's are returned. The caller reads the body
   * or destroys it. @throws BerthError forbidden, notFound, unavailable; Interrupted
   */
  async get(
    path: string,
    headers: Readonly<Record<string, string>>,
    sources: ImageSources,
    signal: AbortSignal,
  ): Promise<IncomingMessage> {
    const response = await this.signedIn(this.at(path), { headers }, sources, signal);
    if (response.statusCode !== 404) return response;
    response.destroy();
    const { reference } = this.o;
    throw new BerthError(
      'notFound',
      `the registry has no ${path.replace(/s\//, ' ')} in ${reference.repository}`,
      {
        remedy: `See which tags there are, for example by skopeo list-tags docker://${reference.domain}/${reference.repository}.`,
      },
    );
  }

  /**
   * What is no GET, below the repository or where an upload goes on. Answers but 401 and 403 are returned; the caller reads the body
   * or destroys it. @throws BerthError forbidden, unavailable; Interrupted
   */
  send(request: RegistryRequest, sources: ImageSources, signal: AbortSignal): Promise<IncomingMessage> {
    const { method, headers = {}, body, length } = request;
    const url = 'at' in request ? request.at : this.at(request.path);
    return this.signedIn(url, { method, headers, body, length }, sources, signal);
  }

  /** Where the registry sends an upload on to. @throws BerthError forbidden for an address that is taken from nobody */
  next(location: string): URL {
    const { base } = this.o;
    const to = location !== '' && URL.canParse(location, base.href) ? new URL(location, base) : null;
    if (to === null) throw this.refused('does not say where an upload goes on');
    const fault = urlFault(to);
    if (fault !== null) throw this.refused(`has uploads go on at an address that ${fault[0]}`);
    if (base.protocol === 'https:' && to.protocol === 'http:')
      throw this.refused('has uploads go on without https');
    return to;
  }

  private at(path: string): URL {
    const { base, reference } = this.o;
    return new URL(`/v2/${reference.repository}/${path}`, base);
  }

  private async signedIn(
    target: URL,
    request: Pick<SourceRequest, 'method' | 'headers' | 'body' | 'length'>,
    sources: ImageSources,
    signal: AbortSignal,
  ): Promise<IncomingMessage> {
    const { base, stallMs } = this.o;
    // An upload may go on elsewhere, where nobody is signed in.
    const own = target.origin === base.origin;
    for (let signedIn = false, tries = 1; ; tries += 1) {
      const used = this.authorization;
      const authorization = own ? used : undefined;
      const named = own && this.o.named === true;
      const answer = await sourceGet(target, { ...request, authorization, named, sources, stallMs, signal });
      const { response, url } = answer;
      const asked = response.statusCode === 401 && url.origin === target.origin;
      if (!asked || signedIn || !own || tries >= triesMost) return this.checked(response);
      response.destroy();
      const challenges = challengesOf(response.headers['www-authenticate'] ?? '');
      signedIn = await this.signingIn.take(async () => {
        // Another request of this pull may have signed in meanwhile: what it got is tried first.
        if (this.authorization !== used) return false;
        this.authorization = await this.signIn(challenges, sources, signal);
        return true;
      });
    }
  }

  private checked(response: IncomingMessage): IncomingMessage {
    const { statusCode: status } = response;
    if (status !== 401 && status !== 403) return response;
    response.destroy();
    throw this.refused(`answered ${status}`);
  }

  private refused(why: string): BerthError {
    const { reference, credentials, access } = this.o;
    const remedy =
      credentials === null
        ? `Have the project keep a user name and password (berth registry login ${reference.domain}), or give registry.username and registry.password (--username, --password-stdin); or see whether the name is right: many registries answer so for what they do not have.`
        : this.o.kept
          ? `What the project keeps for ${reference.domain} was sent: see whether it is right (berth registry login ${reference.domain} replaces it), and whether it may ${access} this repository.`
          : `See whether user name and password are right, and whether they may ${access} this repository.`;
    return new BerthError(
      'forbidden',
      `the registry does not let ${whoOf(credentials)} ${access} ${reference.repository}: it ${why}`,
      { remedy },
    );
  }

  /** @returns the header that answers a challenge @throws BerthError forbidden; Interrupted */
  private async signIn(
    challenges: readonly Challenge[],
    sources: ImageSources,
    signal: AbortSignal,
  ): Promise<string> {
    const { credentials } = this.o;
    const bearer = challenges.find(({ scheme }) => scheme === 'bearer');
    if (bearer !== undefined) return `Bearer ${await this.token(bearer, sources, signal)}`;
    if (!challenges.some(({ scheme }) => scheme === 'basic'))
      throw this.refused(
        `asks for ${challenges.map(({ scheme }) => scheme).join(', ') || 'nothing'}, and taken are Basic and Bearer`,
      );
    if (credentials === null) throw this.refused('asks for a user name and password');
    if ('identityToken' in credentials)
      throw this.refused('asks for a user name and password, and what is kept is an identity token');
    return basicAuthorization(credentials);
  }

  /** A token for this repository, whatever else the challenge would have us ask for. */
  private async token(
    { params: { realm = '', service } }: Challenge,
    sources: ImageSources,
    signal: AbortSignal,
  ): Promise<string> {
    const { reference, credentials, base, stallMs } = this.o;
    if (!URL.canParse(realm)) throw this.refused('names a token server that is no address');
    const url = new URL(realm);
    const fault = urlFault(url);
    if (fault !== null) throw this.refused(`names a token server whose address ${fault[0]}`);
    if (base.protocol === 'https:' && url.protocol === 'http:')
      throw this.refused('names a token server without https');
    const own = `repository:${reference.repository}:${this.o.access === 'push' ? 'pull,push' : 'pull'}`;
    const ask = async (scopes: readonly string[]): Promise<IncomingMessage> => {
      const at = new URL(url);
      const asks = { service, scopes, credentials };
      const named = this.o.named === true && url.origin === base.origin;
      return (await sourceGet(at, { ...tokenRequest(at, asks), named, sources, stallMs, signal })).response;
    };
    const others = this.o.elsewhere ?? [];
    let response = await ask([own, ...others.map((one) => `repository:${one}:pull`)]);
    if (others.length > 0 && [400, 401, 403].includes(response.statusCode ?? 0)) {
      // Most token servers leave out of a token what may not be read; this one gives none then.
      response.destroy();
      response = await ask([own]);
    }
    const { statusCode: status = 0 } = response;
    if (status !== 200) {
      response.destroy();
      throw status === 401 || status === 403 || status === 400
        ? this.refused(`has a token server that answered ${status}`)
        : refusal(response);
    }
    const token = tokenOf((await bodyOf(response, tokenAnswerMost)) ?? Buffer.alloc(0));
    if (token === null) throw this.refused('has a token server that gave no token');
    return token;
  }
}

/** For people; no part of a secret. */
function whoOf(credentials: RegistryCredentials | null): string {
  if (credentials === null) return 'anybody';
  return 'identityToken' in credentials
    ? 'whom the identity token is for'
    : `user ${JSON.stringify(credentials.username)}`;
}

/**
 * The request for a token: a GET, anonymous or with a password (distribution's "Token Authentication Specification"), or the
 * POST of an identity token (its "Docker Registry v2 authentication using OAuth2"). Adds to the query of `url`.
 */
function tokenRequest(
  url: URL,
  asks: {
    readonly service: string | undefined;
    readonly scopes: readonly string[];
    readonly credentials: RegistryCredentials | null;
  },
): Pick<SourceRequest, 'method' | 'body' | 'headers' | 'authorization'> {
  const { service, scopes, credentials } = asks;
  const accept = 'application/json';
  const of = service === undefined ? {} : { service };
  if (credentials === null || !('identityToken' in credentials)) {
    for (const [name, value] of Object.entries(of)) url.searchParams.set(name, value);
    url.searchParams.delete('scope');
    for (const scope of scopes) url.searchParams.append('scope', scope);
    const authorization = credentials === null ? undefined : basicAuthorization(credentials);
    return { headers: { accept }, authorization };
  }
  const { identityToken } = credentials;
  const grant = { grant_type: 'refresh_token', client_id: 'berth', refresh_token: identityToken };
  return {
    method: 'POST',
    headers: { accept, 'content-type': 'application/x-www-form-urlencoded' },
    body: Buffer.from(new URLSearchParams({ ...grant, ...of, scope: scopes.join(' ') }).toString()),
  };
}

/** A body whole; null when it is longer than that. @throws Interrupted */
export async function bodyOf(response: IncomingMessage, mostBytes: number): Promise<Buffer | null> {
  const parts: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of arriving(response)) {
      bytes += chunk.length;
      if (bytes > mostBytes) return null;
      parts.push(chunk);
    }
  } catch (error) {
    throw asInterrupted(error);
  } finally {
    response.destroy();
  }
  return Buffer.concat(parts);
}
