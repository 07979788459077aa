import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Berth, patience, until } from './berth.js';
import { samples } from './machine.js';

/* `berth logs -f` while the API that it reads from is killed, and on into the next start: nothing lost, nothing twice. */
const command = fileURLToPath(new URL('../../apps/cli/dist/main.js', import.meta.url));

let berth: Berth;
beforeAll(async () => {
  const images = await samples();
  berth = await Berth.up(1);
  await berth.image('busybox', 'oci', images.container);
}, 300_000);
afterAll(() => berth?.down(), 120_000);

// The benchmarks are plain programs without types.
const { crowd } = (await import('../../bench/crowd.mjs' as string)) as {
  crowd: (berth: { readonly root: string; readonly call: Berth['ok'] }, o: object) => Promise<unknown>;
};

it('runs a score of containers, each of which answers as itself, and keeps nothing of any', async () => {
  const call: Berth['ok'] = (method, path, body) => berth.ok(method, path, body);
  const o = { count: 20, atOnce: 8, network: 'default', patienceMs: patience(60_000) };
  await crowd({ root: berth.root, call }, o);
}, 900_000);

// A pause is a process of its own, so that there is one for several lines.
const counting = {
  isolation: 'container',
  image: 'busybox',
  memoryMiB: 32,
  rootDisk: { sizeMiB: 16 },
  process: {
    command: [
      'sh',
      '-c',
      'i=0; while :; do echo "line $i"; i=$((i+1)); [ $((i % 5)) -ne 0 ] || usleep 25000; done',
    ],
  },
};

/** The API of this Berth; undefined while there is none. */
function apiPid(): number | undefined {
  const of = (pid: string, file: string): string => {
    try {
      return readFileSync(join('/proc', pid, file), 'utf8');
    } catch {
      return '';
    }
  };
  const found = readdirSync('/proc').find(
    (pid) =>
      /^\d+$/.test(pid) &&
      of(pid, 'cmdline').includes('apps/api/dist/main.js') &&
      of(pid, 'environ').split('\0').includes(`BERTH_ROOT=${berth.root}`),
  );
  return found === undefined ? undefined : Number(found);
}

/** Kills the API, and waits until the next one answers. */
async function apiKill(): Promise<void> {
  const before = await until('there is an API', patience(30_000), () => Promise.resolve(apiPid()));
  process.kill(before, 'SIGKILL');
  await until('there is another', patience(60_000), async () => {
    if (apiPid() === before) return undefined;
    return fetch(`${berth.base}/healthz`).then(
      (answer) => (answer.ok ? true : undefined),
      () => undefined,
    );
  });
}

it('follows a container over kills of the API and into its next start', async () => {
  await berth.create('counter', counting);
  await berth.state('counter', 'running');
  const token = readFileSync(join(berth.root, 'etc/berth/admin-token'), 'utf8').trim();
  const env = { ...process.env, BERTH_API: berth.base, BERTH_TOKEN: token };
  const reading = spawn(process.execPath, [command, 'logs', '-f', 'counter'], { env });
  const closed = once(reading, 'close');
  let [out, err] = ['', ''];
  reading.stdout.on('data', (bytes: Buffer) => (out += bytes.toString()));
  reading.stderr.on('data', (bytes: Buffer) => (err += bytes.toString()));
  const count = (): number => out.split('\n').length;
  const more = (than: number) =>
    until(
      `more than ${than} lines come`,
      patience(60_000),
      () => Promise.resolve(count() > than ? true : undefined),
      () => `${out.slice(-200)} ${err}`,
    );

  await more(100);
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [command, '-o', 'json', 'logs', 'counter', '--since', '10m', '--tail', '3'],
    { env },
  );
  const told = stdout.trim().split('\n');
  expect(told).toHaveLength(3);
  for (const line of told)
    expect(JSON.parse(line)).toEqual({
      time: expect.stringMatching(/^20.*Z$/),
      stream: 'stdout',
      text: expect.stringMatching(/^line \d+$/),
    });
  for (let round = 0; round < 2; round++) {
    const before = count();
    await apiKill();
    await more(before + 100);
  }
  await berth.act('counter', 'stop');
  await berth.state('counter', 'stopped');
  await berth.act('counter', 'start');
  await berth.state('counter', 'running');
  await until(
    'the next life is read',
    patience(60_000),
    () => Promise.resolve(out.includes('line 0\n', 10) ? true : undefined),
    () => `${out.slice(-200)} ${err}`,
  );
  await berth.delete('counter');
  expect(await closed).toEqual([0, null]);
  expect(err).toContain('counter was started anew (epoch 2)');
  expect(err).not.toContain('missing');

  // Two lives, each counted from nought without a gap; the last line may be cut where the life was.
  const numbers = out
    .split('\n')
    .slice(0, -1)
    .map((line) => Number(line.split(' ')[1]));
  const second = numbers.indexOf(0, 1);
  expect(second).toBeGreaterThan(300);
  for (const life of [numbers.slice(0, second), numbers.slice(second)])
    expect(life).toEqual(life.map((_, i) => i));
});
