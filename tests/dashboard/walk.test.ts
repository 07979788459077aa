import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { FakeRegistry, imageParts } from '../images/fake-registry.js';
import { accessFaults, chromiumLaunch, signIn, widthFaults, windowOpen, type Chromium } from './chromium.js';
import { Stage } from './stage.js';

/*
 * What a person does in one sitting, by mouse and keyboard, in one page that is never loaded again: what changes on the
 * hosts has to arrive by the ledger's stream.
 */
let stage: Stage;
let chromium: Chromium;
beforeAll(async () => {
  stage = await Stage.start();
  chromium = await chromiumLaunch();
});
afterAll(async () => {
  await chromium?.close();
  await stage?.stop();
});

const state = (page: Page, word: string) => page.locator('.page-title .state', { hasText: word });

test('an instance is created, watched, read, stopped and deleted without a reload', async () => {
  const { context, page, complaints } = await windowOpen(chromium, { width: 1440, scheme: 'light' });
  const faults: string[] = [];
  await signIn(page, stage.base, await stage.code());
  let loads = 0;
  page.on('load', () => loads++);

  await create(page, 'shop', 'Container');
  await state(page, 'pending').waitFor();
  await stage.api.settle();
  await state(page, 'running').waitFor();
  await page.getByRole('tab', { name: 'Log' }).click();
  await page.getByRole('log').getByText('line 40 of what it printed').waitFor();

  await create(page, 'ledger', 'Virtual machine');
  await stage.api.settle();
  await state(page, 'running').waitFor();
  await page.getByRole('tab', { name: 'Serial output' }).click();
  await page.getByRole('log').getByText('line 40 of what it printed').waitFor();

  await page.getByRole('button', { name: 'Reset' }).click();
  const reset = page.getByRole('dialog', { name: 'Reset ledger?' });
  await reset.getByLabel('Type ledger to confirm').fill('ledger');
  await reset.getByRole('button', { name: 'Reset' }).click();
  await reset.waitFor({ state: 'detached' });
  expect(stage.prompts.done).toEqual(['reset ledger']);

  await page.getByRole('tab', { name: 'Snapshots' }).click();
  await page.getByText('No snapshots yet').waitFor();
  const revert = page.getByRole('button', { name: 'Revert to first' });
  await page.getByLabel('Name of the snapshot').fill('No Label');
  await page.getByRole('button', { name: 'Take it' }).click();
  await page.getByText('must be a DNS label').first().waitFor();
  await page.getByLabel('Name of the snapshot').fill('first');
  await page.getByRole('button', { name: 'Take it' }).click();
  await page.getByRole('row', { name: /first creating/ }).waitFor();
  await stage.api.settle();
  await page.getByRole('row', { name: /first ready crash/ }).waitFor();
  // Its memory would not fit its disk.
  expect(await revert.isDisabled()).toBe(true);
  faults.push(...(await accessFaults(page)));

  await page.getByRole('button', { name: 'Stop' }).click();
  await state(page, 'stopping').waitFor();
  await page.getByRole('button', { name: 'Force stop' }).click();
  const force = page.getByRole('dialog', { name: 'Force ledger to stop?' });
  await force.getByLabel('Type ledger to confirm').fill('ledger');
  faults.push(...(await accessFaults(page)));
  await force.getByRole('button', { name: 'Force stop' }).click();
  await force.waitFor({ state: 'detached' });
  await stage.api.settle();
  await state(page, 'stopped').waitFor();
  await revert.click();
  const back = page.getByRole('dialog', { name: 'Revert ledger to first?' });
  await back.getByLabel('Type first to confirm').fill('first');
  faults.push(...(await accessFaults(page)));
  await back.getByRole('button', { name: 'Revert' }).click();
  await back.waitFor({ state: 'detached' });
  await page.getByRole('row', { name: /first reverting/ }).waitFor();
  await stage.api.settle();
  await page.getByRole('row', { name: /first ready/ }).waitFor();
  await page.getByRole('button', { name: 'Delete first' }).click();
  const drop = page.getByRole('dialog', { name: 'Delete snapshot first?' });
  await drop.getByLabel('Type first to confirm').fill('first');
  await drop.getByRole('button', { name: 'Delete' }).click();
  await drop.waitFor({ state: 'detached' });
  await stage.api.settle();
  await page.getByText('No snapshots yet').waitFor();
  await page.getByRole('button', { name: 'Delete', exact: true }).click();
  const dialog = page.getByRole('dialog', { name: 'Delete ledger?' });
  const sure = dialog.getByRole('button', { name: 'Delete' });
  await dialog.getByLabel('Type ledger to confirm').fill('ledge');
  expect(await sure.isDisabled()).toBe(true);
  faults.push(...(await accessFaults(page)));
  await dialog.getByLabel('Type ledger to confirm').fill('ledger');
  await sure.click();
  await dialog.waitFor({ state: 'detached' });
  await stage.api.settle();
  await page.getByText('There is no instance ledger').waitFor();

  expect([...faults, ...complaints]).toEqual([]);
  expect(loads).toBe(0);
  await context.close();
});

test('an image is imported from an address, its progress and its failure are seen without a reload', async () => {
  const bytes = randomBytes(64 * 1024);
  let rest = (): void => undefined;
  // The first half, and then a little from time to time, until the rest is asked for.
  const source = createServer((_, response) => {
    response.writeHead(200, { 'content-length': String(bytes.length) });
    let sent = 32 * 1024;
    response.write(bytes.subarray(0, sent));
    const drip = setInterval(() => response.write(bytes.subarray(sent, (sent += 8))), 100);
    response.on('close', () => clearInterval(drip));
    rest = () => {
      clearInterval(drip);
      response.end(bytes.subarray(sent));
    };
  }).listen(0, '127.0.0.1');
  await once(source, 'listening');
  const url = `http://127.0.0.1:${(source.address() as AddressInfo).port}/Tiny.qcow2?key=s3cret`;
  const imageSources = { privateAddresses: true };
  await stage.api.call('patch', '/v1/projects/alpha').send({ imageSources }).expect(200);

  const { context, page, complaints } = await windowOpen(chromium, { width: 1440, scheme: 'light' });
  await signIn(page, stage.base, stage.token('alpha:operator'));
  await page.goto(`${stage.base}/ui/p/alpha/images`);
  let loads = 0;
  page.on('load', () => loads++);
  const begin = async (sha256: string): Promise<void> => {
    await page.getByLabel('Address').fill(url);
    expect(await page.getByLabel('Name of the import').inputValue()).toBe('tiny');
    await page.getByLabel('SHA-256').fill(sha256);
    await page.getByRole('button', { name: 'Import', exact: true }).click();
  };
  const bar = page.getByRole('progressbar', { name: 'Import of tiny' });

  await begin('0'.repeat(64));
  await bar.waitFor();
  const faults = await accessFaults(page);
  rest();
  await page.getByText('Import of tiny failed: the file hashes to').waitFor();
  await page.getByText('Compare the digest with what the publisher states').waitFor();

  await begin(createHash('sha256').update(bytes).digest('hex'));
  await bar.waitFor();
  rest();
  await page.locator('td', { hasText: 'disk, raw' }).first().waitFor();
  await page.getByRole('link', { name: 'tiny' }).waitFor();
  await bar.waitFor({ state: 'detached' });

  const registry = await FakeRegistry.start('shop/web');
  registry.image('1.4', imageParts([randomBytes(2048)]));
  await page.getByLabel('Address').fill(`docker://${registry.domain}/shop/web:1.4`);
  expect(await page.getByLabel('Name of the import').inputValue()).toBe('web');
  await page.getByLabel('User name').fill('me');
  await page.getByLabel('Password', { exact: true }).fill('s3cret');
  faults.push(...(await accessFaults(page)));
  await page.getByRole('button', { name: 'Import', exact: true }).click();
  await page.getByRole('link', { name: 'web', exact: true }).waitFor();
  await registry.stop();
  expect(await page.content()).not.toContain('s3cret');
  expect([...faults, ...(await accessFaults(page)), ...complaints]).toEqual([]);
  expect(loads).toBe(0);
  await context.close();
  source.closeAllConnections();
  await new Promise((resolve) => source.close(resolve));
});

test('a network is made, gets an instance as its second, is kept while that is there, and another comes by the ledger', async () => {
  const { context, page, complaints } = await windowOpen(chromium, { width: 1440, scheme: 'light' });
  await signIn(page, stage.base, stage.token('alpha:operator'));
  await page.goto(`${stage.base}/ui/p/alpha/networks`);
  const row = (name: string) => page.getByRole('row', { name: new RegExp(`^${name} `) });
  const make = async (name: string, cidr: string): Promise<void> => {
    await page.getByLabel('Name', { exact: true }).fill(name);
    await page.getByLabel('Subnet').fill(cidr);
    await page.getByRole('button', { name: 'Create', exact: true }).click();
  };
  await make('backend', '8.8.8.0/24');
  await page.getByText('must be private').first().waitFor();
  const faults = await accessFaults(page);
  await make('backend', '10.70.60.0/24');
  await row('backend').getByText('10.70.60.1').waitFor();
  await stage.api.call('post', '/v1/projects/alpha/networks').send({ name: 'elsewhere' }).expect(201);
  await row('elsewhere').waitFor();

  await page.goto(`${stage.base}/ui/p/alpha/create`);
  await page.getByLabel('Name', { exact: true }).fill('twofold');
  await page.getByLabel('also backend (10.70.60.0/24)').check();
  faults.push(...(await accessFaults(page)));
  await page.getByRole('button', { name: 'Create twofold' }).click();
  await page.getByText('10.70.60.2 (backend').waitFor();

  const remove = async (name: string): Promise<void> => {
    await row(name)
      .getByRole('button', { name: `Delete ${name}` })
      .click();
    await page.getByLabel(`Type ${name} to confirm`).fill(name);
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
  };
  await page.goto(`${stage.base}/ui/p/alpha/networks`);
  await remove('backend');
  await page.getByText('has nics of instances: "twofold"').waitFor();
  await page.getByRole('button', { name: 'Keep it' }).click();
  await remove('elsewhere');
  await row('elsewhere').waitFor({ state: 'detached' });
  expect([...faults, ...complaints]).toEqual([]);
  await context.close();
});

test('a volume is cloned, and what is wrong with the name of one is said at its field', async () => {
  const { context, page, complaints } = await windowOpen(chromium, { width: 1440, scheme: 'light' });
  await stage.api.call('post', '/v1/projects/alpha/volumes').send({ name: 'plain', sizeMiB: 8 }).expect(201);
  await signIn(page, stage.base, stage.token('alpha:operator'));
  await page.goto(`${stage.base}/ui/p/alpha/volumes`);
  await page.getByRole('button', { name: 'Clone plain' }).click();
  const name = page.getByLabel('Name of the clone of plain');
  expect(await name.inputValue()).toBe('plain-copy');
  await name.fill('Not A Label');
  await page.getByRole('button', { name: 'Clone', exact: true }).click();
  await page.getByText('must be a DNS label').first().waitFor();
  const faults = await accessFaults(page);
  await name.fill('twin');
  await page.getByRole('button', { name: 'Clone', exact: true }).click();
  const row = page.getByRole('row', { name: /^twin/ });
  await row.waitFor();
  expect([...faults, ...(await accessFaults(page)), ...complaints]).toEqual([]);
  await context.close();
});

test('what a machine is to be given is in the spec that the form makes', async () => {
  const { context, page, complaints } = await windowOpen(chromium, { width: 400, scheme: 'light' });
  await signIn(page, stage.base, stage.token('alpha:operator'));
  await page.goto(`${stage.base}/ui/p/alpha/create`);
  await page.getByLabel('Name', { exact: true }).fill('modern');
  await page.getByText('Virtual machine', { exact: true }).click();
  await page.getByLabel('Virtual processors it can get').fill('2');
  await page.getByLabel('Memory it can grow to, MiB').fill('64');
  await page.getByLabel('Processor model').fill('Nehalem');
  await page.getByLabel('Firmware').selectOption('UEFI with secure boot');
  await page.getByLabel('TPM 2.0').check();
  await page.getByLabel('Sockets between it and its host').check();
  await page.getByLabel('NUMA nodes', { exact: true }).fill('1');
  await page.getByLabel('Bound to NUMA nodes of its host').check();
  await page.getByRole('button', { name: 'Create modern' }).click();
  // Said at its field, with all that was filled in kept.
  await page.getByText('must be at least memoryMiB').first().waitFor();
  await page.getByLabel('Memory it can grow to, MiB').fill('512');
  await page.getByRole('button', { name: 'Create modern' }).click();
  await page.getByRole('tab', { name: 'Spec' }).click();
  const spec = page.locator('pre', { hasText: 'isolation' }).first();
  await spec.waitFor();
  const text = (await spec.innerText()).replace(/[\s"',]+/g, ' ');
  for (const part of [
    'maxMemoryMiB: 512',
    'maxVcpus: 2',
    'model: Nehalem',
    'secureBoot: true',
    'tpm: true',
    'vsock: true',
    'placement: bind',
  ])
    expect(text.replace(/ :/g, ':')).toContain(part);
  const shop = await stage.api.call('get', '/v1/projects/alpha/instances/modern').expect(200);
  expect(shop.body).toMatchObject({
    spec: {
      cpu: { model: 'Nehalem' },
      firmware: { type: 'uefi', secureBoot: true },
      maxMemoryMiB: 512,
      maxVcpus: 2,
      tpm: true,
      vsock: true,
      numa: { nodes: 1, placement: 'bind' },
    },
  });
  expect(complaints).toEqual([]);
  await context.close();
});

test('a secret and a volume are made, a container is given both and all that folds, and the secret is replaced and kept while in use', async () => {
  const { context, page, complaints } = await windowOpen(chromium, { width: 400, scheme: 'dark' });
  await signIn(page, stage.base, stage.token());
  await page.goto(`${stage.base}/ui/p/alpha/secrets`);
  const name = page.getByLabel('Name', { exact: true });
  await name.fill('db-password');
  await page.getByText('There is a secret db-password').waitFor();
  await name.fill('tls-key');
  await page.getByLabel('Value', { exact: true }).fill('-----BEGIN\nof-a-key\n');
  const faults = await accessFaults(page);
  await page.getByRole('button', { name: 'Create', exact: true }).click();
  const row = page.getByRole('row', { name: /^tls-key/ });
  await row.getByText('nothing').waitFor();
  await page.goto(`${stage.base}/ui/p/alpha/volumes`);
  await name.fill('notes');
  await page.getByLabel('Size, MiB').fill('8');
  await page.getByRole('button', { name: 'Create', exact: true }).click();
  await page.getByText('must be at least 16').first().waitFor();
  await page.getByLabel('Size, MiB').fill('32');
  await page.getByRole('button', { name: 'Create', exact: true }).click();
  await page.getByRole('row', { name: /^notes/ }).waitFor();

  await page.goto(`${stage.base}/ui/p/alpha/create`);
  await name.fill('vault');
  // By the keyboard alone, as every folded part can be opened.
  const fold = (title: string) => page.locator('summary', { hasText: title });
  await fold('Data volumes').focus();
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: 'Add a volume' }).click();
  await page.getByLabel('Volume', { exact: true }).selectOption('notes');
  expect(await page.getByLabel('Where it has it').inputValue()).toBe('/srv/notes');
  await fold('Secrets').click();
  await page.getByRole('button', { name: 'Add a secret' }).click();
  await page.getByLabel('Secret', { exact: true }).selectOption('tls-key');
  await page.getByLabel('File', { exact: true }).fill('/proc/key');
  await page.getByText('is in a directory of the kernel').first().waitFor();
  await page.getByLabel('File', { exact: true }).fill('/etc/site.key');
  await fold('Starts after').click();
  await page.getByRole('button', { name: 'Add a dependency' }).click();
  await page.getByLabel('Instance', { exact: true }).fill('web');
  await fold('Health probes').click();
  await page.getByLabel('Liveness', { exact: true }).selectOption('exec');
  await page.getByLabel('Program and its arguments').fill('test -e "/srv/a b"');
  await page.getByLabel('Every, seconds').fill('3');
  await fold('Share and limits').click();
  await page.getByLabel('Processes at most').fill('64');
  await page.getByLabel('Disk writes, MiB/s').fill('5');
  await fold('System, isolation and devices').click();
  await page.getByLabel('System container').check();
  await page.getByLabel('tun, lent by').check();
  await fold('Names (DNS)').click();
  await page.getByLabel('Search domains').fill('example.net, example.org');
  await page.getByLabel('Lines of /etc/hosts').fill('10.9.8.7 db db.example.net');
  await page.getByText('is in a directory of the kernel').first().waitFor({ state: 'detached' });
  faults.push(...(await accessFaults(page)), ...(await widthFaults(page)));
  await page.getByRole('button', { name: 'Create vault' }).click();
  await page.getByText('/etc/site.key').waitFor();
  faults.push(...(await accessFaults(page)), ...(await widthFaults(page)));
  const { body } = await stage.api.call('get', '/v1/projects/alpha/instances/vault').expect(200);
  expect(body.spec).toMatchObject({
    volumes: [{ name: 'notes', path: '/srv/notes', readOnly: false }],
    secrets: [{ name: 'tls-key', path: '/etc/site.key', mode: '0400' }],
    dependsOn: [{ instance: 'web', condition: 'running' }],
    probes: { liveness: { exec: { command: ['test', '-e', '/srv/a b'] }, intervalSeconds: 3 } },
    resources: { pids: 64, io: { writeMiBPerSecond: 5 } },
    system: true,
    devices: ['tun'],
    dns: {
      search: ['example.net', 'example.org'],
      hosts: [{ address: '10.9.8.7', names: ['db', 'db.example.net'] }],
    },
  });

  await page.goto(`${stage.base}/ui/p/alpha/secrets`);
  await row.getByRole('link', { name: 'vault' }).waitFor();
  expect(await row.getByRole('button', { name: 'Delete tls-key' }).isDisabled()).toBe(true);
  await row.getByRole('button', { name: 'New value of tls-key' }).click();
  const dialog = page.getByRole('dialog', { name: 'New value of tls-key' });
  await dialog.getByLabel('Value').fill('another');
  faults.push(...(await accessFaults(page)));
  await dialog.getByRole('button', { name: 'Replace' }).click();
  await dialog.waitFor({ state: 'detached' });
  const kept = await stage.api.call('get', '/v1/projects/alpha/secrets/tls-key').expect(200);
  expect(kept.body.resourceVersion).toBe(2);
  expect(await page.content()).not.toMatch(/of-a-key|another/);
  expect([...faults, ...complaints]).toEqual([]);
  await context.close();
});

test('a medium is changed in a drive, and what is on its way is told until it is there', async () => {
  const { context, page, complaints } = await windowOpen(chromium, { width: 1440, scheme: 'light' });
  await signIn(page, stage.base, stage.token('alpha:operator'));
  await page.goto(`${stage.base}/ui/p/alpha/instances/database`);
  await page.getByText('Drive 0: rescue, locked by its guest').waitFor();
  await page.getByLabel('Medium of drive 0').selectOption('nothing');
  await page.getByLabel('Even if its guest has locked the drive').check();
  const faults = await accessFaults(page);
  await page.getByRole('button', { name: 'Take it out' }).click();
  await page.getByText('Drive 0: rescue, locked by its guest, is being taken out').waitFor();
  await stage.api.settle();
  await page.getByText('Drive 0: empty').waitFor();
  expect([...faults, ...complaints]).toEqual([]);
  await context.close();
});

test('an instance that fits no host is told so before it is made, and why it waits after', async () => {
  const { context, page, complaints } = await windowOpen(chromium, { width: 400, scheme: 'dark' });
  await signIn(page, stage.base, stage.token());
  await page.goto(`${stage.base}/ui/p/alpha/create`);
  await page.getByLabel('Name', { exact: true }).fill('whale');
  await page.getByLabel('Memory, MiB').fill('900000');
  await page.getByText('It can be created all the same').waitFor();
  await page.getByRole('button', { name: 'Create whale' }).click();
  await state(page, 'pending').waitFor();
  await stage.api.settle();
  const waits = page.locator('section', { has: page.getByRole('heading', { name: 'Why it waits' }) });
  await waits.getByText('memory').first().waitFor();
  await page.getByRole('tab', { name: 'Decision' }).click();
  const verdict = page.getByRole('row', { name: /h1 fails memory/ });
  await verdict.waitFor();
  expect(await verdict.textContent()).toContain('900000');
  expect(complaints).toEqual([]);
  await context.close();
});

async function create(page: Page, name: string, isolation: string): Promise<void> {
  await page.getByRole('link', { name: 'Instances' }).click();
  await page.getByRole('heading', { name: 'Instances', level: 1 }).waitFor();
  await page.getByRole('link', { name: 'Create instance' }).click();
  await page.getByRole('heading', { name: 'Create instance', level: 1 }).waitFor();
  await page.getByLabel('Name', { exact: true }).fill(name);
  await page.getByText(isolation, { exact: true }).click();
  await page.getByRole('button', { name: `Create ${name}` }).click();
  await page.getByRole('heading', { name, level: 1 }).waitFor();
}
