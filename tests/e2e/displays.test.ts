import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { RfbViewer } from '@berth/runtime';
import { alike, pictureOf } from '@berth/runtime/conformance';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createWebSocketStream, WebSocket } from 'ws';
import { Berth, until } from './berth.js';
import { samples } from './machine.js';

/* Screens and keyboards the way of a user: a ticket, a WebSocket, the link, and a real machine at its end. */
let berth: Berth;

beforeAll(async () => {
  const images = await samples();
  berth = await Berth.up(1);
  await berth.image('tiny', 'disk', images.disk);
}, 300_000);
afterAll(() => berth?.down(), 120_000);

describe.each(['qemu', 'libvirt'] as const)('the display of a machine under %s', (driver) => {
  const name = `vm-${driver}`;

  async function viewer(): Promise<{ rfb: RfbViewer; socket: WebSocket; closed: Promise<number> }> {
    const { secret } = await berth.ok<{ secret: string }>('POST', `${berth.instances}/${name}/display`, {});
    const socket = new WebSocket(`${berth.base.replace('http', 'ws')}/v1/console?ticket=${secret}`);
    const closed = new Promise<number>((resolve) => socket.once('close', resolve));
    const stream = createWebSocketStream(socket);
    stream.on('error', () => undefined);
    const rfb = await RfbViewer.connect({
      output: stream as AsyncIterable<Buffer>,
      write: (bytes) => stream.write(bytes),
    });
    return { rfb, socket, closed };
  }
  const screenshot = async (): Promise<ReturnType<typeof pictureOf>> => {
    const token = readFileSync(join(berth.root, 'etc/berth/admin-token'), 'utf8').trim();
    const headers = { authorization: `Bearer ${token}` };
    const answer = await fetch(`${berth.base}${berth.instances}/${name}/screenshot`, { headers });
    expect(answer.status).toBe(200);
    return pictureOf(new Uint8Array(await answer.arrayBuffer()));
  };
  const keys = (...presses: string[]): Promise<unknown> =>
    berth.ok('POST', `${berth.instances}/${name}/keys`, { presses: presses.map((p) => p.split('-')) });

  it('shows the screen, takes keys of a viewer and of a request, and heeds ctrl-alt-delete', async () => {
    await berth.create(name, {
      isolation: 'vm',
      image: 'tiny',
      vcpus: 1,
      memoryMiB: 128,
      rootDisk: { sizeMiB: 64 },
      placement: { driver },
    });
    await berth.state(name, 'running');
    await until(`${name} has booted`, 60_000, async () =>
      (await berth.logs(name)).includes('boots=1') ? true : undefined,
    );
    const [one, two] = [await viewer(), await viewer()];
    await until('all see the same', 60_000, async () => {
      const shot = await screenshot();
      const seen = [await one.rfb.picture(), await two.rfb.picture()];
      return seen.every((picture) => alike(picture, shot)) && shot.rgb.some((s) => s > 100)
        ? true
        : undefined;
    });
    // Its shell on the screen writes to the serial line what was typed.
    const typed = async (text: string, type: () => Promise<unknown>): Promise<void> => {
      await type();
      await until(`${text} was typed`, 60_000, async () =>
        (await berth.logs(name)).includes(text) ? true : undefined,
      );
    };
    // Keysyms of X11.
    const [ENTER, SHIFT] = [0xff0d, 0xffe1];
    await typed('by viewer', async () => {
      // As a person would: a keyboard forgets what it cannot hold.
      for (const key of 'echo by viewer >/dev/ttyS0') {
        await one.rfb.press(...(/[>S]/.test(key) ? [SHIFT] : []), key.charCodeAt(0));
        await one.rfb.picture();
      }
      await one.rfb.press(ENTER);
    });
    const words = [...'echo by request '].map((key) => (key === ' ' ? 'spc' : key));
    const device = [...'/dev/tty', 'shift-s', '0'].map((key) => (key === '/' ? 'slash' : key));
    await typed('by request', () => keys(...words, 'shift-dot', ...device, 'ret'));
    two.socket.close();
    const { width, height } = await one.rfb.picture();
    // Its driver has the tablet, so that a viewer's pointer is where the viewer's is, and not somewhere beside it.
    await typed('pointer waits', () => keys(...'pointer', 'spc', 'shift-dot', ...device, 'ret'));
    await one.rfb.point(Math.round(width / 4), Math.round(height / 2));
    const moved = await until(
      'the pointer moved',
      60_000,
      async () => /pointer at (\d+) (\d+)/.exec(await berth.logs(name)) ?? undefined,
    );
    for (const [i, share] of [0.25, 0.5].entries())
      expect(Math.abs(Number(moved[i + 1]) / 0x7fff - share)).toBeLessThan(0.01);
    await keys('ctrl-alt-delete');
    expect(await one.closed).toBe(1000);
    await berth.state(name, 'stopped');
    await berth.delete(name);
  }, 240_000);
});
