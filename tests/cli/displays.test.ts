import { lstat, readFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { BerthError } from '@berth/model';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { EchoTerminal } from '../http/echo-terminals.js';
import { CliLab, type Running } from './lab.js';

const instances = '/v1/projects/alpha/instances';
const container = { isolation: 'container', image: 'oci', memoryMiB: 64 };
const machine = { isolation: 'vm', image: 'disk', vcpus: 1, memoryMiB: 64, rootDisk: { sizeMiB: 64 } };

let lab: CliLab;
beforeAll(async () => {
  lab = await CliLab.start();
  for (const [name, spec] of Object.entries({ box: container, vm: machine }))
    await lab.api.call('post', `${instances}?wait=10`).send({ name, spec }).expect(202);
}, 120_000);
afterAll(() => lab.stop());
const viewers: Socket[] = [];
afterEach(() => {
  lab.guests.refusal = null;
  for (const viewer of viewers.splice(0)) viewer.destroy();
});

const guest = (): EchoTerminal => lab.guests.opened.at(-1) as EchoTerminal;

/** A VNC viewer, as far as bytes go. */
class Viewer {
  heard = Buffer.alloc(0);
  readonly closed: Promise<true>;
  private constructor(readonly socket: Socket) {
    viewers.push(socket);
    socket.on('error', () => undefined);
    socket.on('data', (bytes: Buffer) => (this.heard = Buffer.concat([this.heard, bytes])));
    this.closed = new Promise((resolve) => socket.once('close', () => resolve(true)));
  }
  static async connect(to: { port: number } | { path: string }): Promise<Viewer> {
    const viewer = new Viewer(connect(to as { port: number }));
    await new Promise((resolve) => viewer.socket.once('connect', resolve));
    return viewer;
  }
  async saidBack(bytes: Buffer): Promise<void> {
    this.socket.write(bytes);
    await expect.poll(() => this.heard.equals(bytes), { timeout: 15_000 }).toBe(true);
  }
}

async function served(line: string): Promise<[Running, { port: number } | { path: string }]> {
  const running = lab.begin(line);
  await expect.poll(() => running.out, { timeout: 15_000 }).toContain('\n');
  const address = running.out.trim();
  const port = /^127\.0\.0\.1:(\d+)$/.exec(address)?.[1];
  return [running, port === undefined ? { path: address } : { port: Number(port) }];
}

describe('berth console --vnc', () => {
  test('serves one viewer at a time on loopback, each with a ticket of its own, until Ctrl-C', async () => {
    const [running, at] = await served('berth console vm --vnc');
    expect(running.err).toContain(`vncviewer 127.0.0.1::${(at as { port: number }).port}`);
    const before = lab.guests.opened.length;
    const first = await Viewer.connect(at);
    const bytes = Buffer.from(Uint8Array.from({ length: 200_000 }, (_, i) => i % 251));
    await first.saidBack(bytes);
    expect(guest().open).toEqual({ kind: 'display' });
    const second = await Viewer.connect(at);
    expect(await second.closed).toBe(true);
    await expect.poll(() => running.err, { timeout: 15_000 }).toContain('a second viewer was turned away');
    first.socket.destroy();
    await expect.poll(() => guest().closed, { timeout: 15_000 }).toBe(true);
    await expect
      .poll(
        async () => {
          const third = await Viewer.connect(at);
          third.socket.write('x');
          return Promise.race([
            third.closed.then(() => ''),
            expect
              .poll(() => third.heard.toString(), { timeout: 5_000 })
              .toBe('x')
              .then(() => 'x'),
          ]);
        },
        { timeout: 15_000 },
      )
      .toBe('x');
    expect(lab.guests.opened.length).toBeGreaterThanOrEqual(before + 2);
    running.interrupt();
    expect((await running.ended).code).toBe(130);
    await expect.poll(() => guest().closed, { timeout: 15_000 }).toBe(true);
  });

  test('serves on a unix socket that nobody else may open, and takes it away', async () => {
    const [running, at] = await served('berth console vm --vnc --listen ./vm.sock');
    const path = join(lab.dir, 'vm.sock');
    expect(at).toEqual({ path });
    expect((await lstat(path)).mode & 0o777).toBe(0o600);
    await (await Viewer.connect(at)).saidBack(Buffer.from('hello'));
    running.interrupt();
    expect((await running.ended).code).toBe(130);
    await expect(lstat(path)).rejects.toThrow('ENOENT');
  });

  test('says why a viewer was turned away, and when the machine ended', async () => {
    const [running, at] = await served('berth console vm --vnc');
    lab.guests.refusal = new BerthError('unsupported', 'the machine was started without a display');
    expect(await (await Viewer.connect(at)).closed).toBe(true);
    await expect.poll(() => running.err, { timeout: 15_000 }).toContain('started without a display');
    lab.guests.refusal = null;
    const viewer = await Viewer.connect(at);
    await viewer.saidBack(Buffer.from('x'));
    guest().say({ end: { reason: 'workloadEnded', exit: null } });
    expect(await viewer.closed).toBe(true);
    await expect.poll(() => running.err, { timeout: 15_000 }).toContain('does not run any more');
    running.interrupt();
    await running.ended;
  });
});

describe('of several displays', () => {
  test('each is served and saved by its number', async () => {
    await lab.api.displaysGive();
    const spec = { ...machine, displays: 2, placement: { driver: 'qemu' } };
    await lab.api.call('post', `${instances}?wait=10`).send({ name: 'wall', spec }).expect(202);
    const [running, at] = await served('berth console wall --vnc --head 1');
    await (await Viewer.connect(at)).saidBack(Buffer.from('x'));
    expect(guest().open).toEqual({ kind: 'display', head: 1 });
    running.interrupt();
    await running.ended;
    expect((await lab.run('berth screenshot wall second.png --head 1')).code).toBe(0);
    expect((await readFile(join(lab.dir, 'second.png'))).readUInt32BE(16)).toBe(4);
    for (const line of ['berth screenshot wall x.png --head 2', 'berth console wall --vnc --head 2'])
      expect(await lab.run(line)).toMatchObject({ code: 5, err: expect.stringContaining('Ask for 0 to 1') });
  });
});

describe('berth screenshot and send-keys', () => {
  test('save a picture, or hand it on', async () => {
    expect(await lab.run('berth screenshot vm seen.png')).toMatchObject({
      code: 0,
      err: 'seen.png shows vm\n',
    });
    const png = await readFile(join(lab.dir, 'seen.png'));
    expect(png.subarray(1, 4).toString()).toBe('PNG');
    expect((await lab.run('berth screenshot vm - | cmp - seen.png')).code).toBe(0);
  });

  test('press keys in their order', async () => {
    const { code } = await lab.run('berth send-keys vm ctrl-alt-delete h shift-i ret');
    expect(code).toBe(0);
    expect(lab.guests.keys.at(-1)).toEqual({
      presses: [['ctrl', 'alt', 'delete'], ['h'], ['shift', 'i'], ['ret']],
    });
  });
});

test.each([
  ['berth console box --vnc', 5, 'is a container and has no display'],
  ['berth console nobody --vnc', 4, 'nobody'],
  ['berth console vm --listen 5901', 2, 'Add --vnc'],
  ['berth console vm --head 1', 2, 'Add --vnc'],
  ['berth screenshot vm x.png --head one', 2, '--head'],
  ['berth console vm --vnc --listen 0x10', 2, 'neither a port nor a path'],
  ['berth console vm --vnc --listen /no/such/dir/s', 1, 'cannot listen at /no/such/dir/s'],
  ['berth screenshot box x.png', 5, 'is a container and has no display'],
  ['berth screenshot vm /no/such/dir/x.png', 1, 'cannot write'],
  ['berth send-keys box ret', 5, 'is a container and has no display'],
  ['berth send-keys vm ctrl-enter', 2, 'Its name is ret'],
  ['berth send-keys vm A', 2, 'shift and the letter'],
  ['berth send-keys vm', 2, "missing required argument 'keys'"],
])('%s ends with %i', async (line, code, says) => {
  expect(await lab.run(line)).toMatchObject({ code, err: expect.stringContaining(says) });
});
