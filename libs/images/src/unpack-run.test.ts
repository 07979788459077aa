import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, readlinkSync, rmSync, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pack } from 'tar-stream';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { runUnpack, unpackChildEntry } from './unpack-run.js';

let dir: string;
beforeAll(() => (dir = mkdtempSync(join(tmpdir(), 'berth-unpack-'))));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const limits = { tarBytes: 2 ** 20, entries: 100, depth: 8, timeoutMs: 30_000 };

async function tar(): Promise<Buffer> {
  const packer = pack();
  packer.entry({ name: 'a/b/file', uid: 1000, gid: 1001, mode: 0o4755 }, 'content');
  packer.entry({ name: 'root', uid: 0, gid: 0, mode: 0o600 }, 'content');
  packer.entry({ name: 'a/.wh.gone' }, '');
  packer.finalize();
  const parts: Buffer[] = [];
  for await (const part of packer) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

/** The process at the end of the chain that has this text in its command line. */
function childWith(text: string): number | undefined {
  return readdirSync('/proc')
    .filter((name) => /^[0-9]+$/.test(name))
    .map(Number)
    .find((pid) => {
      try {
        const [program = ''] = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
        return program.endsWith('node') && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(text);
      } catch {
        return false; // ended meanwhile
      }
    });
}

it('the process that reads a layer is nobody on this host, locked into the directory, with five capabilities', async () => {
  const [tree, fifo] = [join(dir, 'tree'), join(dir, 'layer')];
  mkdirSync(tree, { mode: 0o755 });
  execFileSync('mkfifo', [fifo]);
  const order = { directory: tree, gzip: false, limits };
  const unpacked = runUnpack(await unpackChildEntry(), fifo, order, false);
  const layer = await open(fifo, 'w');
  const bytes = await tar();
  // It has begun to read, and waits for the rest.
  await layer.write(bytes.subarray(0, 1536));
  const pid = () => childWith(tree);
  const root = () => {
    try {
      return readlinkSync(`/proc/${pid()}/root`);
    } catch {
      return null;
    }
  };
  await expect.poll(root, { timeout: 20_000, interval: 20 }).toBe(tree);
  // Between its change of user and its last act it has none.
  const capable = () => /^CapEff:\s*0*8000001b$/m.test(readFileSync(`/proc/${pid()}/status`, 'utf8'));
  await expect.poll(capable, { timeout: 20_000, interval: 20 }).toBe(true);

  // The first is the one that bears the process's number: where numbers have begun anew, it is not the lowest.
  const first = String(pid());
  const tasks = readdirSync(`/proc/${first}/task`)
    .sort((one, other) => Number(other === first) - Number(one === first))
    .map((task) => readFileSync(`/proc/${first}/task/${task}/status`, 'utf8'));
  const field = (status: string, name: string) => new RegExp(`^${name}:[ \\t]*(.*)$`, 'm').exec(status)?.[1];
  const [main = '', ...others] = tasks;
  expect(others.length).toBeGreaterThan(0);
  for (const task of tasks) {
    const ids = field(task, 'Uid')?.split('\t').map(Number) ?? [];
    expect(ids.every((id) => id >> 16 === 0x0eff && id === ids[0])).toBe(true);
    expect(field(task, 'Gid')).toBe(field(task, 'Uid'));
    expect(field(task, 'Groups')?.trim()).toBe('');
    expect(field(task, 'CapAmb')).toBe('0000000000000000');
    expect(field(task, 'NoNewPrivs')).toBe('1');
  }
  // chown, dac_override, fowner, fsetid, setfcap in the thread that writes files; nothing in any other.
  for (const set of ['CapEff', 'CapPrm']) {
    expect(field(main, set)).toBe('000000008000001b');
    for (const other of others) expect(field(other, set)).toBe('0000000000000000');
  }
  for (const space of ['net', 'pid', 'ipc'])
    expect(readlinkSync(`/proc/${pid()}/ns/${space}`)).not.toBe(readlinkSync(`/proc/self/ns/${space}`));
  const bounds = readFileSync(`/proc/${pid()}/limits`, 'utf8');
  expect(bounds).toMatch(/^Max data size\s+1073741824\s+1073741824/m);
  expect(bounds).toMatch(/^Max cpu time\s+30\s+30/m);
  expect(bounds).toMatch(/^Max file size\s+1048576\s+1048576/m);
  expect(bounds).toMatch(/^Max core file size\s+0\s+0/m);

  await layer.write(bytes.subarray(1536));
  await layer.close();
  await expect(unpacked).resolves.toMatchObject({ ok: true, entries: 5 });
  const owner = (path: string) => {
    const { uid, gid } = statSync(join(tree, path));
    return [uid, gid];
  };
  expect([owner('a'), owner('a/b'), owner('a/b/file'), owner('root')]).toEqual([
    [0, 0],
    [0, 0],
    [1000, 1001],
    [0, 0],
  ]);
  expect(owner('a/gone')).toEqual([0, 0]);
  expect(statSync(join(tree, 'a/b/file')).mode & 0o7777).toBe(0o4755);
});
