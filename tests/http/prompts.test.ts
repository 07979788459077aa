import { randomUUID } from 'node:crypto';
import { BerthError } from '@berth/model';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Api } from './api.js';
import { DonePrompts } from './done-prompts.js';

const hosts = new DonePrompts();
let api: Api;
beforeAll(async () => {
  api = await Api.start({ prompts: hosts });
});
afterEach(() => {
  hosts.refusal = null;
  hosts.away = false;
  hosts.done.length = 0;
});
afterAll(() => api.stop());

const vm = { isolation: 'vm', image: 'disk' };
const at = (name: string, verb: string): string => `/v1/projects/alpha/instances/${name}/actions/${verb}`;
async function started(spec: object = vm): Promise<string> {
  const name = await api.instance('alpha', spec);
  await api.settle();
  return name;
}

describe('a reset', () => {
  test('is done when it is answered, and told in the audit', async () => {
    const name = await started();
    const { body } = await api.call('post', at(name, 'reset')).expect(202);
    expect(body.operation).toMatchObject({ kind: 'reset', state: 'succeeded', progress: 100 });
    expect(hosts.done).toEqual([`reset ${name}`]);
    expect(body.instance.status).toMatchObject({ state: 'running', operationId: null });
    await api.ledger.flush();
    const events = await api.call('get', '/v1/events?class=audit&limit=1000').expect(200);
    const told = events.body.items.filter((e: { object: { name: string } }) => e.object.name === name);
    expect(told.map((e: { type: string }) => e.type)).toContain('instance.reset');
  });

  test('is not done again under the same Idempotency-Key', async () => {
    const name = await started();
    const key = randomUUID();
    const send = () => api.call('post', at(name, 'reset')).set('idempotency-key', key).expect(202);
    const [first, second] = [await send(), await send()];
    expect(second.headers['idempotent-replay']).toBe('true');
    expect(second.body.operation.id).toBe(first.body.operation.id);
    expect(hosts.done).toEqual([`reset ${name}`]);
  });

  test('that the host refuses is a failed operation with its reason', async () => {
    const name = await started();
    hosts.refusal = new BerthError('stateConflict', 'the instance does not run here', {
      remedy: 'Start it.',
    });
    const { body } = await api.call('post', at(name, 'reset')).expect(202);
    expect(body.operation).toMatchObject({
      state: 'failed',
      error: { code: 'stateConflict', message: 'the instance does not run here', remedy: 'Start it.' },
    });
  });

  test('is refused for containers, what is paused or off, a host that is away, and whoever may only look', async () => {
    const ask = (name: string, as?: string) => api.call('post', at(name, 'reset'), as);
    const container = await started({});
    expect((await ask(container).expect(422)).body.remedy).toContain('restart');
    const off = await started({ ...vm, desired: 'stopped' });
    expect((await ask(off).expect(409)).body.code).toBe('stateConflict');
    const paused = await started();
    await api.facetsAdd('pause');
    await api.call('post', at(paused, 'pause')).expect(202);
    await api.settle();
    expect((await ask(paused).expect(409)).body.remedy).toContain('Resume');
    const name = await started();
    await ask(name, 'alpha:viewer').expect(403);
    hosts.away = true;
    expect((await ask(name).expect(503)).body.code).toBe('unavailable');
    expect(hosts.done).toEqual([]);
  });
});

describe('a machine that its watchdog paused', () => {
  test('is let go on by resume, which its host is told at once, and may be reset', async () => {
    const name = await started({ ...vm, userData: '#sim:held' });
    const { body } = await api.call('get', `/v1/projects/alpha/instances/${name}`).expect(200);
    expect(body.status).toMatchObject({
      state: 'paused',
      reason: 'its watchdog paused it',
      conditions: [{ type: 'WatchdogExpired', reason: 'Paused' }],
    });
    await api.facetsAdd('pause');
    for (const verb of ['resume', 'reset']) {
      const answer = await api.call('post', at(name, verb)).expect(202);
      expect(answer.body.operation).toMatchObject({ kind: verb, state: 'succeeded' });
    }
    expect(hosts.done).toEqual([`resume ${name}`, `reset ${name}`]);
    const stale = api.call('post', at(name, 'resume')).set('if-match', '"1"');
    expect((await stale.expect(412)).body.code).toBe('preconditionFailed');
  });

  test('that its user paused, too, is resumed as any other', async () => {
    const name = await started({ ...vm, userData: '#sim:held' });
    await api.facetsAdd('pause');
    await api.call('post', at(name, 'pause')).expect(202);
    await api.call('post', at(name, 'resume')).expect(202);
    expect(hosts.done).toEqual([]);
  });
});

describe('a machine whose TPM has ended', () => {
  test('says so while it runs, and is refused what it would not outlive, with what brings the TPM back', async () => {
    await api.facetsAdd('tpm', 'suspend', 'pause', 'snapshots', 'memorySnapshots');
    const name = await started({ ...vm, tpm: true, userData: '#sim:tpmless' });
    const path = `/v1/projects/alpha/instances/${name}`;
    const conditions = [{ type: 'TpmLost', reason: 'Ended' }];
    const { body } = await api.call('get', path).expect(200);
    expect(body.status).toMatchObject({ state: 'running', reason: null, conditions });
    const refused = {
      reset: await api.call('post', at(name, 'reset')).expect(409),
      suspend: await api.call('post', at(name, 'suspend')).expect(409),
      'snapshot with memory': await api
        .call('post', `${path}/snapshots`)
        .send({ name: 'one', memory: true })
        .expect(409),
    };
    for (const [what, answer] of Object.entries(refused))
      expect(answer.body).toMatchObject({
        code: 'stateConflict',
        detail: `The TPM of instance "${name}" has ended, so there is no ${what}.`,
        remedy: 'restart the instance, which brings its TPM back with what it holds',
      });
    expect(hosts.done).toEqual([]);
    await api.call('post', `${path}/snapshots`).send({ name: 'disks' }).expect(202);
    await api.call('post', at(name, 'pause')).expect(202);
    // What ends is not held up by it.
    const stop = await api.call('post', at(name, 'stop')).expect(202);
    expect(stop.body.instance.status).toMatchObject({ state: 'stopping', reason: null });
  });
});

test('a watchdog is refused for a container, and with an action that there is none of', async () => {
  const create = (spec: object) =>
    api
      .call('post', '/v1/projects/alpha/instances')
      .send({ name: 'dog', spec: { memoryMiB: 64, ...spec } })
      .expect(400);
  const container = { isolation: 'container', image: 'oci', watchdog: { action: 'reset' } };
  expect((await create(container)).body.errors[0].path).toBe('/spec/watchdog');
  const barks = { ...vm, watchdog: { action: 'bark' } };
  expect((await create(barks)).body.errors[0].path).toBe('/spec/watchdog/action');
});

describe('freeze and thaw', () => {
  test('are done by the agent in a guest, with a time', async () => {
    const name = await started({ ...vm, userData: '#sim:agent' });
    const frozen = await api.call('post', at(name, 'freeze')).send({ seconds: 7 }).expect(202);
    expect(frozen.body.operation).toMatchObject({ kind: 'freeze', state: 'succeeded' });
    await api.call('post', at(name, 'freeze')).send({}).expect(202);
    await api.call('post', at(name, 'thaw')).expect(202);
    expect(hosts.done).toEqual([`freeze ${name} 7`, `freeze ${name} 10`, `thaw ${name}`]);
  });

  test('are refused for containers and where no agent answers', async () => {
    for (const verb of ['freeze', 'thaw']) {
      const ask = (name: string) => api.call('post', at(name, verb)).send(verb === 'freeze' ? {} : undefined);
      expect((await ask(await started({})).expect(422)).body.code).toBe('unsupported');
      expect((await ask(await started()).expect(409)).body.remedy).toContain('qemu-guest-agent');
    }
    expect(hosts.done).toEqual([]);
  });
});
