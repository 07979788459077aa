import { X509Certificate } from 'node:crypto';
import { rm, stat } from 'node:fs/promises';
import tls from 'node:tls';
import {
  agentDoor,
  dialAgentDoor,
  join,
  joinDoor,
  linkServerName,
  parseJoinToken,
  renew,
  serveLink,
} from '@berth/link';
import type { LinkIdentity } from '@berth/link';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { makeCsr, makeKey } from '../../apps/agent/src/identity.js';
import { Authority } from '../../apps/api/src/dispatch/authority.js';
import { MasterKey } from '../../apps/api/src/dispatch/master-key.js';
import { startPostgres } from '../support/postgres.js';
import type { ThrowawayPostgres } from '../support/postgres.js';
import { Api, database, tempDir } from './lab.js';

let cluster: ThrowawayPostgres;
let dir: string;
let url: string;
let api: Api;

beforeAll(async () => {
  cluster = await startPostgres();
});
afterAll(() => cluster.stop());
beforeEach(async () => {
  dir = await tempDir();
  url = await database(cluster.url);
  api = await Api.start(url, dir);
});
afterEach(async () => {
  await api.close();
  await rm(dir, { recursive: true, force: true });
});

const at = (port = api.door.port): { host: string; port: number } => ({ host: '127.0.0.1', port });

async function joined(name = 'h1'): Promise<LinkIdentity & { hostId: string }> {
  const key = await makeKey();
  const request = {
    token: await api.joinToken(),
    csr: await makeCsr(key, name),
    name,
    labels: { zone: 'a' },
  };
  return { ...(await join(at(), request)), key };
}

/** Dials the agents' door and answers /hello; resolves with true once the API asked, false when it hung up instead. */
async function admitted(identity: LinkIdentity): Promise<boolean> {
  const socket = await dialAgentDoor(at(), identity).catch(() => null);
  if (socket === null) return false;
  return new Promise((resolve) => {
    const session = serveLink(
      socket,
      () => {
        resolve(true);
        setImmediate(() => session.destroy());
        return Promise.resolve({ status: 404 });
      },
      { onClose: () => resolve(false) },
    );
  });
}

describe('the join door', () => {
  it('gives a host a client certificate of at most 24 hours that the agents’ door admits', async () => {
    const identity = await joined();
    const certificate = new X509Certificate(identity.certificate);
    const life = Date.parse(certificate.validTo) - Date.now();
    expect(life).toBeLessThanOrEqual(24 * 3_600_000);
    expect(certificate.keyUsage).toEqual(['1.3.6.1.5.5.7.3.2']);
    expect((await api.store.hostGet('h1'))?.labels).toEqual({ zone: 'a' });
    expect(await admitted(identity)).toBe(true);
  });

  it('takes a token once; the same key may repeat it, because an answer can be lost', async () => {
    const token = await api.joinToken();
    const csr = await makeCsr(await makeKey(), 'h1');
    const first = await join(at(), { token, csr, name: 'h1', labels: {} });
    expect((await join(at(), { token, csr, name: 'h1', labels: {} })).hostId).toBe(first.hostId);
    const other = await makeCsr(await makeKey(), 'h2');
    await expect(join(at(), { token, csr: other, name: 'h2', labels: {} })).rejects.toMatchObject({
      code: 'refused',
    });
    expect(await api.store.hostList()).toHaveLength(1);
  });

  it('refuses a token that has expired, was never made, or is for another name', async () => {
    const csr = await makeCsr(await makeKey(), 'h1');
    const tokens = [
      await api.joinToken({ expiresAt: new Date(Date.now() - 1000) }),
      api.authority.joinTokenText('berthjoin_AAAAAAAAAAAAAAAAAAAAAAAA'),
      await api.joinToken({ hostName: 'h9' }),
    ];
    for (const token of tokens)
      await expect(join(at(), { token, csr, name: 'h1', labels: {} })).rejects.toMatchObject({
        code: 'refused',
      });
    expect(await api.store.hostList()).toEqual([]);
  });

  it('is not spoken to when its CA is not the one the token names: the token never leaves the host', async () => {
    const { secret } = parseJoinToken(await api.joinToken());
    const token = `${secret}.${'0'.repeat(64)}`;
    const csr = await makeCsr(await makeKey(), 'h1');
    await expect(join(at(), { token, csr, name: 'h1', labels: {} })).rejects.toMatchObject({
      code: 'wrongAuthority',
    });
    const right = api.authority.joinTokenText(secret);
    await expect(join(at(), { token: right, csr, name: 'h1', labels: {} })).resolves.toBeDefined();
  });

  it('renews an expired certificate for its key, and for no other key', async () => {
    const identity = await joined();
    const { key, hostId, ca } = identity;
    const clock = { now: () => new Date(Date.now() - 48 * 3_600_000) };
    const past = await Authority.open(api.store, await MasterKey.open(`${dir}/master.key`), clock);
    const { publicKey } = await past.readRequest(await makeCsr(key, 'h1'));
    const expired = await past.certifyHost(hostId as never, publicKey);
    expect(Date.parse(new X509Certificate(expired).validTo)).toBeLessThan(Date.now());
    expect(await admitted({ key, ca, certificate: expired })).toBe(false);
    const fresh = await renew(at(), ca, { csr: await makeCsr(key, 'h1'), certificate: expired });
    expect(fresh.hostId).toBe(hostId);
    expect(await admitted({ key, ca, certificate: fresh.certificate })).toBe(true);
    const thief = await makeCsr(await makeKey(), 'h1');
    await expect(renew(at(), ca, { csr: thief, certificate: expired })).rejects.toMatchObject({
      code: 'refused',
    });
  });
});

describe('the agents’ door', () => {
  it('refuses a certificate of another authority, and a client without one', async () => {
    const identity = await joined();
    const foreignStore = { caGet: () => Promise.resolve(null), caInit: (m: unknown) => Promise.resolve(m) };
    const clock = { now: () => new Date() };
    const foreign = await Authority.open(foreignStore as never, new MasterKey(Buffer.alloc(32, 1)), clock);
    const { publicKey } = await foreign.readRequest(await makeCsr(identity.key, 'h1'));
    const forged = await foreign.certifyHost(identity.hostId as never, publicKey);
    expect(await admitted({ ...identity, certificate: forged })).toBe(false);
    const bare = tls.connect({
      ...at(),
      ca: [identity.ca],
      servername: linkServerName,
      ALPNProtocols: [agentDoor],
    });
    bare.on('error', () => undefined);
    await new Promise((resolve) => bare.once('close', resolve));
    expect(await admitted(identity)).toBe(true);
  });

  it('refuses a host that was revoked or removed, at its next handshake and its next renewal', async () => {
    const one = await joined('h1');
    const two = await joined('h2');
    await api.store.hostRevoke({ actor: 'test', traceId: 't' }, 'h1');
    await api.store.hostRemove({ actor: 'test', traceId: 't' }, 'h2');
    for (const identity of [one, two]) {
      expect(await admitted(identity)).toBe(false);
      const csr = await makeCsr(identity.key, 'h');
      await expect(
        renew(at(), identity.ca, { csr, certificate: identity.certificate }),
      ).rejects.toMatchObject({ code: 'refused' });
    }
  });

  it('is not opened by a host certificate posing as the API', async () => {
    const identity = await joined();
    const impostor = tls.createServer(
      {
        key: identity.key,
        cert: identity.certificate,
        ALPNProtocols: [agentDoor, joinDoor],
        minVersion: 'TLSv1.3',
      },
      (s) => s.on('error', () => undefined),
    );
    impostor.on('tlsClientError', () => undefined);
    await new Promise<void>((resolve) => impostor.listen(0, '127.0.0.1', resolve));
    const { port } = impostor.address() as { port: number };
    await expect(dialAgentDoor(at(port), identity)).rejects.toMatchObject({ code: 'wrongAuthority' });
    await new Promise((resolve) => impostor.close(resolve));
  });
});

describe('the authority', () => {
  it('is the same for two replicas that start at once, and its key is not in the database in clear', async () => {
    const fresh = await database(cluster.url);
    const other = await tempDir();
    const replicas = await Promise.all([Api.start(fresh, other), Api.start(fresh, other)]);
    const [a, b] = replicas;
    expect(a?.authority.fingerprint).toBe(b?.authority.fingerprint);
    const material = await a?.store.caGet();
    expect(material?.keyEnvelope).toMatch(/^v1\./);
    expect((await stat(`${other}/master.key`)).mode & 0o777).toBe(0o600);
    await Promise.all(replicas.map((replica) => replica.close()));
    await rm(other, { recursive: true, force: true });
  });

  it('does not open its key with another master key, nor another purpose', () => {
    const key = new MasterKey(Buffer.alloc(32, 1));
    const envelope = key.seal('secret', 'a');
    expect(key.open(envelope, 'a')).toBe('secret');
    expect(() => key.open(envelope, 'b')).toThrow('another master key');
    expect(() => new MasterKey(Buffer.alloc(32, 2)).open(envelope, 'a')).toThrow('another master key');
  });
});
