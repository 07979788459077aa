import { BerthError } from '@berth/model';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Api } from './api.js';
import { StoredFiles } from './stored-files.js';

const guests = new StoredFiles();
let api: Api;
let name: string;
beforeAll(async () => {
  api = await Api.start({ files: guests });
  name = await api.instance('alpha', { isolation: 'vm', image: 'disk', userData: '#sim:agent' });
  await api.settle();
});
afterEach(() => {
  guests.refusal = null;
  guests.breaks = false;
});
afterAll(() => api.stop());

const at = (instance: string, query: string): string =>
  `/v1/projects/alpha/instances/${instance}/files?${query}`;
const put = (query: string, body: Buffer | string, as?: string) =>
  api.call('put', at(name, query), as).set('content-type', 'application/octet-stream').send(body);

async function audit(): Promise<{ type: string; data: Record<string, unknown> }[]> {
  await api.ledger.flush();
  const { body } = await api.call('get', '/v1/events?class=audit&limit=1000').expect(200);
  return body.items.filter((e: { type: string }) => e.type.startsWith('file.'));
}

describe('a file of a guest', () => {
  test('is written with its permissions and read again, byte for byte, and both are told in the audit', async () => {
    const bytes = Buffer.from(Uint8Array.from({ length: 200_000 }, (_, i) => i % 251));
    await put('path=/srv/a%20b%26c&mode=0755', bytes).expect(200, { path: '/srv/a b&c', bytes: 200_000 });
    expect(guests.held.get(`${name}:/srv/a b&c`)?.mode).toBe('0755');
    const { body } = await api
      .call('get', at(name, 'path=/srv/a%20b%26c'))
      .responseType('arraybuffer')
      .expect(200);
    expect((body as Buffer).equals(bytes)).toBe(true);
    expect(await audit()).toMatchObject([
      { type: 'file.written', data: { path: '/srv/a b&c', mode: '0755', bytes: 200_000 } },
      { type: 'file.read', data: { path: '/srv/a b&c' } },
    ]);
  });

  test('is nobody else’s to read when nothing is said of its permissions', async () => {
    await put('path=/root/secret', 'x').expect(200);
    expect(guests.held.get(`${name}:/root/secret`)?.mode).toBe('0600');
  });

  test('whose reading breaks off is no whole answer', async () => {
    guests.breaks = true;
    await expect(api.call('get', at(name, 'path=/etc/hostname'))).rejects.toThrow();
  });

  test('that is not there, or that the guest refuses, is told apart', async () => {
    const missing = await api.call('get', at(name, 'path=/etc/nothing')).expect(404);
    expect(missing.body.code).toBe('noSuchFile');
    guests.refusal = new BerthError('fileRefused', 'the guest refused /etc: Is a directory');
    expect((await api.call('get', at(name, 'path=/etc')).expect(409)).body.code).toBe('fileRefused');
  });

  test.each(['path=relative', 'path=/etc/', 'path=/a%00b', 'path=', '', `path=/${'a'.repeat(4000)}`])(
    'is not looked for with ?%s',
    async (query) => {
      const { body } = await api.call('get', at(name, query)).expect(400);
      expect(body.errors[0].path).toBe('query/path');
    },
  );

  test('is copied by whoever may run programs there, not by whoever may look; of a container without one, of a VM never without an agent', async () => {
    await api.call('get', at(name, 'path=/etc/hostname'), 'alpha:viewer').expect(403);
    await put('path=/etc/motd', 'x', 'alpha:viewer').expect(403);
    const container = await api.instance();
    const silent = await api.instance('alpha', { isolation: 'vm', image: 'disk' });
    const ask = (instance: string) => api.call('get', at(instance, 'path=/etc/hostname'));
    expect((await ask(silent).expect(409)).body.code).toBe('stateConflict');
    await api.settle();
    guests.held.set(`${container}:/etc/hostname`, { bytes: Buffer.from('box'), mode: '0644' });
    // An agent of before copies none.
    expect((await ask(container).expect(422)).body.remedy).toContain('berth exec');
    await api.facetsAdd('files');
    await ask(container).expect(200);
    expect((await ask(silent).expect(409)).body.remedy).toContain('qemu-guest-agent');
    await api.call('put', at(name, 'path=/etc/motd')).send({ json: true }).expect(415);
  });
});
