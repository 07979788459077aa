import { expect } from 'vitest';
import type { Api } from './api.js';

const volumes = '/v1/projects/alpha/volumes';
const instances = '/v1/projects/alpha/instances';

/** Volumes of format ext4 are for containers and nobody else, and disks never are. */
export async function containerVolumes(api: Api): Promise<void> {
  const refusal = async (verb: 'post' | 'patch', path: string, body: object) => {
    const { body: problem, status } = await api.call(verb, path).send(body);
    expect(status).toBeGreaterThanOrEqual(400);
    return problem.errors?.map((e: { path: string }) => e.path) ?? problem.code;
  };
  const files = { name: 'files', sizeMiB: 16, format: 'ext4' };
  expect(await refusal('post', volumes, { ...files, sizeMiB: 15 })).toEqual(['/sizeMiB']);
  const limits = { readBytesPerSecond: 1000 };
  expect(await refusal('post', volumes, { ...files, limits })).toEqual(['/limits']);
  const { body } = await api.call('post', volumes).send(files).expect(201);
  expect(body).toMatchObject({ kind: 'data', format: 'ext4', owner: null });
  await api.call('post', volumes).send({ name: 'plain', sizeMiB: 16 }).expect(201);
  expect(await refusal('patch', `${volumes}/files`, { limits })).toEqual(['/limits']);
  for (const verb of ['clone', 'export'])
    expect(
      await refusal('post', `${volumes}/files/actions/${verb}`, verb === 'clone' ? { name: 'copy' } : {}),
    ).toBe('unsupported');
  const container = { isolation: 'container', image: 'oci', memoryMiB: 64 };
  const vm = { isolation: 'vm', image: 'disk', memoryMiB: 64, rootDisk: { sizeMiB: 64 } };
  const make = (spec: object) => ({ name: 'has-files', spec });
  const at = { path: '/srv' };
  for (const [spec, path] of [
    [{ ...container, volumes: [{ name: 'plain', ...at }] }, '/spec/volumes/0/name'],
    [{ ...container, volumes: [{ name: 'files' }] }, '/spec/volumes/0/path'],
    [{ ...vm, volumes: [{ name: 'files' }] }, '/spec/volumes/0/name'],
    [{ ...vm, volumes: [{ name: 'plain', ...at }] }, '/spec/volumes/0/path'],
  ] as const)
    expect(await refusal('post', instances, make(spec))).toEqual([path]);
  const spec = { ...container, volumes: [{ name: 'files', ...at }] };
  await api.call('post', instances).send(make(spec)).expect(202);
  await api.settle();
  const seen = await api.call('get', `${volumes}/files`).expect(200);
  expect(seen.body).toMatchObject({ owner: { instance: 'has-files' }, actualSizeMiB: 16 });
  const change = await api
    .call('put', `${instances}/has-files?dryRun=true`)
    .send({ spec: { ...spec, volumes: [] } })
    .expect(200);
  expect(change.body.changes).toMatchObject([{ path: '/spec/volumes', effect: 'nextStart' }]);
  await api.call('delete', `${instances}/has-files`).expect(202);
  await api.settle();
  await api.call('delete', `${volumes}/files`).expect(202);
  await api.settle();
  await api.call('get', `${volumes}/files`).expect(404);
  await api.call('delete', `${volumes}/plain`).expect(204);
}
