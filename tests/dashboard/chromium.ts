import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium, type Browser, type BrowserContext, type Page } from 'playwright-core';

const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

export interface Chromium {
  readonly browser: Browser;
  /** Ends the browser and removes its home, in which Chromium keeps more than its profile. */
  close(): Promise<void>;
}

/** Debian's Chromium, headless, with a home and a profile of its own. */
export async function chromiumLaunch(): Promise<Chromium> {
  const home = await mkdtemp(join(tmpdir(), 'berth-chromium-'));
  const browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    env: {
      PATH: process.env['PATH'] ?? '',
      HOME: home,
      TMPDIR: home,
      XDG_CONFIG_HOME: home,
      XDG_CACHE_HOME: home,
      XDG_RUNTIME_DIR: home,
    },
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-dev-shm-usage',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
  const close = async (): Promise<void> => {
    await browser.close();
    await rm(home, { recursive: true, force: true, maxRetries: 5 });
  };
  return { browser, close };
}

export interface Look {
  readonly width: number;
  readonly scheme: 'light' | 'dark';
}

/** A narrow phone and a wide screen. */
export const widths = [400, 1440] as const;
/** For what people do on a page, each scheme and each width once; how pages look is seen in all four combinations. */
export const looks: readonly Look[] = [
  { width: 400, scheme: 'dark' },
  { width: 1440, scheme: 'light' },
];

/**
 * Answers that a page asks for and can show. And requests that the browser gives up because a link of its machine came or
 * went, as those of instances do: the page asks again.
 */
const expected = /status of (401|404|400|409|422)|net::ERR_NETWORK_CHANGED/;

/** A window whose script errors and refused policies are collected. */
export async function windowOpen(
  { browser }: Chromium,
  { width, scheme }: Look,
): Promise<{ context: BrowserContext; page: Page; complaints: string[] }> {
  const context = await browser.newContext({
    viewport: { width, height: 900 },
    colorScheme: scheme,
    reducedMotion: 'reduce',
  });
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('console', (message) => {
    if (message.type() === 'error' && !expected.test(message.text())) complaints.push(message.text());
  });
  return { context, page, complaints };
}

/** Signs in by the form, as a person would. */
export async function signIn(page: Page, base: string, secret: string): Promise<void> {
  await page.goto(`${base}/ui/`);
  await page.getByLabel('Sign-in code or token').fill(secret);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('heading', { name: 'Overview', level: 1 }).waitFor();
}

interface Violation {
  readonly id: string;
  readonly help: string;
  readonly nodes: readonly { readonly html: string; readonly failureSummary: string }[];
}

/** What axe finds against WCAG 2.2 A and AA and good practice; empty when nothing. */
export async function accessFaults(page: Page): Promise<string[]> {
  await page.evaluate(axeSource);
  // A colour on its way to another is of neither scheme.
  await page.evaluate(async () => {
    const { document, CSSTransition } = globalThis as unknown as {
      document: { getAnimations(): { readonly finished: Promise<unknown> }[] };
      CSSTransition: new () => object;
    };
    const under = document.getAnimations().filter((one) => one instanceof CSSTransition);
    await Promise.allSettled(under.map(({ finished }) => finished));
  });
  const violations = await page.evaluate(async () => {
    const { axe } = globalThis as unknown as { axe: { run(): Promise<{ violations: Violation[] }> } };
    return (await axe.run()).violations;
  });
  const scheme = await page.locator('html').getAttribute('data-mantine-color-scheme');
  const where = `${new URL(page.url()).pathname} at ${page.viewportSize()?.width}, ${scheme}`;
  return violations.map((v) => {
    const nodes = v.nodes.map((n) => `  ${n.html}\n  ${n.failureSummary}`).join('\n');
    return `${where}: ${v.id}: ${v.help}\n${nodes}`;
  });
}

/** What is wider than the window, so that one would have to scroll sideways. */
export async function widthFaults(page: Page): Promise<string[]> {
  const [content, window] = await page.evaluate(() => {
    const { document } = globalThis as unknown as {
      document: { documentElement: { scrollWidth: number; clientWidth: number } };
    };
    return [document.documentElement.scrollWidth, document.documentElement.clientWidth] as const;
  });
  return content <= window ? [] : [`${page.url()} is ${content} wide in ${window}`];
}
