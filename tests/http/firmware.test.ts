import { afterAll, beforeAll, expect, test } from 'vitest';
import { Api } from './api.js';

let api: Api;
beforeAll(async () => {
  api = await Api.start();
});
afterAll(() => api.stop());

test('waits for a host that has it, and says what the others lack', async () => {
  const firmware = { type: 'uefi', secureBoot: true };
  const spec = { isolation: 'vm', image: 'disk', memoryMiB: 64, firmware };
  const preview = () =>
    api.call('post', '/v1/projects/alpha/decisions/preview').send({ name: 'signed', spec }).expect(200);
  const { decision } = (await preview()).body;
  expect(decision).toMatchObject({
    outcome: 'unplaced',
    rejected: [{ filter: 'firmware', need: 'secureBoot', bestHave: 'bios' }],
    verdicts: [{ failed: { message: expect.stringContaining('install the package ovmf') } }],
  });
  await api.facetsAdd('uefi');
  expect((await preview()).body.decision.rejected[0].bestHave).toBe('bios, uefi');
  await api.facetsAdd('secureBoot');
  expect((await preview()).body.decision.outcome).toBe('placed');
});

test('so does a TPM', async () => {
  const spec = { isolation: 'vm', image: 'disk', memoryMiB: 64, tpm: true };
  const preview = () =>
    api.call('post', '/v1/projects/alpha/decisions/preview').send({ name: 'sealed', spec }).expect(200);
  expect((await preview()).body.decision).toMatchObject({
    outcome: 'unplaced',
    rejected: [{ filter: 'devices', need: 'tpm', bestHave: 'no tpm' }],
    verdicts: [{ failed: { message: expect.stringContaining('install the package swtpm') } }],
  });
  await api.facetsAdd('tpm');
  expect((await preview()).body.decision.outcome).toBe('placed');
});

test('so does a vsock device', async () => {
  const spec = { isolation: 'vm', image: 'disk', memoryMiB: 64, vsock: true };
  const preview = () =>
    api.call('post', '/v1/projects/alpha/decisions/preview').send({ name: 'plugged', spec }).expect(200);
  expect((await preview()).body.decision).toMatchObject({
    outcome: 'unplaced',
    rejected: [{ filter: 'devices', need: 'vsock', bestHave: 'no vsock' }],
    verdicts: [{ failed: { message: expect.stringContaining('modprobe vhost_vsock') } }],
  });
  await api.facetsAdd('vsock');
  expect((await preview()).body.decision.outcome).toBe('placed');
});

test('so does a directory of a host, which a project knows of where it is offered to it', async () => {
  const hostPaths = [{ name: 'data', path: '/data' }];
  const spec = { isolation: 'container', image: 'oci', memoryMiB: 64, hostPaths };
  const preview = (project: string) =>
    api.call('post', `/v1/projects/${project}/decisions/preview`).send({ spec }).expect(200);
  const none = { filter: 'hostPaths', need: 'host paths data', bestHave: 'none' };
  expect((await preview('alpha')).body.decision.rejected).toMatchObject([none]);
  await api.hostSays(() => ({ hostPaths: [{ name: 'data', readOnly: true, projects: ['beta'] }] }));
  const { decision } = (await preview('alpha')).body;
  expect(decision.rejected).toMatchObject([none]);
  expect(decision.verdicts[0].failed.message).toContain('hostPaths in its agent.yaml');
  await api.hostSays(() => ({ hostPaths: [{ name: 'data', readOnly: true, projects: ['alpha'] }] }));
  expect((await preview('alpha')).body.decision.outcome).toBe('placed');
  await api.hostSays(() => ({ hostPaths: [] }));
});

test('so do nodes: a host must have room for each in one of its own', async () => {
  const spec = {
    ...{ isolation: 'vm', image: 'disk', vcpus: 2, memoryMiB: 64 },
    numa: { nodes: 2, placement: 'bind' },
  };
  const preview = () =>
    api.call('post', '/v1/projects/alpha/decisions/preview').send({ name: 'near', spec }).expect(200);
  expect((await preview()).body.decision.rejected).toMatchObject([{ filter: 'devices', need: 'numa' }]);
  await api.facetsAdd('numa');
  const node = (id: number, memoryMiB: number) => ({ id, cpus: [id], memoryMiB, distances: [10, 20] });
  await api.numaSet([node(0, 1024), node(1, 16)]);
  expect((await preview()).body.decision).toMatchObject({
    outcome: 'unplaced',
    rejected: [{ filter: 'numa', need: '2 × 32 MiB, 1 cpus, each in one node' }],
    verdicts: [{ failed: { message: expect.stringContaining('room for 1 of 2') } }],
  });
  await api.numaSet([node(0, 1024), node(1, 64)]);
  expect((await preview()).body.decision.outcome).toBe('placed');
});

test('so do huge pages, of which the host must have reserved enough', async () => {
  const spec = { isolation: 'vm', image: 'disk', memoryMiB: 64, hugePages: '2MiB' };
  const preview = () =>
    api.call('post', '/v1/projects/alpha/decisions/preview').send({ name: 'huge', spec }).expect(200);
  await api.hugePagesSet({ '2MiB': 62, '1GiB': 1024 });
  expect((await preview()).body.decision).toMatchObject({
    outcome: 'unplaced',
    rejected: [{ filter: 'hugePages', need: '64 MiB in pages of 2MiB', bestHave: '62 MiB' }],
    verdicts: [{ failed: { message: expect.stringContaining('reserve more') } }],
  });
  await api.hugePagesSet({ '2MiB': 64, '1GiB': 0 });
  expect((await preview()).body.decision.outcome).toBe('placed');
});

test('the baseline of a group is the best model that each of its hosts lists', async () => {
  const baseline = async (query: string): Promise<object> =>
    (await api.call('get', `/v1/cpuBaseline?${query}`).expect(200)).body as object;
  await api
    .call('patch', '/v1/hosts/h1')
    .send({ labels: { rack: 'a' } })
    .expect(200);
  expect(await baseline('accel=tcg&selector=rack=a')).toEqual({
    accel: 'tcg',
    model: null,
    hosts: ['h1'],
    without: ['h1'],
  });
  await api.cpuModelsSet({ tcg: ['max', 'Nehalem', 'Conroe'], kvm: [] });
  expect(await baseline('accel=tcg&selector=rack=a')).toMatchObject({ model: 'Nehalem', without: [] });
  expect(await baseline('accel=tcg&selector=rack=b')).toMatchObject({ model: null, hosts: [] });
  expect(await baseline('selector=rack=a')).toMatchObject({ accel: 'kvm', model: null, without: ['h1'] });
});
