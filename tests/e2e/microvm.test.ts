import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse, stringify } from 'yaml';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Berth, patience, until } from './berth.js';
import { samples } from './machine.js';

/* One body, one word changed: the sample image as a container and as a microVM, by the command line. */
const command = fileURLToPath(new URL('../../apps/cli/dist/main.js', import.meta.url));
const example = readFileSync(new URL('../../examples/container.yaml', import.meta.url), 'utf8');

let berth: Berth;
let env: NodeJS.ProcessEnv;
beforeAll(async () => {
  const images = await samples();
  berth = await Berth.up(1);
  await berth.ok('PUT', '/v1/projects/default/secrets/pin', { value: 'pin-4711' });
  await berth.image('busybox', 'oci', images.container);
  const token = readFileSync(join(berth.root, 'etc/berth/admin-token'), 'utf8').trim();
  env = { ...process.env, BERTH_API: berth.base, BERTH_TOKEN: token };
}, 300_000);
afterAll(() => berth?.down(), 120_000);

function cli(args: readonly string[], input = ''): Promise<{ code: number; out: string; err: string }> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [command, ...args],
      { env, timeout: 120_000 },
      (error, out, err) => resolve({ code: error === null ? 0 : Number(error.code), out, err }),
    );
    child.stdin?.end(input);
  });
}

/** Asked of the API until it is there, since a command line costs more than all else that is waited for; then of that, once. */
async function printed(name: string, wanted: RegExp): Promise<void> {
  await until(
    `${name} has printed ${wanted}`,
    patience(60_000),
    async () => wanted.test(await berth.logs(name)) || undefined,
  );
  expect((await cli(['logs', name])).out).toMatch(wanted);
}

const slowly = { timeout: patience(60_000), interval: 500 };

const readiness = {
  exec: { command: ['sh', '-c', 'test "$NONCE" = n1'] },
  intervalSeconds: 1,
  timeoutSeconds: 60,
};

/** The example under another name; nothing but `isolation` tells one from the other. */
const bodyOf = (isolation: string): string => {
  const body = parse(example) as { name: string; spec: { isolation: string; process: { env: object } } };
  return stringify({
    ...body,
    name: `as-${isolation}`,
    spec: {
      ...body.spec,
      isolation,
      process: { env: { NONCE: 'n1' } },
      probes: { readiness },
      secrets: [{ name: 'pin' }, { name: 'pin', env: 'PIN' }],
    },
  });
};

it.each(['container', 'microvm'])(
  'runs, logs, is ready by its probe, lets programs in, and ends with its code, as a %s',
  async (isolation) => {
    const name = `as-${isolation}`;
    expect(await cli(['create', '-f', '-'], bodyOf(isolation))).toMatchObject({ code: 0 });
    await berth.state(name, 'running');
    await printed(name, new RegExp(`ready hostname=${name} nonce=n1 ip=10\\.[0-9.]+ boots=1`));
    await expect
      .poll(async () => (await berth.get(name)).status.conditions.map((c) => c.type), slowly)
      .toEqual(['Ready']);
    const said = await cli([
      'exec',
      name,
      '-u',
      '0',
      '--',
      'sh',
      '-c',
      'echo "$NONCE $(hostname) $$"; echo bad >&2; exit 7',
    ]);
    expect(said).toMatchObject({ code: 7, err: 'bad\n' });
    expect(said.out).toMatch(new RegExp(`^n1 ${name} [0-9]+\n$`));
    const pin = ['sh', '-c', 'cat /run/secrets/pin; echo " $PIN"'];
    expect((await cli(['exec', name, '-u', '0', '--', ...pin])).out).toBe('pin-4711 pin-4711\n');
    expect(await cli(['cp', '-', `${name}:/etc/greeting`], 'hello')).toMatchObject({ code: 0 });
    expect(await cli(['exec', name, '--', 'cat', '/etc/greeting'])).toMatchObject({ code: 0, out: 'hello' });
    expect(await cli(['cp', `${name}:/etc/greeting`, '-'])).toMatchObject({ code: 0, out: 'hello' });
    expect(await cli(['exec', name, '--', 'cat', '/proc/1/cmdline'])).toMatchObject({
      code: 0,
      out: '/bin/sh\0/bin/demo\0',
    });
    expect(await cli(['stop', name])).toMatchObject({ code: 0 });
    await berth.state(name, 'stopped');
    const { status } = await berth.get(name);
    expect(status.lastExit).toMatchObject({ reason: 'stopped', code: 0 });
    // Its disk is as it was left, on either.
    expect(await cli(['start', name])).toMatchObject({ code: 0 });
    await printed(name, /boots=2/);
    expect(await cli(['delete', name])).toMatchObject({ code: 0 });
  },
  240_000,
);

it('reach each other by name over IPv6 at once, whichever they are', async () => {
  const made = await cli(['network', 'create', 'six', '--ipv6', 'auto']);
  expect(made.out).toMatch(/^six: 10\.[0-9.]+\/24, fd62:6572:7468:[0-9a-f:]*\/64\n$/);
  const names = ['container', 'microvm'].map((isolation) => `six-${isolation}`);
  for (const name of names) {
    const body = parse(bodyOf(name.slice('six-'.length))) as { spec: object };
    const six = { ...body, name, spec: { ...body.spec, nics: [{ network: 'six' }] } };
    expect(await cli(['create', '-f', '-'], stringify(six))).toMatchObject({ code: 0 });
  }
  const [one, two] = await Promise.all(names.map((name) => berth.state(name, 'running')));
  const addresses = [one!, two!].map((of) => of.status.nics[0]?.ipv6 ?? 'none');
  expect(addresses.map((a) => a.replace(/.*::/, ''))).toEqual(['2', '3']);
  const ask = (name: string, ...command: string[]) => cli(['exec', name, '-u', '0', '--', ...command]);
  for (const [i, name] of names.entries()) {
    const other = 1 - i;
    const there = addresses[other]!;
    // Its C library finds no names by itself where it is alone: static.
    await expect
      .poll(async () => (await ask(name, 'nslookup', '-type=aaaa', names[other]!)).out, slowly)
      .toContain(there);
    // Its ping knows no IPv6 without NET_RAW.
    const get = `printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 20 ${there} 8080`;
    const answer = async (): Promise<string> => {
      const { out, err } = await ask(name, 'sh', '-c', get);
      return `${out}${err}`;
    };
    await expect.poll(answer, slowly).toMatch(new RegExp(`200 OK[^]*hostname=${names[other]}`));
    expect((await ask(name, 'ip', '-6', 'route', 'show', 'default')).out).toMatch(
      /default via fd62:\S*::1 dev eth0/,
    );
    expect((await ask(name, 'cat', '/etc/hosts')).out).toContain(`${addresses[i]}\t${name}`);
  }
  expect((await cli(['describe', 'instance', names[0]!])).out).toContain(` and ${addresses[0]} on six`);
  for (const name of names) expect(await cli(['delete', name])).toMatchObject({ code: 0 });
  expect(await cli(['network', 'rm', 'six'])).toMatchObject({ code: 0 });
}, 240_000);
