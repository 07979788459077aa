import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { tarEntries } from '@berth/images';
import { mount, mounts, MS, processIdentity, signalProcess, umount } from '@berth/linux';
import { readOnlyReason, storageErrorType } from '@berth/model';
import type { LayerFacet, WorkloadSpec } from '@berth/runtime';
import { VolumePool } from '@berth/storage';
import { ContainerLab, context } from './testing/container-lab.js';
import { find, logUntil, untilEnded, up } from './testing/workload-steps.js';

const lab = new ContainerLab();
const runtime = lab.runtime();
beforeAll(() => lab.open());
afterAll(() => lab.close());
const facet = runtime.layers as LayerFacet;
const pack = (...args: Parameters<LayerFacet['pack']>) => facet.pack(...args) as AsyncGenerator<Uint8Array>;
const never = new AbortController().signal;
const most = 2 ** 30;

/** Writes two files by turns as long as it runs, so that what is torn is seen. */
const BUSY = `trap 'exit 0' TERM; mkdir /data; echo mine >/etc/motd; rm /bin/ip; chown 5:6 /data; ln -s /etc/shadow /data/link
  i=0; while :; do i=$((i+1)); echo $i >/data/a; echo $i >/data/b; [ $i = 5 ] && echo ready; done`;
const content = async (source: AsyncIterable<Uint8Array>) => {
  const found = new Map<string, string>();
  const owners: Record<string, string> = {};
  for await (const { header, content } of tarEntries(Readable.from(source, { objectMode: false }), most)) {
    const parts: Buffer[] = [];
    for await (const part of content) parts.push(part);
    found.set(header.name, header.type === 'symlink' ? header.linkname : Buffer.concat(parts).toString());
    owners[header.name] = `${header.uid}:${header.gid}`;
  }
  return { found, owners };
};
const changes = async (spec: WorkloadSpec, limit = 1000) => {
  const all: string[] = [];
  let after: string | null = null;
  do {
    const page = await facet.changes(
      spec,
      spec.image,
      { limit, ...(after === null ? {} : { after }) },
      new AbortController().signal,
    );
    expect(page.items.length).toBeLessThanOrEqual(limit);
    all.push(...page.items.map((one) => `${one.change} ${one.type} ${one.path}`));
    after = page.next;
  } while (after !== null);
  return all;
};
const power = async (spec: WorkloadSpec) => (await find(runtime, spec))?.power;

it('what a running container changed is told page by page, and nothing of it stays mounted', async () => {
  const spec = lab.spec(BUSY);
  await expect(facet.changes(spec, spec.image, { limit: 5 }, never)).rejects.toMatchObject({
    code: 'notPrepared',
  });
  await up(runtime, spec);
  await logUntil(runtime, spec, 'ready');
  const all = await changes(spec);
  expect(all).toEqual([
    'deleted symlink /bin/ip',
    'added directory /data',
    'added file /data/a',
    'added file /data/b',
    'added symlink /data/link',
    ...all.slice(5),
  ]);
  expect(all.slice(5)).toEqual(['added file /etc/motd'].filter((one) => all.includes(one)));
  for (const limit of [1, 2, 4]) expect(await changes(spec, limit)).toEqual(all);
  expect(mounts().filter(({ target }) => target.includes('/views/'))).toEqual([]);

  // Packed while it stands still: both files are of one turn, give or take the write that was between them.
  const source = pack(spec, most, never);
  const first = await source.next();
  expect(await power(spec), 'whoever packs is no one who pauses').toBe('running');
  await expect(pack(spec, most, never).next()).rejects.toMatchObject({
    code: 'notPrepared',
    message: expect.stringContaining('committed already') as string,
  });
  const rest = async function* (): AsyncGenerator<Uint8Array> {
    yield first.value as Uint8Array;
    yield* source;
  };
  const { found, owners } = await content(rest());
  const [a, b] = [Number(found.get('data/a')), Number(found.get('data/b'))];
  expect(a - b === 0 || a - b === 1 || found.get('data/a') === '' || found.get('data/b') === '').toBe(true);
  expect(found.get('bin/.wh.ip')).toBe('');
  expect(found.get('etc/motd')).toBe('mine\n');
  expect(found.get('data/link')).toBe('/etc/shadow');
  expect([owners['data/'], owners['data/a']]).toEqual(['5:6', '0:0']);
  // Where things are mounted is nothing that it changed.
  expect(
    [...found.keys()].filter((name) => /^(dev|proc|sys|etc\/(hosts|hostname|resolv\.conf))/.test(name)),
  ).toEqual([]);

  // It goes on, also when whoever reads goes away.
  const goesOn = async (): Promise<void> => {
    const turn = async () => (await content(pack(spec, most, never))).found.get('data/a');
    const before = await turn();
    await expect.poll(turn, { timeout: 20_000 }).not.toBe(before);
  };
  await goesOn();
  const left = pack(spec, most, never);
  await left.next();
  await left.return(undefined);
  await goesOn();

  // Of one that was stopped the same can be had; and a stop waits for no reader.
  const torn = pack(spec, most, never);
  await torn.next();
  await runtime.stop(spec, 5, context());
  await untilEnded(runtime, spec);
  await expect(
    (async () => {
      while ((await torn.next()).done !== true);
    })(),
  ).rejects.toMatchObject({
    code: 'notPrepared',
    message: expect.stringContaining('while it was committed') as string,
  });
  const again = await content(pack(spec, most, never));
  expect(again.found.get('etc/motd')).toBe('mine\n');
  expect(await changes(spec)).toEqual(all);
  const small = async (): Promise<void> => {
    for await (const part of pack(spec, 2048, never)) expect(part.length).toBeLessThanOrEqual(2048);
  };
  await expect(small()).rejects.toMatchObject({
    code: 'badImage',
    message: expect.stringContaining('more than 2048 bytes') as string,
  });
  await runtime.remove(spec, context());
  expect(lab.leftovers(spec)).toEqual([]);
});

it('one that its user paused stays paused; one that is paused meanwhile does too', async () => {
  const spec = lab.spec(BUSY);
  await up(runtime, spec);
  await logUntil(runtime, spec, 'ready');
  await runtime.pause?.(spec, context());
  expect((await content(pack(spec, most, never))).found.get('etc/motd')).toBe('mine\n');
  expect(await power(spec)).toBe('paused');
  await runtime.resume?.(spec, context());
  const source = pack(spec, most, never);
  const first = await source.next();
  await runtime.pause?.(spec, context());
  const rest = async function* (): AsyncGenerator<Uint8Array> {
    yield first.value as Uint8Array;
    yield* source;
  };
  expect((await content(rest())).found.get('etc/motd')).toBe('mine\n');
  expect(await power(spec)).toBe('paused');
});

it('attributes of an image’s files are those of the container’s, also once it has changed them, and of what is committed', async () => {
  const capability = '\x01\0\0\x02\0\x20'.padEnd(20, '\0');
  const pax = { 'SCHILY.xattr.security.capability': capability, 'SCHILY.xattr.user.note': 'mine' };
  const image = await lab.imageMake({
    layer: [{ name: 'srv/tool', mode: 0o755, content: 'x', pax }],
  });
  const script = 'chmod 711 /srv/tool; echo ready; exec sleep 100000';
  const spec = { ...lab.spec(''), image: { ...image, process: { ...image.process, cmd: [script] } } };
  await up(runtime, spec);
  await logUntil(runtime, spec, 'ready');
  const source = Readable.from(pack(spec, most, never), { objectMode: false });
  let found: ReadonlyMap<string, Buffer> | null = null;
  for await (const { header } of tarEntries(source, most))
    if (header.name === 'srv/tool') found = header.attributes;
  expect(
    Object.fromEntries([...(found ?? [])].map(([name, value]) => [name, value.toString('latin1')])),
  ).toEqual({
    'security.capability': capability,
    'user.note': 'mine',
  });
});

it('one whose pool is full is told, and takes writes again in the run that follows once there is room', async () => {
  const dir = join(lab.root, 'small');
  mkdirSync(dir);
  mount('tmpfs', dir, 'tmpfs', 0, 'size=24m,mode=0711');
  const small = lab.runtime({ volumes: new VolumePool({ dir, reserveMiB: 0 }) });
  const listening = new AbortController();
  const said: string[] = [];
  const heard = (async () => {
    for await (const o of small.observe(listening.signal))
      said.push(...(o.conditions ?? []).map((c) => `${c.type} ${c.reason}`));
  })();
  const fill = 'dd if=/dev/zero of=/fill.$i bs=1M count=4 2>/dev/null; sync; echo $i >/turn';
  const spec = lab.spec(
    `if [ -e /turn ]; then echo again >/again && echo wrote again; exec sleep 1000; fi
     i=0; while ${fill}; do i=$((i+1)); done 2>/dev/null; echo cannot write; exec sleep 1000`,
    { memoryMiB: 128 },
  );
  await up(small, spec);
  await logUntil(small, spec, 'cannot write');
  const told = {
    ...{ type: storageErrorType, reason: readOnlyReason },
    message: expect.stringContaining('its writable layer') as string,
    remedy: expect.stringContaining('make space') as string,
  };
  const seen = await find(small, spec);
  expect(seen).toMatchObject({ phase: 'running', power: 'running', conditions: [told] });
  // Whoever only listens hears of it too, and it runs on.
  await expect.poll(() => said, { timeout: 15_000 }).toContain(`${storageErrorType} ${readOnlyReason}`);

  mount('none', dir, null, MS.REMOUNT, 'size=100m');
  expect((await find(small, spec))?.conditions, 'room alone does not mend it').toMatchObject([told]);
  const identity = processIdentity(seen?.pid ?? 0);
  if (identity !== null) signalProcess(identity, 'SIGKILL');
  await untilEnded(small, spec);
  await small.start(spec, context());
  await logUntil(small, spec, 'wrote again');
  expect((await find(small, spec))?.conditions).toBeUndefined();
  listening.abort();
  await heard;
  await small.remove(spec, context());
  await small.removeVolume(spec.rootVolume.id, context());
  expect(lab.leftovers(spec)).toEqual([]);
  umount(dir);
});
