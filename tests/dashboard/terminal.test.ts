import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  accessFaults,
  chromiumLaunch,
  looks,
  signIn,
  widthFaults,
  windowOpen,
  type Chromium,
} from './chromium.js';
import { Stage } from './stage.js';

/*
 * The terminal of the instance's page in a real browser, on the real HTTP application. What a host would run is stood in for;
 * tests/e2e/dashboard.test.ts has real ones. BERTH_SCREENSHOTS=1 also writes docs/screenshots.
 */
const shots = fileURLToPath(new URL('../../docs/screenshots', import.meta.url));

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

const terminalOf = (name: string): string => `${stage.base}/ui/p/alpha/instances/${name}?tab=terminal`;
const shown = (page: Page, text: string | RegExp, timeout = 15_000) =>
  expect.poll(() => page.locator('.xterm-rows').innerText(), { timeout }).toMatch(text);
const guest = () => stage.guests.opened.at(-1) as (typeof stage.guests.opened)[number];
const typed = (): string => Buffer.concat(guest().typed).toString();

describe.each(looks)('at $width px, $scheme', (look) => {
  test('a shell is opened, typed into, fitted, left by key and closed', async () => {
    const { context, page, complaints } = await windowOpen(chromium, look);
    await signIn(page, stage.base, await stage.code());
    await page.goto(terminalOf('web'));
    await page.getByRole('button', { name: 'Open a terminal' }).click();
    await shown(page, /\d+x\d+\$/);
    const size = guest().open;
    if (size.kind !== 'exec' || size.size === undefined) throw new Error('no size was sent');
    expect(size.size.columns).toBeLessThan(look.width / 6);
    expect(size.size.columns).toBeGreaterThan(25);
    await page.keyboard.type('ls -l');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Control+c');
    await expect.poll(typed).toBe('ls -l\t\u0003');
    await shown(page, 'ls -l');
    const faults = [...(await accessFaults(page)), ...(await widthFaults(page))];
    if (process.env['BERTH_SCREENSHOTS'] === '1' && (look.width === 1440 || look.scheme === 'dark')) {
      mkdirSync(shots, { recursive: true });
      const path = join(shots, `terminal-${look.width}-${look.scheme}.png`);
      await page.screenshot({ path, animations: 'disabled' });
    }
    await page.keyboard.press('Control+m');
    const again = page.getByRole('button', { name: 'Begin anew' });
    expect(await again.evaluate((button) => button.matches(':focus'))).toBe(true);
    expect(typed()).toBe('ls -l\t\u0003');
    await page.setViewportSize({ width: look.width === 400 ? 360 : 1000, height: 700 });
    await expect.poll(() => guest().orders.length, { timeout: 15_000 }).toBeGreaterThan(1);

    await page.locator('.terminal-screen').click();
    await page.keyboard.type('exit 7\n');
    await page.getByText('The program ended with code 7.').waitFor();
    faults.push(...(await accessFaults(page)), ...(await widthFaults(page)));
    await page.getByRole('button', { name: 'Connect again' }).click();
    await shown(page, /^\d+x\d+\$ \[\d+x\d+\]\s*$/);
    const second = guest();
    await page.getByRole('tab', { name: 'Overview' }).click();
    await expect.poll(() => second.closed).toBe(true);
    expect([...faults, ...complaints]).toEqual([]);
    await context.close();
  });
});

test('a console says when its machine ends, and ends itself when the browser signs out', async () => {
  const { context, page } = await windowOpen(chromium, { width: 1440, scheme: 'dark' });
  await signIn(page, stage.base, await stage.code());
  await page.goto(terminalOf('database'));
  await page.getByRole('button', { name: 'Open the console' }).click();
  await shown(page, 'login:');
  await page.keyboard.type('poweroff\n');
  await page.getByText('The instance does not run any more.').waitFor();
  await page.getByRole('button', { name: 'Connect again' }).click();
  await shown(page, 'login:');
  // Another page of the same browser signs out: the terminal of this one is ended by the API.
  await page.evaluate(async () => {
    const { csrf } = (await (await fetch('/v1/session')).json()) as { csrf: string };
    await fetch('/v1/session', { method: 'DELETE', headers: { 'x-berth-csrf': csrf } });
  });
  await expect.poll(() => guest().closed, { timeout: 15_000 }).toBe(true);
  await context.close();
});

test('who may only look is told so', async () => {
  const { context, page } = await windowOpen(chromium, { width: 1440, scheme: 'light' });
  await signIn(page, stage.base, stage.token('alpha:viewer'));
  await page.goto(terminalOf('web'));
  await page.getByText('A terminal needs the role operator').waitFor();
  await context.close();
});

test('a program that prints without end does not fill the page', async () => {
  const { context, page } = await windowOpen(chromium, { width: 1440, scheme: 'light' });
  await signIn(page, stage.base, await stage.code());
  await page.goto(terminalOf('web'));
  await page.getByRole('button', { name: 'Open a terminal' }).click();
  await shown(page, /\$/);
  const busy = guest();
  for (let i = 0; i < 2000; i++) busy.say({ channel: 'output', bytes: Buffer.alloc(32 * 1024, 'x') });
  busy.say({ channel: 'output', bytes: Buffer.from('\r\nall of it\r\n') });
  // 64 MiB, at the pace of the browser.
  await shown(page, 'all of it', 90_000);
  await context.close();
}, 120_000);
