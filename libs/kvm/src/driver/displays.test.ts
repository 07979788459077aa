import { lstatSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { run } from '@berth/linux';
import type { Picture, Runtime, WorkloadSpec } from '@berth/runtime';
import { alike, pictureOf } from '@berth/runtime/conformance';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { QemuRuntime } from '../qemu/qemu-runtime.js';
import { PAINTED, PAINTED_SIZE } from '../testing/boot-sector.js';
import { eventually, QemuHost, serialText, step, TestHost } from '../testing/host.js';
import type { LibvirtRuntime } from './libvirt-runtime.js';
import { machineShape } from './machine-shape.js';

type Displaying = (QemuRuntime | LibvirtRuntime) & Required<Pick<Runtime, 'logs'>>;

interface Lab {
  readonly host: QemuHost | TestHost;
  readonly stop: () => Promise<void>;
}

const labs: readonly (readonly [string, () => Promise<Lab>])[] = [
  [
    'a QEMU of our own',
    () => {
      const host = new QemuHost();
      return Promise.resolve({ host, stop: () => host.stop() });
    },
  ],
  [
    'libvirt',
    async () => {
      const host = await TestHost.start();
      return { host, stop: () => host.stop() };
    },
  ],
];

/** What plain VNC clients call a port: so many above 5900. */
const DISPLAY = 7;

/** A PPM file (ppm(5)) with eight bits a sample. */
function ppmOf(file: Buffer): Picture {
  const head = /^P6\s(\d+)\s(\d+)\s255\s/.exec(file.subarray(0, 64).toString('latin1'));
  if (head === null) throw new Error('this is no PPM file');
  const [width, height] = [Number(head[1]), Number(head[2])];
  return { width, height, rgb: file.subarray(head[0].length) };
}

/** Mean difference of the samples of two pictures of one size. */
function difference(a: Picture, b: Picture): number {
  expect([a.width, a.height]).toEqual([b.width, b.height]);
  let sum = 0;
  for (let i = 0; i < a.rgb.length; i += 1) sum += Math.abs((a.rgb[i] ?? 0) - (b.rgb[i] ?? 0));
  return sum / a.rgb.length;
}

/** How many TCP sockets listen here. */
const listening = (): number =>
  ['tcp', 'tcp6']
    .flatMap((name) => readFileSync(`/proc/net/${name}`, 'utf8').split('\n'))
    .filter((line) => line.trim().split(/\s+/)[3] === '0A').length;

describe.each(labs)('the display under %s', (_name, make) => {
  let lab: Lab;
  let runtime: Displaying;
  let spec: WorkloadSpec;
  let before = 0;
  beforeAll(async () => {
    lab = await make();
    runtime = lab.host.runtime() as Displaying;
    before = listening();
    spec = lab.host.spec('steady');
    await runtime.prepare(spec, step());
    await runtime.start(spec, step());
    await eventually('the guest runs', async () =>
      (await serialText(runtime, spec)).includes('boots=1') ? true : undefined,
    );
  });
  afterAll(async () => {
    await runtime.stop(spec, 0, step());
    await runtime.remove(spec, step());
    await runtime.removeVolume(spec.rootVolume.id, step());
    await lab.stop();
  });

  const socket = (): string => join(lab.host.dir, 'run', spec.instanceId, '1', 'vnc');
  const screenshot = async (): Promise<Picture> =>
    pictureOf(await runtime.screenshot(spec, AbortSignal.timeout(15_000)));

  it('is a unix socket that only QEMU and root can reach, and no port', async () => {
    const { uid } = lstatSync(await lab.host.volumePath(spec));
    expect(uid).not.toBe(0);
    expect(lstatSync(socket()).isSocket()).toBe(true);
    const dir = lstatSync(join(socket(), '..'));
    expect([dir.uid, dir.mode & 0o777]).toEqual([uid, 0o700]);
    expect(listening()).toBe(before);
    const vnc = await (await runtime.monitor(spec)).execute('query-vnc');
    expect(vnc).toMatchObject({ enabled: true, family: 'unix', service: socket() });
  });

  it('shows what the firmware wrote, to us as to QEMU itself', async () => {
    const path = join(lab.host.dir, 'run', spec.instanceId, '1', 'dump.png');
    await (await runtime.monitor(spec)).execute('screendump', { filename: path, format: 'png' });
    const own = await screenshot();
    expect(own.rgb.some((sample) => sample > 128)).toBe(true);
    expect(alike(pictureOf(readFileSync(path)), own)).toBe(true);
    rmSync(path);
  });

  it('shows the same to a plain VNC client', async () => {
    const bridge = await bridged((signal) => runtime.display(spec, signal));
    const [jpeg, ppm] = ['jpg', 'ppm'].map((ending) => join(lab.host.dir, `plain.${ending}`)) as [
      string,
      string,
    ];
    await run('vncsnapshot', ['-quiet', '-quality', '100', `127.0.0.1:${DISPLAY}`, jpeg]).finally(
      () => new Promise((resolve) => bridge.close(resolve)),
    );
    await run('djpeg', ['-pnm', '-outfile', ppm, jpeg]);
    // JPEG loses a little, and a cursor may have blinked.
    expect(difference(ppmOf(readFileSync(ppm)), await screenshot())).toBeLessThan(2);
  });

  it('takes combinations of keys in their order', async () => {
    await runtime.sendKeys(spec, [['shift', 'o'], ['k'], ['shift', '1']], AbortSignal.timeout(15_000));
    await eventually('the keys are said back', async () =>
      (await serialText(runtime, spec)).endsWith('Ok!') ? true : undefined,
    );
  });

  it('comes back with a machine that was suspended', async () => {
    const before = await screenshot();
    await runtime.suspend(spec, step(60_000));
    await expect(screenshot()).rejects.toMatchObject({ code: 'notPrepared' });
    await runtime.start(spec, step(60_000));
    expect(alike(before, await screenshot())).toBe(true);
    await runtime.sendKeys(spec, [['z']], AbortSignal.timeout(15_000));
    await eventually('its keyboard works', async () =>
      (await serialText(runtime, spec)).endsWith('z') ? true : undefined,
    );
  });

  it('is not looked for behind a link, and not at a socket of somebody else', async () => {
    const kept = `${socket()}.kept`;
    renameSync(socket(), kept);
    const foreign = createServer((met) => met.destroy()).listen(`${socket()}.foreign`);
    await new Promise((resolve) => foreign.once('listening', resolve));
    for (const [target, words] of [
      [kept, 'no socket of the machine'],
      [`${socket()}.foreign`, 'no socket of the machine'],
    ] as const) {
      symlinkSync(target, socket());
      await expect(screenshot()).rejects.toMatchObject({
        code: 'hostFault',
        message: expect.stringContaining(words) as string,
      });
      rmSync(socket());
    }
    renameSync(`${socket()}.foreign`, socket());
    await expect(screenshot()).rejects.toMatchObject({ code: 'hostFault' });
    rmSync(socket());
    await expect(runtime.display(spec, AbortSignal.timeout(15_000))).rejects.toMatchObject({
      code: 'unsupported',
      remedy: expect.stringContaining('Restart the instance') as string,
    });
    await new Promise((resolve) => foreign.close(resolve));
    renameSync(kept, socket());
    expect((await screenshot()).width).toBeGreaterThan(0);
  });
});

describe('several displays', () => {
  let host: TestHost;
  let drivers: ReturnType<TestHost['drivers']>;
  beforeAll(async () => {
    host = await TestHost.start();
    drivers = host.drivers();
  });
  afterAll(async () => {
    await drivers.qemu.close();
    await host.stop();
  });

  it('show each what its card shows, take their own pointer, and come back with a machine that was suspended', async () => {
    const { qemu } = drivers;
    const spec = host.spec('painter', { displays: 3, usbTablet: undefined });
    const screen = async (head: number): Promise<Picture> =>
      pictureOf(await qemu.screenshot(spec, AbortSignal.timeout(15_000), head));
    const painted = async (): Promise<void> => {
      for (const { head, colour } of PAINTED) {
        const { rgb, ...size } = await screen(head);
        expect([head, size]).toEqual([head, PAINTED_SIZE]);
        const [red, green, blue] = [colour >> 16, (colour >> 8) & 0xff, colour & 0xff];
        const other = rgb.findIndex((sample, i) => sample !== [red, green, blue][i % 3]);
        expect([head, other]).toEqual([head, -1]);
      }
      const first = await screen(0);
      expect([first.width, first.height]).toEqual([720, 400]);
    };
    await qemu.prepare(spec, step(60_000));
    await qemu.start(spec, step(60_000));
    await eventually('it has painted', async () =>
      (await serialText(qemu, spec)).split('boots=1').length === 3 ? true : undefined,
    );
    await painted();
    const own = join(host.dir, 'qemu', 'run', spec.instanceId, '1');
    for (const name of ['vnc', 'vnc1', 'vnc2']) {
      const found = lstatSync(join(own, name));
      expect([name, found.isSocket(), found.uid]).toEqual([name, true, lstatSync(own).uid]);
    }
    const qmp = await qemu.monitor(spec);
    // A command that only this test asks; see tools/qmp-schema for those of the client.
    const servers = (await qmp.execute('query-vnc-servers' as 'query-vnc')) as unknown as {
      readonly display: string;
      readonly server: readonly { readonly family: string }[];
    }[];
    expect(
      servers.map(({ display, server }) => [display, server.map(({ family }) => family)]).sort(),
    ).toEqual([0, 1, 2].map((head) => [`screen${head}`, ['unix']]));
    expect((await qmp.execute('query-mice')).filter(({ absolute }) => absolute)).toHaveLength(6);
    expect(await machineShape(qmp, [], {})).toMatchObject({ display: true, displays: 3 });
    await expect(screen(3)).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining('without a display 3') as string,
    });

    await qemu.suspend(spec, step(60_000));
    // Whatever is asked for by then: what its memory knows must be there.
    await qemu.start({ ...spec, displays: undefined }, step(60_000));
    await painted();
    await qemu.stop(spec, 0, step(60_000));
    await qemu.start({ ...spec, displays: undefined }, step(60_000));
    await expect(screen(1)).rejects.toMatchObject({ code: 'unsupported' });
    await qemu.stop(spec, 0, step(60_000));
    await qemu.remove(spec, step(60_000));
    await qemu.removeVolume(spec.rootVolume.id, step(60_000));
  });

  it('are refused by libvirt, which itself refuses a second server, and only our own driver says it can have them', async () => {
    const { libvirt, qemu } = drivers;
    const spec = host.spec('steady', { displays: 2 });
    await expect(libvirt.prepare(spec, step(60_000))).rejects.toMatchObject({ code: 'unsupported' });
    const graphics = "<graphics type='vnc'><listen type='socket' socket='/tmp/vnc'/></graphics>";
    const file = join(host.dir, 'two.xml');
    writeFileSync(
      file,
      `<domain type='qemu'><name>two</name><memory>65536</memory><os><type arch='x86_64' machine='q35'>hvm</type></os>
       <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>${graphics}${graphics}</devices></domain>`,
    );
    const rendered = run('virsh', ['-c', host.uri, 'domxml-to-native', 'qemu-argv', file]);
    await expect(rendered).rejects.toThrow('only 1 graphics device');
    const facets = await Promise.all([libvirt, qemu].map(async (rt) => (await rt.probe()).facets));
    expect(facets.map((all) => all.includes('displays'))).toEqual([false, true]);
  });
});

describe('a display under libvirt', () => {
  let host: TestHost;
  beforeAll(async () => {
    host = await TestHost.start();
  });
  afterAll(() => host.stop());

  it('is what virsh says and shows', async () => {
    const runtime = host.runtime();
    const spec = host.spec('steady');
    await runtime.prepare(spec, step());
    await runtime.start(spec, step());
    const virsh = async (...args: string[]): Promise<string> =>
      (await run('virsh', ['-c', host.uri, ...args])).stdout.trim();
    const name = await virsh('domname', spec.uuid);
    const path = join(host.dir, 'run', spec.instanceId, '1', 'vnc');
    expect(await virsh('domdisplay', name)).toContain(path);
    const png = join(host.dir, 'virsh.png');
    await eventually('virsh and we see the same', async () => {
      await virsh('screenshot', name, '--file', png);
      const own = pictureOf(await runtime.screenshot(spec, AbortSignal.timeout(15_000)));
      return alike(pictureOf(readFileSync(png)), own) ? true : undefined;
    });
    await runtime.stop(spec, 0, step());
    await runtime.remove(spec, step());
  });
});

/** A port of this machine behind which each connection is a viewer of its own. */
async function bridged(
  open: (signal: AbortSignal) => ReturnType<NonNullable<Runtime['display']>>,
): Promise<Server> {
  const server = createServer((viewer) => {
    const gone = new AbortController();
    viewer.on('error', () => undefined).once('close', () => gone.abort());
    void (async () => {
      const terminal = await open(gone.signal);
      viewer.on('data', (bytes: Buffer) => void terminal.write(bytes));
      for await (const { bytes } of terminal.output) viewer.write(bytes);
      viewer.end();
    })();
  });
  server.listen(5900 + DISPLAY, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  return server;
}
