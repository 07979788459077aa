import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { hasCode, mounts } from '@berth/linux';
import { HostSecret } from '@berth/model';
import type { WorkloadSecret, WorkloadSpec } from '@berth/runtime';
import { ContainerLab, context } from '../testing/container-lab.js';
import { logUntil, up } from '../testing/workload-steps.js';

/** Secrets in real containers: where they are, who may read them, and where they are not. */
const lab = new ContainerLab();
let made: WorkloadSpec[] = [];
beforeAll(() => lab.open());
afterEach(async () => {
  for (const spec of made) await lab.runtime().remove(spec, context());
  made = [];
});
afterAll(() => lab.close());

const secret = (use: object, value?: string): WorkloadSecret => ({
  ...HostSecret.parse({ id: randomUUID(), version: 1, name: 'a', ...use }),
  ...(value === undefined ? {} : { value: Buffer.from(value) }),
});

/** What a program in it prints. */
async function says(spec: WorkloadSpec, script: string): Promise<string> {
  const signal = AbortSignal.timeout(20_000);
  const open = { kind: 'exec' as const, command: ['sh', '-c', script], tty: false };
  const terminal = await lab.runtime().exec?.(spec, open as never, signal);
  let out = '';
  for await (const { bytes } of terminal?.output ?? []) out += Buffer.from(bytes).toString('utf8');
  return out;
}

/** Files below the lab that hold a text, but for those in memory. */
function onDisk(text: string): string[] {
  const inMemory = mounts().filter((m) => m.type === 'tmpfs' && m.target.startsWith(lab.root));
  expect(inMemory.length).toBeGreaterThan(0);
  return lab
    .paths()
    .filter((path) => !inMemory.some((m) => path.startsWith(`${m.target}/`)))
    .filter((path) => contentOf(path).includes(text));
}

function contentOf(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch (error) {
    if (hasCode(error, 'EISDIR', 'ENOENT', 'ENXIO', 'EINVAL')) return '';
    throw error;
  }
}

it('are files of their owners and variables, also of what is run beside, and on no disk', async () => {
  const secrets = [
    secret({ name: 'token', uid: 7, gid: 8, mode: '0440' }, 'value-of-token'),
    secret({ name: 'key', path: '/etc/deep/app.key' }, 'value-of-key'),
    secret({ name: 'password', env: 'PASSWORD' }, 'value-of-password'),
  ];
  const look =
    'stat -c "%n %u:%g %a" /run/secrets/* /etc/deep/app.key; cat /run/secrets/token /etc/deep/app.key; echo "[$PASSWORD]"; (echo x > /run/secrets/token) 2>&1; (echo x > /run/secrets/more) 2>&1';
  const spec = lab.spec(`${look}; echo end; sleep 1000`, { secrets });
  made.push(spec);
  await up(lab.runtime(), spec);
  const said = await logUntil(lab.runtime(), spec, 'end\n');
  expect(said).toMatch(/secrets\/token 7:8 440\n/);
  expect(said).toMatch(/app\.key 0:0 400\n/);
  expect(said).toContain('value-of-tokenvalue-of-key[value-of-password]');
  expect(said.match(/Read-only file system/g)).toHaveLength(2);
  // The log is the container's own words: the marker is looked for in all else.
  const aside = (paths: string[]) => paths.filter((path) => !path.startsWith(join(lab.root, 'log')));
  for (const value of ['value-of-token', 'value-of-key', 'value-of-password'])
    expect(aside(onDisk(value)), value).toEqual([]);
  expect(await says(spec, 'echo "$PASSWORD"')).toBe('value-of-password\n');
  await lab.runtime().stop(spec, 0, context());
  expect(lab.leftovers(spec).filter((part) => part.includes('bundles'))).toEqual([]);
});

it('follow a new value while it runs, and an agent that knows none of them starts it again', async () => {
  const token = secret({ name: 'token' }, 'first');
  const password = secret({ name: 'password', env: 'PASSWORD' }, 'first-password');
  const spec = lab.spec(
    'echo "run [$PASSWORD] $(cat /run/secrets/token)"; trap "exit 3" TERM; while :; do sleep 0.1; done',
    { secrets: [token, password] },
  );
  made.push(spec);
  await up(lab.runtime(), spec);
  await logUntil(lab.runtime(), spec, 'run [first-password] first\n');
  const rotated = {
    ...spec,
    secrets: [
      { ...token, version: 2, value: Buffer.from('second') },
      { ...password, version: 2, value: Buffer.from('second-password') },
    ],
  };
  await lab.runtime().update?.(rotated, context());
  expect(await says(spec, 'cat /run/secrets/token; echo " $PASSWORD"; ls -a /run/secrets')).toBe(
    'second first-password\n.\n..\ntoken\n',
  );
  // As after a restart of the agent, with the API away.
  const unknown = { ...rotated, secrets: rotated.secrets.map(({ value: _, ...rest }) => rest) };
  await lab.runtime().update?.(unknown, context());
  await says(spec, 'kill -TERM 1');
  await expect
    .poll(async () => (await lab.runtime().recover()).find((o) => o.instanceId === spec.instanceId)?.exit)
    .toMatchObject({ code: 3 });
  await lab.runtime().start(unknown, context());
  await logUntil(lab.runtime(), spec, 'run [second-password] second\n');
});

it('that are not on the host hold up the start, and say so', async () => {
  const spec = lab.spec('sleep 1000', { secrets: [secret({ name: 'token' })] });
  made.push(spec);
  await expect(up(lab.runtime(), spec)).rejects.toMatchObject({
    code: 'secretMissing',
    message: expect.stringContaining('"token"') as string,
  });
  const { secrets: [token] = [] } = spec;
  const given = { ...spec, secrets: [{ ...(token as WorkloadSecret), value: Buffer.from('here') }] };
  await lab.runtime().start(given, context());
  expect(await says(spec, 'cat /run/secrets/token')).toBe('here');
});
