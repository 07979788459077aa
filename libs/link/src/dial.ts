import { X509Certificate, createHash } from 'node:crypto';
import tls from 'node:tls';
import type { z } from 'zod';
import { parseMessage } from './body.js';
import { LinkError, agentDoor, joinDoor, linkLimits, linkServerName } from './door.js';
import { JoinAnswer, JoinProblem, protocol } from './messages.js';
import type { JoinRequest, RenewRequest } from './messages.js';
import { clientLink, send } from './session.js';
import { parseJoinToken } from './token.js';

export interface LinkAddress {
  readonly host: string;
  readonly port: number;
}

/** A host's identity on disk: PEM texts. */
export interface LinkIdentity {
  readonly certificate: string;
  readonly key: string;
  readonly ca: string;
}

/** `host:port`, IPv6 in brackets. @throws LinkError malformed */
export function parseLinkAddress(text: string): LinkAddress {
  const found = /^(?:\[([0-9a-fA-F:.]+)\]|([^:\s[\]]+)):(\d{1,5})$/.exec(text);
  const host = found?.[1] ?? found?.[2];
  const port = Number(found?.[3]);
  if (host === undefined || port < 1 || port > 65_535)
    throw new LinkError('malformed', `"${text}" is no link address; write host:port`);
  return { host, port };
}

/** SHA-256 of a certificate's DER, lower-case hex. */
export function certificateFingerprint(pemOrDer: string | Buffer): string {
  return createHash('sha256').update(new X509Certificate(pemOrDer).raw).digest('hex');
}

/** SHA-256 of a certificate's public key (SubjectPublicKeyInfo, DER), lower-case hex: a host's identity for good. */
export function keyFingerprint(certificate: X509Certificate): string {
  return createHash('sha256')
    .update(certificate.publicKey.export({ type: 'spki', format: 'der' }))
    .digest('hex');
}

/** Dials the mutual TLS door. @throws LinkError unreachable, refused, wrongAuthority, timeout */
export function dialAgentDoor(
  address: LinkAddress,
  identity: LinkIdentity,
  signal?: AbortSignal,
): Promise<tls.TLSSocket> {
  return connect(
    address,
    { ALPNProtocols: [agentDoor], ca: [identity.ca], cert: identity.certificate, key: identity.key },
    () => undefined,
    signal,
  );
}

/** Joins with a token; the API's CA is accepted only when it has the token's fingerprint. @throws LinkError */
export async function join(
  address: LinkAddress,
  request: Omit<JoinRequest, 'protocol'>,
): Promise<JoinAnswer> {
  const { secret, caFingerprint } = parseJoinToken(request.token);
  const socket = await connect(
    address,
    // The CA is not known yet: it is checked against the token's fingerprint before a byte is sent.
    { ALPNProtocols: [joinDoor], rejectUnauthorized: false },
    (s) => checkPinned(s, caFingerprint),
  );
  const answer = await ask(socket, '/join', { protocol, ...request, token: secret });
  if (certificateFingerprint(answer.ca) !== caFingerprint)
    throw new LinkError('wrongAuthority', 'the answer carries another CA than the token names');
  return answer;
}

/** A new certificate for the key of an old one, which may have expired. @throws LinkError */
export async function renew(
  address: LinkAddress,
  ca: string,
  request: Omit<RenewRequest, 'protocol'>,
): Promise<JoinAnswer> {
  const socket = await connect(address, { ALPNProtocols: [joinDoor], ca: [ca] }, () => undefined);
  return ask(socket, '/renew', { protocol, ...request });
}

async function ask(
  socket: tls.TLSSocket,
  path: string,
  body: z.infer<typeof JoinRequest> | z.infer<typeof RenewRequest>,
): Promise<JoinAnswer> {
  const session = clientLink(socket, { onClose: () => undefined });
  try {
    const got = await send(session, { method: 'POST', path, body, maxBytes: linkLimits.joinBytes });
    if (got.status === 200) return parseMessage(JoinAnswer, got.body);
    const problem = parseMessage(JoinProblem, got.body);
    throw new LinkError('refused', `${problem.message} (${problem.code})`, { status: got.status });
  } finally {
    session.close();
    socket.destroySoon();
  }
}

/** The peer must show the pinned CA, and a certificate for our server name that this CA signed. */
function checkPinned(socket: tls.TLSSocket, caFingerprint: string): void {
  const leaf = socket.getPeerX509Certificate();
  const ca = leaf?.issuerCertificate;
  const fail = (why: string): never => {
    throw new LinkError('wrongAuthority', `the API is not the one that made the join token: ${why}`);
  };
  if (leaf === undefined || ca === undefined) return fail('it shows no CA certificate');
  if (createHash('sha256').update(ca.raw).digest('hex') !== caFingerprint)
    fail('its CA has another fingerprint');
  if (!ca.ca || !leaf.verify(ca.publicKey)) fail('its certificate is not signed by that CA');
  if (leaf.checkHost(linkServerName) === undefined) fail('its certificate is for another name');
  const now = Date.now();
  if (Date.parse(leaf.validFrom) > now || Date.parse(leaf.validTo) < now)
    fail('its certificate is not valid now; compare the clocks of both machines');
}

function connect(
  address: LinkAddress,
  options: tls.ConnectionOptions,
  check: (socket: tls.TLSSocket) => void,
  signal?: AbortSignal,
): Promise<tls.TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = tls.connect({ ...address, ...options, servername: linkServerName, minVersion: 'TLSv1.3' });
    const fail = (error: unknown): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', stop);
      socket.on('error', () => undefined);
      socket.destroy();
      reject(error instanceof LinkError ? error : dialError(address, error));
    };
    const timer = setTimeout(
      () => fail(new LinkError('timeout', `${address.host}:${address.port} does not answer`)),
      linkLimits.handshakeMs,
    );
    const stop = (): void => fail(new LinkError('closed', 'given up'));
    signal?.addEventListener('abort', stop, { once: true });
    socket.once('error', fail);
    socket.once('secureConnect', () => {
      try {
        if (!socket.alpnProtocol) throw new LinkError('refused', 'the peer is no Berth link');
        check(socket);
      } catch (e) {
        return fail(e);
      }
      clearTimeout(timer);
      signal?.removeEventListener('abort', stop);
      socket.removeListener('error', fail);
      socket.setNoDelay(true);
      resolve(socket);
    });
  });
}

function dialError(address: LinkAddress, error: unknown): LinkError {
  const e = error as NodeJS.ErrnoException;
  const where = `${address.host}:${address.port}`;
  const tlsFault = /CERT|SIGNATURE|SELF_SIGNED|ISSUER|ALTNAME|PURPOSE/.test(e.code ?? '');
  if (tlsFault) return new LinkError('wrongAuthority', `${where}: ${e.message}`, { cause: error });
  return new LinkError('unreachable', `${where}: ${e.message}`, { cause: error });
}
