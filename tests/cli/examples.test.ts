import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { ImageContent } from '@berth/model';
import { format } from 'prettier';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { everyCommand, programMake } from '../../apps/cli/src/main.js';
import { digestOf, ociTar, tarOf } from '../../libs/images/src/archive-fixture.js';
import { diskContent, digest, ociContent } from '../http/api.js';
import { FakeRegistry, imageParts } from '../images/fake-registry.js';
import { CliLab } from './lab.js';

const program = programMake({});
const commands = [program, ...everyCommand(program)].filter((c) => !c.name().startsWith('__'));

/** The words that lead to a command, without `berth`. */
function pathOf(command: (typeof commands)[number]): string {
  const { parent } = command;
  return parent === null ? '' : [pathOf(parent), command.name()].join(' ').trim();
}

/** What `--help` shows, read from its text as people see it. */
function helpOf(command: (typeof commands)[number]): string {
  let text = '';
  command.configureOutput({ writeOut: (part) => (text += part) });
  command.outputHelp();
  return text;
}
const visible = commands.filter((c) => c.name() !== 'demo');
const shown = visible.map((command) => ({
  path: pathOf(command),
  examples: (/\nExamples:\n((?: {2}.*\n?)+)/.exec(helpOf(command))?.[1] ?? '')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== ''),
}));
const examples = shown.flatMap(({ examples: lines }) => lines);

/** What must be so before a command of this verb is any use. */
const wanted: Readonly<Record<string, 'running' | 'paused' | 'stopped'>> = {
  resume: 'paused',
  start: 'stopped',
  revert: 'stopped',
  network: 'stopped',
};

let lab: CliLab;
let operation = '';
let imageUrl = '';
let source: Server;
let registry: FakeRegistry;
/** A registry that takes what is pushed. */
let sink: Server;
let sinkDomain = '';
beforeAll(async () => {
  lab = await CliLab.start();
  const { store, projects, host } = lab.api;
  await lab.api.cpuModelsSet({ tcg: ['max', 'Nehalem'], kvm: [] });
  await lab.api
    .call('patch', `/v1/hosts/${host.name}`)
    .send({ labels: { rack: 'b2' } })
    .expect(200);
  for (const [i, name] of ['busybox', 'unused'].entries())
    await store.imageInsert(
      { actor: 'system:test', traceId: '0'.repeat(32) },
      {
        projectId: projects.alpha,
        name,
        content: ociContent(900 + 10 * i),
      },
    );
  await store.imageInsert(
    { actor: 'system:test', traceId: '0'.repeat(32) },
    { projectId: projects.alpha, name: 'debian-13', content: diskContent },
  );
  const medium = digest(950);
  const drivers: ImageContent = {
    ...{ kind: 'iso', digest: medium, sizeBytes: 2048, bootable: false },
    blobs: [{ digest: medium, sizeBytes: 2048 }],
  };
  for (const name of ['drivers', 'installer'])
    await store.imageInsert(
      { actor: 'system:test', traceId: '0'.repeat(32) },
      { projectId: projects.alpha, name, content: drivers },
    );
  const layer = await tarOf([{ name: 'bin/demo', content: 'x' }]);
  await writeFile(join(lab.dir, 'busybox.oci.tar'), await ociTar({ layer, diffId: digestOf(layer) }));
  await store.projectUpdate({ actor: 'system:test', traceId: '0'.repeat(32) }, 'alpha', {
    imageSources: { privateAddresses: true },
  });
  source = createServer((_, response) => void response.end(Buffer.alloc(1024 * 1024, 3))).listen(
    0,
    '127.0.0.1',
  );
  await once(source, 'listening');
  imageUrl = `http://127.0.0.1:${(source.address() as AddressInfo).port}/disk.raw`;
  registry = await FakeRegistry.start('shop/web');
  registry.image('1.4', imageParts([layer]));
  sink = createServer((request, response) => {
    const status = { HEAD: 404, POST: 202, PATCH: 202, PUT: 201 }[request.method ?? ''] ?? 405;
    request.resume().on('end', () => void response.writeHead(status, { location: request.url ?? '' }).end());
  }).listen(0, '127.0.0.1');
  await once(sink, 'listening');
  sinkDomain = `127.0.0.1:${(sink.address() as AddressInfo).port}`;
  await writeFile(join(lab.dir, 'token'), 's3cret\n');
  await writeFile(join(lab.dir, 'banner'), 'welcome\n');
  await writeFile(join(lab.dir, 'netinst.iso'), isoFile());
  await lab.run('qemu-img create -q -f qcow2 disk.qcow2 8M');
  await lab.api.displaysGive();
  await lab.api.facetsAdd('cdroms');
  for (const name of ['web', 'db', 'old', 'old1', 'old2', 'hung']) {
    const one = { isolation: 'vm', image: 'disk', vcpus: 1, memoryMiB: 64, rootDisk: { sizeMiB: 64 } };
    const more = { displays: 2, cdroms: [{}, {}], placement: { driver: 'qemu' } };
    const spec = name === 'db' ? { ...one, ...more } : one;
    const { body } = await lab.api
      .call('post', '/v1/projects/alpha/instances?wait=10')
      .send({ name, spec })
      .expect(202);
    expect(body.instance.status.state).toBe('running');
    operation = body.operation.id;
  }
  const agent = { isolation: 'vm', image: 'disk', memoryMiB: 64, userData: '#sim:agent' };
  await lab.api
    .call('post', '/v1/projects/alpha/instances?wait=10')
    .send({ name: 'debian', spec: agent })
    .expect(202);
  for (const name of ['data', 'shared', 'scratch'])
    await lab.api.call('post', '/v1/projects/alpha/volumes').send({ name, sizeMiB: 16 }).expect(201);
  await lab.api.call('post', '/v1/projects/alpha/volumes').send({ name: 'records', sizeMiB: 16 }).expect(201);
  await lab.api
    .call('post', '/v1/projects/alpha/volumes')
    .send({ name: 'pictures', sizeMiB: 16, format: 'ext4' })
    .expect(201);
  const books = { isolation: 'vm', image: 'disk', memoryMiB: 64, volumes: [{ name: 'records' }] };
  const machines = '/v1/projects/alpha/instances';
  await lab.api.call('post', `${machines}?wait=10`).send({ name: 'books', spec: books }).expect(202);
  const taken = await lab.api
    .call('post', `${machines}/books/snapshots?wait=10`)
    .send({ name: 'before-upgrade' })
    .expect(202);
  expect(taken.body.operation.state).toBe('succeeded');
  await lab.api.call('put', '/v1/projects/alpha/securityGroups/old').send({ rules: [] }).expect(200);
  await lab.api.call('put', '/v1/projects/alpha/secrets/old-password').send({ value: 'x' }).expect(200);
  const rootDisk = { sizeMiB: 16 };
  await lab.api
    .call('post', '/v1/projects/alpha/images?name=shop-base&kind=oci')
    .set('content-type', 'application/octet-stream')
    .send(await readFile(join(lab.dir, 'busybox.oci.tar')))
    .expect(201);
  await lab.api
    .call('post', '/v1/projects/alpha/images/shop-base/actions/tag')
    .send({ name: 'shop-next' })
    .expect(201);
  for (const [name, image] of [
    ['cache', 'busybox'],
    ['shop', 'shop-base'],
    ['worker', 'busybox'],
  ]) {
    const spec = {
      isolation: 'container',
      image,
      memoryMiB: 64,
      rootDisk,
      process: { stdin: name === 'worker' },
    };
    await lab.api.call('post', '/v1/projects/alpha/instances?wait=10').send({ name, spec }).expect(202);
  }
}, 120_000);
afterAll(async () => {
  for (const server of [source, sink]) {
    server.closeAllConnections();
    server.close();
  }
  await registry.stop();
  await lab.stop();
});

test.each(shown)('berth $path --help shows examples', ({ examples: lines }) => {
  expect(lines.length).toBeGreaterThan(0);
  for (const line of lines) expect(line).toMatch(/\bberth\b/);
});

describe('an example of --help', () => {
  test.each(examples)('%s', async (line) => {
    const [, verb = '', name = ''] = line.split(' ');
    for (const each of line
      .split(' ')
      .slice(2)
      .filter((word) => word === 'web' || word === 'db'))
      await bring(each, wanted[verb] ?? wanted[name] ?? 'running');
    const terminal = line.includes('--vnc') ? null : /^berth (console|exec -it) /.exec(line);
    const running =
      terminal === null
        ? lab.begin(line, 'bash', {
            OPERATION: operation,
            IMAGE_URL: imageUrl,
            REGISTRY: registry.domain,
            REGISTRY_TO: sinkDomain,
          })
        : lab.beginInTerminal(line);
    if (terminal !== null) {
      const [prompt, last] = terminal[1] === 'console' ? ['login: ', '\u001d'] : ['$ ', 'exit 0\r'];
      await expect.poll(() => running.out, { timeout: 15_000 }).toContain(prompt);
      running.type(last);
      expect(await running.ended).toMatchObject({ code: 0 });
      return;
    }
    if (line.includes('--vnc')) {
      await expect.poll(() => running.err, { timeout: 15_000 }).toContain('vncviewer');
      running.interrupt();
      expect(await running.ended).toMatchObject({
        code: 130,
        out: expect.stringMatching(/^127\.0\.0\.1:\d+\n$/),
      });
      return;
    }
    const goesOn = / (-f|--follow|--watch)( |$)/.test(line) || /\bberth stats (?!.*--once)/.test(line);
    if (goesOn && !/berth (create|update) /.test(line)) {
      await expect.poll(() => running.out, { timeout: 15_000 }).not.toBe('');
      running.interrupt();
      expect(await running.ended).toMatchObject({ code: 130, err: '' });
      return;
    }
    if (line.startsWith('berth attach ')) {
      await expect.poll(() => running.out, { timeout: 15_000 }).toContain('begun');
      running.interrupt();
    }
    const { code, out, err } = await running.ended;
    expect({ name, code, err }).toMatchObject({ code: 0 });
    expect(out !== '' || / > |^source /.test(line) || /\bberth (screenshot|send-keys|cp) /.test(line)).toBe(
      true,
    );
  });
});

/** The descriptors of a UDF volume without files. */
function isoFile(): Buffer {
  const kib = 1024;
  const medium = Buffer.alloc(40 * kib);
  medium.write('\0BEA01', 32 * kib, 'latin1');
  medium.write('\0NSR02', 34 * kib, 'latin1');
  return medium;
}

/** Has an instance in a state, whatever the example before it did. */
async function bring(name: string, state: 'running' | 'paused' | 'stopped'): Promise<void> {
  const path = `/v1/projects/alpha/instances/${name}`;
  const act = (verb: string) => lab.api.call('post', `${path}/actions/${verb}?wait=10`);
  const now = async (): Promise<string> => {
    let seen = 'starting';
    await expect
      .poll(async () => (seen = (await lab.api.call('get', path).expect(200)).body.status.state), {
        timeout: 10_000,
      })
      .toMatch(/^(running|paused|suspended|stopped)$/);
    return seen;
  };
  const before = await now();
  if (before === state) return;
  if (before === 'paused' || before === 'suspended') await act('resume').expect(202);
  if (before === 'stopped') await act('start').expect(202);
  if (state === 'paused') await act('pause').expect(202);
  if (state === 'stopped') await act('stop').expect(202);
  expect(await now()).toBe(state);
}

test('docs/cli.md is what the commands say of themselves', async () => {
  const { out } = await lab.run('env -u BERTH_PROJECT berth __docs');
  const documented = await readFile(new URL('../../docs/cli.md', import.meta.url), 'utf8');
  expect(documented).toBe(await format(out, { parser: 'markdown', singleQuote: true, printWidth: 110 }));
});
