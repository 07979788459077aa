import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  accessFaults,
  chromiumLaunch,
  signIn,
  widthFaults,
  windowOpen,
  widths,
  type Chromium,
  type Look,
} from './chromium.js';
import { Stage } from './stage.js';

/*
 * Every page of the built dashboard in a real browser, on the real HTTP application and Postgres. Where a host would act,
 * `Api.settle` reports; tests/e2e/dashboard.test.ts has the real hosts.
 * BERTH_SCREENSHOTS=1 also writes docs/screenshots.
 */
const dist = fileURLToPath(new URL('../../apps/dashboard/dist', import.meta.url));
const shots = fileURLToPath(new URL('../../docs/screenshots', import.meta.url));
const shooting = process.env['BERTH_SCREENSHOTS'] === '1';

let stage: Stage;
let chromium: Chromium;
beforeAll(async () => {
  stage = await Stage.start();
  chromium = await chromiumLaunch();
  if (shooting) mkdirSync(shots, { recursive: true });
});
afterAll(async () => {
  await chromium?.close();
  await stage?.stop();
});

const inAlpha = '/ui/p/alpha';
const pages: readonly (readonly [name: string, path: string, ready: string])[] = [
  ['overview', inAlpha, 'text=Needs attention'],
  ['instances', `${inAlpha}/instances`, 'td >> text=database'],
  ['instances-filtered', `${inAlpha}/instances?state=error`, 'text=No instance fits'],
  ['create', `${inAlpha}/create`, 'th >> text=Verdict'],
  ['instance', `${inAlpha}/instances/web`, 'figure:has-text("Disk read") canvas'],
  ['machine', `${inAlpha}/instances/database`, 'text=Drive 1: empty'],
  ['terminal-choice', `${inAlpha}/instances/web?tab=terminal`, 'button >> text=Open a terminal'],
  ['terminal-off', `${inAlpha}/instances/worker?tab=terminal`, 'text=It is stopped'],
  ['log', `${inAlpha}/instances/web?tab=logs`, 'text=line 40 of'],
  ['snapshots', `${inAlpha}/instances/database?tab=snapshots`, 'td >> text=before-upgrade'],
  ['decision', `${inAlpha}/instances/giant?tab=decision`, 'th >> text=Verdict'],
  ['events', `${inAlpha}/instances/web?tab=events`, 'td >> text=instance.created'],
  ['spec', `${inAlpha}/instances/web?tab=spec`, 'text=backoffSeconds'],
  ['instance-missing', `${inAlpha}/instances/nowhere`, 'text=There is no instance'],
  ['images', `${inAlpha}/images`, 'td >> text=disk'],
  ['networks', `${inAlpha}/networks`, 'td >> text=default'],
  ['volumes', `${inAlpha}/volumes`, 'td >> text=root disk'],
  ['secrets', `${inAlpha}/secrets`, 'td >> text=db-password'],
  ['operations', `${inAlpha}/operations`, 'td >> text=succeeded'],
  ['hosts', '/ui/hosts', 'h2 >> text=h2'],
  ['host', '/ui/hosts/h1', 'figure:has-text("Processor") canvas'],
  ['tokens', '/ui/tokens', 'td >> text=alpha-viewer'],
];

describe.each(widths)('at %s px', (width) => {
  test('every page is accessible in both schemes, fits its window, and no script or policy complains', async () => {
    const { context, page, complaints } = await windowOpen(chromium, { width, scheme: 'light' });
    const faults: string[] = [];
    const look = async (name: string): Promise<void> => {
      faults.push(...(await widthFaults(page)));
      for (const scheme of ['dark', 'light'] as const) {
        await page.emulateMedia({ colorScheme: scheme });
        await page.locator(`html[data-mantine-color-scheme=${scheme}]`).waitFor();
        faults.push(...(await accessFaults(page)));
        await shoot(page, name, { width, scheme });
      }
    };
    await page.goto(`${stage.base}/ui/`);
    await page.getByRole('button', { name: 'Sign in' }).waitFor();
    await look('sign-in');
    await signIn(page, stage.base, stage.token());
    for (const [name, path, ready] of pages) {
      await page.goto(stage.base + path);
      await page.locator(ready).first().waitFor({ state: 'visible' });
      await page.locator('[role=status][aria-label=Loading]').first().waitFor({ state: 'detached' });
      await look(name);
    }
    expect([...faults, ...complaints]).toEqual([]);
    await context.close();
  });
});

/** All pages once, and of some also how they look dark and narrow. */
async function shoot(page: Page, name: string, { width, scheme }: Look): Promise<void> {
  const plain = width === 1440 && scheme === 'light';
  const also = scheme === 'dark' && ['overview', 'instances', 'instance', 'create'].includes(name);
  if (!shooting || !(plain || also)) return;
  await page.screenshot({ path: join(shots, `${name}-${width}-${scheme}.png`), animations: 'disabled' });
}

test('the first script is below 150 kB gzipped', () => {
  const manifest = JSON.parse(readFileSync(join(dist, '.vite/manifest.json'), 'utf8')) as Record<
    string,
    { readonly file: string; readonly imports?: readonly string[] }
  >;
  const needed = new Set<string>();
  const add = (key: string): void => {
    if (needed.has(key)) return;
    needed.add(key);
    for (const next of manifest[key]?.imports ?? []) add(next);
  };
  add('index.html');
  const bytes = [...needed].map(
    (key) => gzipSync(readFileSync(join(dist, manifest[key]?.file ?? ''))).length,
  );
  expect(bytes.reduce((a, b) => a + b)).toBeLessThan(150_000);
});
