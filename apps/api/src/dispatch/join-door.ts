import { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import {
  JoinRequest,
  LinkError,
  RenewRequest,
  keyFingerprint,
  linkLimits,
  parseMessage,
  protocol,
  readBody,
  serveLink,
} from '@berth/link';
import type { JoinAnswer, LinkAnswer, LinkRequest } from '@berth/link';
import { BerthError } from '@berth/model';
import { hashSecret } from '../access/secret.js';
import type { IdSource, Store } from '../store/store.js';
import { AuthorityError } from './authority.js';
import type { Authority } from './authority.js';
import type { DispatchHooks, DispatchLog, Pause } from './hooks.js';

export interface JoinPorts {
  readonly store: Store;
  readonly authority: Authority;
  readonly ids: IdSource;
  readonly hooks: DispatchHooks;
  readonly log: DispatchLog;
  readonly pause: Pause;
}

/** How long a connection without a certificate may live, milliseconds. */
const joinLifeMs = 30_000;

/** Serves one connection at the door without a client certificate: joins and renewals, nothing else. */
export function serveJoinDoor(socket: TLSSocket, ports: JoinPorts): void {
  const over = new AbortController();
  const session = serveLink(socket, (request) => answerJoin(request, ports), {
    onClose: () => over.abort(),
    onStreamError: (err) => ports.log.debug({ err }, 'a stream of the join door failed'),
  });
  void ports.pause.sleep(joinLifeMs, over.signal).then(() => session.destroy());
}

async function answerJoin(request: LinkRequest, ports: JoinPorts): Promise<LinkAnswer> {
  const route = `${request.method} ${request.path}`;
  if (route !== 'POST /join' && route !== 'POST /renew')
    return { status: 404, body: { code: 'notFound', message: route } };
  try {
    const body = await readBody(request.stream, linkLimits.joinBytes);
    const answer =
      route === 'POST /join'
        ? await joinHost(parseMessage(JoinRequest, body), ports)
        : await renewHost(parseMessage(RenewRequest, body), ports);
    return { status: 200, body: answer };
  } catch (e) {
    return refusal(e, route, ports);
  }
}

function refusal(e: unknown, route: string, ports: JoinPorts): LinkAnswer {
  const answer = (status: number, code: string, message: string): LinkAnswer => {
    ports.log.warn({ route, code, message }, 'refused at the join door');
    return { status, body: { code, message } };
  };
  if (e instanceof LinkError && e.code === 'refused') return answer(403, 'refused', e.message);
  if (e instanceof LinkError) return answer(400, e.code, e.message);
  if (e instanceof AuthorityError) return answer(400, 'badCertificate', e.message);
  if (e instanceof BerthError) return answer(e.code === 'unavailable' ? 503 : 403, e.code, e.publicMessage);
  ports.log.error({ err: e, route }, 'the join door failed');
  return { status: 500, body: { code: 'internal', message: 'internal error' } };
}

async function joinHost(request: JoinRequest, ports: JoinPorts): Promise<JoinAnswer> {
  const { store, authority, ids, hooks, log } = ports;
  const { publicKey, keyFingerprint } = await authority.readRequest(request.csr);
  const traceId = ids.uuid();
  const host = await store.hostJoin({
    joinTokenHash: hashSecret(request.token),
    name: request.name,
    keyFingerprint,
    traceId,
  });
  if (Object.keys(request.labels).length > 0) {
    // What the token says of a host is the operator's word and wins over the host's own.
    const labels = { ...request.labels, ...host.labels };
    await store.hostUpdate({ actor: `host:${host.name}`, traceId }, host.name, { labels });
  }
  hooks.ledger();
  log.info({ hostId: host.id, name: host.name }, 'a host joined');
  return answerFor(host.id, await authority.certifyHost(host.id, publicKey), authority);
}

async function renewHost(request: RenewRequest, ports: JoinPorts): Promise<JoinAnswer> {
  const { store, authority, log } = ports;
  let old: X509Certificate;
  try {
    old = new X509Certificate(request.certificate);
  } catch (cause) {
    throw new AuthorityError('the certificate cannot be read', { cause });
  }
  const hostId = authority.hostOf(old);
  const csr = await authority.readRequest(request.csr);
  // The request is signed by the key the certificate names: whoever asks holds it.
  if (csr.keyFingerprint !== keyFingerprint(old))
    throw new LinkError('refused', 'the request is not signed by the key of the certificate');
  const admitted = await store.hostAdmit(hostId, csr.keyFingerprint);
  if (admitted !== 'admitted') throw new LinkError('refused', `this host may not renew: ${admitted}`);
  log.info({ hostId }, 'a host renewed its certificate');
  return answerFor(hostId, await authority.certifyHost(hostId, csr.publicKey), authority);
}

const answerFor = (hostId: JoinAnswer['hostId'], certificate: string, authority: Authority): JoinAnswer => ({
  protocol,
  hostId,
  certificate,
  ca: authority.certificatePem,
});
