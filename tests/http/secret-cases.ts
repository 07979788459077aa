import { expect } from 'vitest';
import type { Api } from './api.js';
import type { RouteCase } from './cases.js';

/* Cases of the routes of secrets. No answer, event or operation has a value: each is looked through for this one. */

const secrets = '/v1/projects/alpha/secrets';
const value = 's3cret-of-these-cases';
let fresh = 0;

/** A secret that nothing uses. */
async function secret(api: Api): Promise<string> {
  const name = `secret${++fresh}`;
  await api.call('put', `${secrets}/${name}`).send({ value }).expect(200);
  return name;
}

/** A container that has it. */
const using = (name: string, use: object = {}) => ({
  name: `user-of-${name}`,
  spec: { isolation: 'container', image: 'oci', memoryMiB: 64, secrets: [{ name, ...use }] },
});
const instances = '/v1/projects/alpha/instances';

const absent = (path: string) => (api: Api) => ({ send: () => api.call('get', path) });

export const secretCases: Record<string, RouteCase> = {
  'GET /v1/projects/{project}/secrets': {
    good: async (api) => {
      const name = await secret(api);
      const { body, text } = await api.call('get', secrets).expect(200);
      expect(body.items).toContainEqual(expect.objectContaining({ name, usedBy: [], resourceVersion: 1 }));
      expect(text).not.toMatch(new RegExp(`${value}|envelope`));
    },
    bad: absent('/v1/projects/nowhere/secrets'),
  },
  'GET /v1/projects/{project}/secrets/{name}': {
    good: async (api) => {
      const name = await secret(api);
      const { body, text } = await api.call('get', `${secrets}/${name}`).expect(200);
      expect(body).toMatchObject({ name, project: 'alpha', usedBy: [] });
      expect(text).not.toMatch(new RegExp(`${value}|envelope`));
    },
    bad: absent(`${secrets}/nowhere`),
  },
  'PUT /v1/projects/{project}/secrets/{name}': {
    good: async (api) => {
      const name = await secret(api);
      const at = `${secrets}/${name}`;
      await api.call('put', at).set('If-Match', '"9"').send({ value }).expect(412);
      const put = await api.call('put', at).set('If-Match', '"1"').send({ base64: '/wA=' }).expect(200);
      expect(put.body).toMatchObject({ name, resourceVersion: 2 });
      expect(put.headers['etag']).toBe('"2"');
      const wrong: [object, string][] = [
        [{}, '/value'],
        [{ value, base64: 'AA==' }, '/base64'],
        [{ base64: 'not base64' }, '/base64'],
        [{ value: 'x'.repeat(65_537) }, '/value'],
        [{ value: 'ü'.repeat(32_769) }, '/value'],
        [{ base64: Buffer.alloc(65_537).toString('base64') }, '/base64'],
        [{ value, note: 'x' }, '/note'],
      ];
      for (const [body, path] of wrong) {
        const { body: problem, text } = await api.call('put', at).send(body).expect(400);
        expect(problem.errors.map((e: { path: string }) => e.path)).toContain(path);
        expect(text).not.toContain(value);
      }
      // What is no text is no variable: refused whichever comes second.
      const bytes = await api
        .call('post', instances)
        .send(using(name, { env: 'KEY' }))
        .expect(400);
      expect(bytes.body.errors).toMatchObject([{ path: '/spec/secrets/0/env' }]);
      await api.call('put', at).send({ value }).expect(200);
      const made = await api
        .call('post', instances)
        .send(using(name, { env: 'KEY' }))
        .expect(202);
      expect(JSON.stringify(made.body)).not.toContain(value);
      const no = await api.call('put', at).send({ base64: '/wA=' }).expect(400);
      expect(no.body.errors).toMatchObject([
        { path: '/base64', message: expect.stringContaining(`user-of-${name}`) },
      ]);
      const events = await api.call('get', '/v1/events?project=alpha&objectKind=secret').expect(200);
      expect(events.text).toContain('secret.updated');
      expect(events.text).not.toContain(value);
    },
    bad: (api) => ({ send: () => api.call('put', `${secrets}/fine`).send({}) }),
  },
  'DELETE /v1/projects/{project}/secrets/{name}': {
    good: async (api) => {
      const name = await secret(api);
      const at = `${secrets}/${name}`;
      await api.call('post', instances).send(using(name)).expect(202);
      expect((await api.call('get', at).expect(200)).body.usedBy).toEqual([`user-of-${name}`]);
      const { body } = await api.call('delete', at).expect(409);
      expect(body).toMatchObject({ code: 'inUse', detail: expect.stringContaining(`user-of-${name}`) });
      await api.call('delete', `${instances}/user-of-${name}`).expect(202);
      await api.settle();
      await api.call('delete', at).set('If-Match', '"9"').expect(412);
      await api.call('delete', at).expect(204);
      await api.call('get', at).expect(404);
      const gone = await api
        .call('post', instances)
        .send({ ...using(name), name: 'late' })
        .expect(400);
      expect(gone.body.errors).toMatchObject([{ path: '/spec/secrets/0/name' }]);
    },
    bad: (api) => ({ send: () => api.call('delete', `${secrets}/nowhere`) }),
  },
};
