import { execFile } from 'node:child_process';
import {
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Image, Operation } from '@berth/model';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { FaultBench } from '../../libs/faults/src/testing/fault-bench.js';
import { seen } from '../../libs/images/src/tree-fixture.js';
import { Dockerd } from '../support/docker.js';
import { Registry } from '../support/registry.js';
import { Berth, output, patience, until } from './berth.js';
import { samples } from './machine.js';

/* A container that runs is committed; umoci and skopeo read what became of it, and it runs, here and under Docker. */
const command = fileURLToPath(new URL('../../apps/cli/dist/main.js', import.meta.url));

let berth: Berth;
let env: NodeJS.ProcessEnv;
let bench: FaultBench;
let dir: string;
let cuts = 0;
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'berth-commit-'));
  bench = new FaultBench(join(dir, 'points'));
  berth = await Berth.up(1, { env: () => ({ ...bench.env, BERTH_INSECURE_REGISTRIES: '127.0.0.1' }) });
  await berth.image('busybox', 'oci', (await samples()).container);
  const token = readFileSync(join(berth.root, 'etc/berth/admin-token'), 'utf8').trim();
  env = { ...process.env, BERTH_API: berth.base, BERTH_TOKEN: token, BERTH: command, NODE: process.execPath };
  await create('box', 'busybox', ['sleep', '1000000']);
}, 300_000);
afterAll(async () => {
  await berth?.down();
  rmSync(dir, { recursive: true, force: true });
}, 120_000);

async function create(name: string, image: string, words: string[]): Promise<void> {
  const rootDisk = { sizeMiB: 16 };
  await berth.create(name, {
    isolation: 'container',
    image,
    memoryMiB: 64,
    rootDisk,
    process: { command: words },
  });
  await berth.state(name, 'running');
}

function run(line: string): Promise<{ code: number; out: string; err: string }> {
  return new Promise((resolve) =>
    execFile('bash', ['-c', line], { env, timeout: patience(60_000) }, (error, out, err) =>
      resolve({ code: error === null ? 0 : Number(error.code), out, err }),
    ),
  );
}
const image = (name: string): Promise<Image> => berth.ok('GET', `/v1/projects/default/images/${name}`);
const blobsDir = (): string => join(berth.root, 'var/lib/berth/api/blobs');
const ociOf = ({ content }: Image) => {
  if (content.kind !== 'oci') throw new Error('no OCI image');
  return content;
};

/** An OCI layout of what the API stores. */
function layout(made: Image): string {
  const at = mkdtempSync(join(dir, 'layout-'));
  mkdirSync(join(at, 'blobs/sha256'), { recursive: true });
  for (const { digest } of made.content.blobs)
    linkSync(join(blobsDir(), digest.replace(':', '/')), join(at, 'blobs', digest.replace(':', '/')));
  const manifest = readFileSync(join(at, 'blobs', made.digest.replace(':', '/')));
  const mediaType = 'application/vnd.oci.image.manifest.v1+json';
  const annotations = { 'org.opencontainers.image.ref.name': 'it' };
  const manifests = [{ mediaType, digest: made.digest, size: manifest.length, annotations }];
  writeFileSync(join(at, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  writeFileSync(join(at, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }));
  return at;
}

const script = `
  echo changed >/etc/motd; rm /bin/uptime; mkdir -p /srv/deep; echo one >/srv/deep/file; ln /srv/deep/file /srv/again
  ln -s ../srv/deep /srv/link; mkfifo -m 600 /srv/pipe; chown 33:44 /srv/deep; chmod 2750 /srv/deep; cp /bin/busybox /srv/su
  chmod 4755 /srv/su; touch -d '2001-02-03 04:05:06' /srv/su /srv/deep/file; truncate -s 5000000 /srv/sparse; echo naïve >'/srv/näïve name'
  rm -rf /var; mkdir /var; echo new >/var/new`;

it('becomes an image of the same layers and one more, which others read as it was', async () => {
  expect(await run(`$NODE $BERTH exec box -- sh -c "$(cat <<'END'\n${script}\nEND\n)"`)).toMatchObject({
    code: 0,
  });
  const listed = await run('$NODE $BERTH diff box');
  expect(listed).toMatchObject({ code: 0 });
  for (const line of [
    /deleted .*\/bin\/uptime$/m,
    /added +file +\S+ \S+ +\/srv\/deep\/file$/m,
    /added +fifo .*\/srv\/pipe$/m,
  ])
    expect(listed.out).toMatch(line);
  expect(listed.out).not.toMatch(/ \/(dev|proc|sys|etc\/hosts)\b/);

  const said = await run(
    `$NODE $BERTH commit box tuned --author 'A <a@example.org>' --message 'with a motd'`,
  );
  expect(said).toMatchObject({ code: 0, out: expect.stringMatching(/^tuned: oci, sha256:/) as string });
  // What the host finds on the disk and what the API reads in the layers is the same.
  const changed = async (command: string): Promise<unknown> =>
    JSON.parse((await run(`$NODE $BERTH ${command} -o json`)).out);
  expect(await changed('image diff busybox tuned')).toEqual(await changed('diff box'));
  const [base, made] = [await image('busybox'), await image('tuned')];
  const [before, after] = [ociOf(base), ociOf(made)];
  expect(after.layers.slice(0, -1).map((l) => l.digest)).toEqual(before.layers.map((l) => l.digest));
  expect(after.process).toEqual(before.process);
  expect(made.sizeBytes - base.sizeBytes, 'only the difference is stored').toBeLessThan(2_000_000);
  await berth.state('box', 'running');

  const at = layout(made);
  const config = JSON.parse(await output('skopeo', 'inspect', '--config', `oci:${at}:it`)) as {
    author: string;
    history: { created_by?: string; comment?: string; author?: string }[];
    rootfs: { diff_ids: string[] };
  };
  expect(config.author).toBe('A <a@example.org>');
  expect(config.history.at(-1)).toMatchObject({ comment: 'with a motd', author: 'A <a@example.org>' });
  expect(config.history).toHaveLength(config.rootfs.diff_ids.length);
  await output('umoci', 'unpack', '--image', `${at}:it`, join(dir, 'bundle'));
  const { roots, base: shift } = await rootOf('box');
  const theirs = seen(join(dir, 'bundle/rootfs'), 0);
  const ours = seen(roots, shift);
  // Where the runtime mounts is not the image's; a directory's own time says only when its last entry came.
  const compared = (tree: Record<string, unknown>) =>
    Object.fromEntries(
      Object.entries(tree).filter(
        ([path]) => !/^\/(dev|proc|sys|etc\/(hosts|hostname|resolv\.conf))(\/|$)/.test(path),
      ),
    );
  expect(compared(theirs)).toEqual(compared(ours));

  await create('again', 'tuned', [
    'sh',
    '-c',
    'cat /etc/motd /var/new /srv/again; ls /var /bin/uptime; exec sleep 100000',
  ]);
  await until(
    'it has spoken',
    patience(30_000),
    async () => /No such/.test(await berth.logs('again')) || undefined,
  );
  expect(await berth.logs('again')).toMatch(/^changed\nnew\none\n[\s\S]*new\n/);
  // What is committed of that is a layer upon both.
  expect(await run('$NODE $BERTH commit again twice')).toMatchObject({ code: 0 });
  expect(ociOf(await image('twice')).layers.slice(0, -1)).toEqual(after.layers);
}, 300_000);

it('is loaded and run by Docker, exported or pushed', async () => {
  const store = join(dir, 'docker');
  mkdirSync(store);
  const docker = await Dockerd.start(store, [
    ...['--bridge', 'none', '--iptables=false', '--ip6tables=false', '--ip-forward=false'],
  ]);
  const registry = await Registry.start({ signIn: false });
  try {
    const { configDigest } = ociOf(await image('tuned'));
    expect(await run(`cd ${dir} && $NODE $BERTH image export tuned`)).toMatchObject({ code: 0, err: '' });
    expect(await docker.run('load', '-q', '-i', join(dir, 'tuned.tar'))).toBe('Loaded image: tuned:latest\n');
    const ran = async (name: string): Promise<void> => {
      const alone = ['--rm', '--network', 'none', '--entrypoint', 'cat'];
      const said = await docker.run('run', ...alone, name, '/etc/motd', '/var/new', '/srv/deep/file');
      expect(said).toBe('changed\nnew\none\n');
      expect(await docker.run('image', 'inspect', '-f', '{{.Id}}', name)).toBe(`${configDigest}\n`);
      await docker.run('image', 'rm', name);
    };
    await ran('tuned');

    await berth.ok('PATCH', '/v1/projects/default', { imageSources: { privateAddresses: true } });
    const reference = `${registry.domain}/shop/tuned:1`;
    expect(await run(`$NODE $BERTH image push tuned docker://${reference}`)).toMatchObject({ code: 0 });
    await docker.run('pull', '-q', reference);
    await ran(reference);
  } finally {
    await registry.stop();
    await docker.stop();
  }
}, 120_000);

/** Where the root of a container is mounted on its host, and the first id of its range. */
async function rootOf(name: string): Promise<{ roots: string; base: number }> {
  const mounted = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '');
  const { id } = await berth.get(name);
  const roots =
    mounted.find((target) => target.startsWith(berth.root) && target.includes(`/roots/${id}`)) ?? '';
  return { roots, base: statSync(roots).uid };
}

it.each([
  ['the agent', 'oci.layer.frozen', 'instance'],
  ['the API', 'api.import.downloaded', 'image'],
  ['the API', 'api.import.published', 'image'],
] as const)(
  '%s killed at %s costs a commit no more than time, and nothing is left or stands still',
  async (_, point, of) => {
    const name = `cut-${++cuts}`;
    const { id } = await berth.get('box');
    const key = of === 'instance' ? id : name;
    bench.arm(point, key);
    const { operation } = await berth.ok<{ operation: Operation }>(
      'POST',
      `${berth.instances}/box/actions/commit`,
      { image: name },
    );
    const pid = await until(
      'somebody holds there',
      patience(30_000),
      async () => bench.holder(point, key) ?? undefined,
    );
    process.kill(pid, 'SIGKILL');
    bench.release(point, key);
    const end = await until('the commit is over', patience(90_000), async () => {
      const now = await berth.call<Operation>('GET', `/v1/operations/${operation.id}`).catch(() => null);
      return now !== null && now.status === 200 && now.body.finishedAt !== null ? now.body : undefined;
    });
    expect(end).toMatchObject({ state: 'succeeded', error: null });
    expect(ociOf(await image(name)).layers).toHaveLength(ociOf(await image('busybox')).layers.length + 1);
    for (const place of ['imports', 'staging'])
      await until(
        `${place} is empty`,
        patience(20_000),
        async () => readdirSync(join(blobsDir(), place)).length === 0 || undefined,
      );
    await berth.state('box', 'running');
    expect(await run('$NODE $BERTH exec box -- cat /etc/motd')).toMatchObject({ code: 0, out: 'changed\n' });
  },
  200_000,
);
