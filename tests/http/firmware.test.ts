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
