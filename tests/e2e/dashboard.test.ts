import type { BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  accessFaults,
  chromiumLaunch,
  looks,
  signIn,
  widthFaults,
  windowOpen,
  type Chromium,
} from '../dashboard/chromium.js';
import { Berth, patience } from './berth.js';
import { samples } from './machine.js';

/*
 * What a person does in the dashboard, on a whole real Berth: containers by runc, machines by QEMU. No page is reloaded:
 * all that changes on it came by the event stream.
 */
let berth: Berth;
let chromium: Chromium;

beforeAll(async () => {
  const images = await samples();
  berth = await Berth.up(1);
  await berth.image('busybox', 'oci', images.container);
  await berth.image('tiny', 'disk', images.disk);
  chromium = await chromiumLaunch();
}, 300_000);
afterAll(async () => {
  await chromium?.close();
  await berth?.down();
}, 120_000);

/** Fills the form and creates an instance; ends on its page. */
async function create(
  page: Page,
  name: string,
  kind: 'Container' | 'Virtual machine',
  memoryMiB: string,
): Promise<void> {
  await page.goto(`${berth.base}/ui/p/default/create`);
  await page.getByLabel('Name').fill(name);
  await page.getByText(kind, { exact: true }).click();
  await page.getByLabel('Memory, MiB').fill(memoryMiB);
  await page.getByLabel(/Writable layer|Root disk/).fill('64');
  await page
    .getByText(/^placed on|^no host of/)
    .first()
    .waitFor();
  await page.getByRole('button', { name: `Create ${name}` }).click();
  await page.getByRole('heading', { name, level: 1 }).waitFor();
}

const state = (page: Page, wanted: string) => page.locator('.page-title .state', { hasText: wanted });

/** Deletes by typing the name. */
async function remove(page: Page, name: string): Promise<void> {
  await page.getByRole('button', { name: 'Delete', exact: true }).click();
  const dialog = page.getByRole('dialog');
  await expect.poll(() => dialog.getByRole('button', { name: 'Delete' }).isDisabled()).toBe(true);
  await dialog.getByLabel(`Type ${name} to confirm`).fill(name);
  await dialog.getByRole('button', { name: 'Delete' }).click();
  await page.getByText(`There is no instance ${name}`).waitFor({ timeout: 60_000 });
}

/** What the screen of the terminal shows. */
const screen = (page: Page) =>
  expect.poll(() => page.locator('.xterm-rows').innerText(), { timeout: patience(60_000) });

describe.each(looks)('the dashboard at $width px, $scheme', (look) => {
  const id = `${look.width}-${look.scheme}`;
  let context: BrowserContext;
  let page: Page;
  let complaints: string[];
  beforeAll(async () => {
    ({ context, page, complaints } = await windowOpen(chromium, look));
    page.setDefaultTimeout(20_000);
    const { secret } = await berth.ok<{ secret: string }>('POST', '/v1/sign-in-codes');
    await signIn(page, berth.base, secret);
  });
  afterAll(() => context?.close());

  it('creates a container, sees it run, reads what it prints, stops and deletes it', async () => {
    const name = `box-${id}`;
    await create(page, name, 'Container', '64');
    await state(page, 'running').waitFor({ timeout: 60_000 });
    await page.getByRole('tab', { name: 'Log' }).click();
    await expect.poll(() => page.getByRole('log').innerText(), { timeout: 30_000 }).not.toBe('');
    const faults = [...(await accessFaults(page)), ...(await widthFaults(page))];
    await page.getByRole('tab', { name: 'Terminal' }).click();
    await page.getByRole('button', { name: 'Open a terminal' }).click();
    await screen(page).toMatch(/[#$] *$/m);
    // What is typed is not what is looked for: only the shell puts the two together.
    await page.keyboard.type('echo "$(hostname)-${COLUMNS:-is}-$((6 * 7))"\n');
    await screen(page).toMatch(new RegExp(`${name}-\\d*(is)?-42`));
    faults.push(...(await accessFaults(page)), ...(await widthFaults(page)));
    await page.keyboard.type('exit 3\n');
    await page.getByText('The program ended with code 3.').waitFor();
    await page.getByRole('button', { name: 'Stop' }).click();
    await state(page, 'stopped').waitFor({ timeout: 60_000 });
    await remove(page, name);
    expect(faults).toEqual([]);
  });

  it('creates a machine, sees it run and reads its serial output', async () => {
    const name = `vm-${id}`;
    await create(page, name, 'Virtual machine', '128');
    await state(page, 'running').waitFor({ timeout: 60_000 });
    await page.getByRole('tab', { name: 'Serial output' }).click();
    await expect
      .poll(() => page.getByRole('log').innerText(), { timeout: 60_000 })
      .toMatch(/Linux|login|ready/i);
    await page.getByRole('tab', { name: 'Console' }).click();
    await page.getByRole('button', { name: 'Open the console' }).click();
    // What was printed before comes first; whether a guest listens to its serial port is its own affair.
    await screen(page).toMatch(/Linux|login|ready/i);
    await page.getByText('connected', { exact: true }).waitFor();
    const faults = [...(await accessFaults(page)), ...(await widthFaults(page))];
    expect(faults).toEqual([]);
    await page.getByRole('button', { name: 'Stop' }).click();
    await state(page, 'stopped').waitFor({ timeout: 60_000 });
    await remove(page, name);
  });

  it('says before and after why a too large instance waits', async () => {
    const name = `giant-${id}`;
    await create(page, name, 'Container', '9000000');
    await state(page, 'pending').waitFor();
    await page.getByText('Why it waits').waitFor();
    await page.getByRole('tab', { name: 'Decision' }).click();
    await page.getByText('fails memory').first().waitFor();
    expect(await page.getByRole('cell', { name: '9000000 MiB' }).first().isVisible()).toBe(true);
    await remove(page, name);
    expect(complaints).toEqual([]);
  });
});
