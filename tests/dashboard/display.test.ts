import { readFile } from 'node:fs/promises';
import { BerthError } from '@berth/model';
import type { Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import {
  accessFaults,
  chromiumLaunch,
  looks,
  signIn,
  widthFaults,
  windowOpen,
  type Chromium,
} from './chromium.js';
import { ScreenGuest } from './screen-guests.js';
import { Stage } from './stage.js';

/*
 * The display of a machine in a real browser, on the real HTTP application and an RFB server of ours; tests/e2e has QEMU's.
 */
let stage: Stage;
let chromium: Chromium;
beforeAll(async () => {
  stage = await Stage.start();
  chromium = await chromiumLaunch();
});
afterEach(() => {
  stage.guests.refusal = null;
});
afterAll(async () => {
  await chromium?.close();
  await stage?.stop();
});

const displayOf = (name: string): string => `${stage.base}/ui/p/alpha/instances/${name}?tab=display`;
function guest(): ScreenGuest {
  const last = stage.guests.opened.at(-1);
  if (!(last instanceof ScreenGuest)) throw new Error('no display is open');
  return last;
}
/** What is used of a canvas. */
interface Canvas {
  readonly width: number;
  readonly height: number;
  getContext(kind: '2d'): {
    getImageData(x: number, y: number, width: number, height: number): { readonly data: Uint8ClampedArray };
  } | null;
}

/** Size of the screen in its own pixels, and how many colours are on it. */
const canvas = (page: Page): Promise<{ width: number; height: number; colours: number }> =>
  page.locator('.display-screen canvas').evaluate((element) => {
    const screen = element as unknown as Canvas;
    const { width, height } = screen;
    const pixels = screen.getContext('2d')?.getImageData(0, 0, width, height).data ?? new Uint8ClampedArray();
    const seen = new Set<number>();
    for (let i = 0; i < pixels.length; i += 4)
      seen.add(((pixels[i] ?? 0) << 16) | ((pixels[i + 1] ?? 0) << 8) | (pixels[i + 2] ?? 0));
    return { width, height, colours: seen.size };
  });

describe.each(looks)('at $width px, $scheme', (look) => {
  test('a display is opened, looked at, typed into, left by key and closed', async () => {
    const { context, page, complaints } = await windowOpen(chromium, look);
    await signIn(page, stage.base, await stage.code());
    await page.goto(displayOf('database'));
    const open = page.getByRole('button', { name: 'Open the display' });
    await open.waitFor();
    const faults = [...(await accessFaults(page)), ...(await widthFaults(page))];
    await open.click();
    await page.getByRole('status').getByText('connected', { exact: true }).waitFor();
    await expect.poll(() => canvas(page), { timeout: 15_000 }).toMatchObject({ width: 160, height: 96 });
    await expect.poll(async () => (await canvas(page)).colours, { timeout: 15_000 }).toBeGreaterThan(8);
    const first = guest();
    await page.keyboard.type('Typed');
    await expect.poll(() => first.text, { timeout: 15_000 }).toMatch(/Typed$/);
    faults.push(...(await accessFaults(page)), ...(await widthFaults(page)));
    await page.keyboard.press('Control+m');
    const again = page.getByRole('button', { name: 'Connect again' });
    expect(await again.evaluate((button) => button.matches(':focus'))).toBe(true);
    expect(first.text).toMatch(/Typed$/);
    await page.getByRole('button', { name: 'Send Ctrl+Alt+Delete' }).click();

    await again.click();
    await expect.poll(() => first.closed, { timeout: 15_000 }).toBe(true);
    await expect.poll(() => guest() !== first, { timeout: 15_000 }).toBe(true);
    await page.getByRole('status').getByText('connected', { exact: true }).waitFor();
    guest().say({ end: { reason: 'workloadEnded', exit: null } });
    await page.getByText('The instance does not run any more.').waitFor();
    faults.push(...(await accessFaults(page)), ...(await widthFaults(page)));
    await again.click();
    await page.getByRole('status').getByText('connected', { exact: true }).waitFor();
    const last = guest();
    await page.getByRole('tab', { name: 'Overview' }).click();
    await expect.poll(() => last.closed, { timeout: 15_000 }).toBe(true);
    expect([...faults, ...complaints]).toEqual([]);
    await context.close();
  });
});

test('a screenshot is saved as a file, also by who may only look, and a refusal is said', async () => {
  const { context, page } = await windowOpen(chromium, { width: 1440, scheme: 'light' });
  await signIn(page, stage.base, stage.token('alpha:viewer'));
  await page.goto(displayOf('database'));
  await page.getByText('To look on needs the role operator').waitFor();
  const saved = page.waitForEvent('download');
  await page.getByRole('button', { name: 'Save a screenshot' }).click();
  const download = await saved;
  expect(download.suggestedFilename()).toBe('database.png');
  expect((await readFile(await download.path())).subarray(1, 4).toString()).toBe('PNG');
  stage.guests.refusal = new BerthError('unsupported', 'the machine was started without a display', {
    remedy: 'Restart the instance.',
  });
  await page.getByRole('button', { name: 'Save a screenshot' }).click();
  await page.getByText('Restart the instance.').waitFor();
  expect([...(await accessFaults(page)), ...(await widthFaults(page))]).toEqual([]);
  await context.close();
});

test('of several screens one is chosen, to look at and to save', async () => {
  const name = await stage.wall();
  const { context, page, complaints } = await windowOpen(chromium, { width: 400, scheme: 'light' });
  await signIn(page, stage.base, await stage.code());
  await page.goto(displayOf(name));
  await page.getByRole('button', { name: 'Open the display' }).click();
  const connected = page.getByRole('status').getByText('connected', { exact: true });
  await connected.waitFor();
  expect(guest().open).toMatchObject({ kind: 'display', head: 0 });
  const first = guest();
  await page
    .getByRole('radiogroup', { name: `Screens of ${name}` })
    .getByText('Screen 2')
    .click();
  await expect.poll(() => first.closed, { timeout: 15_000 }).toBe(true);
  await expect.poll(() => guest().open, { timeout: 15_000 }).toMatchObject({ head: 1 });
  await connected.waitFor();
  const saved = page.waitForEvent('download');
  await page.getByRole('button', { name: 'Save a screenshot' }).click();
  const download = await saved;
  expect(download.suggestedFilename()).toBe(`${name}-2.png`);
  // The stage's second screen is twice as wide as its first.
  expect((await readFile(await download.path())).readUInt32BE(16)).toBe(4);
  expect([...(await accessFaults(page)), ...(await widthFaults(page)), ...complaints]).toEqual([]);
  await context.close();
});

test('a display that is refused says why, and a container has none', async () => {
  const { context, page } = await windowOpen(chromium, { width: 400, scheme: 'dark' });
  await signIn(page, stage.base, await stage.code());
  await page.goto(displayOf('database'));
  stage.guests.refusal = new BerthError('unsupported', 'the machine was started without a display');
  await page.getByRole('button', { name: 'Open the display' }).click();
  await page.getByText('The machine was started without a display').waitFor();
  expect([...(await accessFaults(page)), ...(await widthFaults(page))]).toEqual([]);
  await page.goto(`${stage.base}/ui/p/alpha/instances/web`);
  await page.getByRole('tab', { name: 'Terminal' }).waitFor();
  expect(await page.getByRole('tab', { name: 'Display' }).count()).toBe(0);
  await context.close();
});
