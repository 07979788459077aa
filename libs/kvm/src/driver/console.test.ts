import { appendFileSync, existsSync, lstatSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { ConsoleOpen, TerminalEnd } from '@berth/model';
import type { Runtime, Terminal, WorkloadSpec } from '@berth/runtime';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { QemuRuntime } from '../qemu/qemu-runtime.js';
import type { LibvirtRuntime } from './libvirt-runtime.js';
import { SERIAL_MAX_BYTES } from '../qemu/serial-rotation.js';
import { eventually, QemuHost, serialText, step, TestHost } from '../testing/host.js';

/** A console that is read as it comes. */
class Screen {
  text = '';
  readonly read: Promise<void>;
  constructor(readonly terminal: Terminal) {
    this.read = (async () => {
      for await (const { bytes } of terminal.output) this.text += Buffer.from(bytes).toString('latin1');
    })();
  }
  until(wanted: string): Promise<boolean> {
    return eventually(`${wanted} on the console`, () =>
      Promise.resolve(this.text.includes(wanted) ? true : undefined),
    );
  }
  async end(): Promise<TerminalEnd | null> {
    await this.read;
    return this.terminal.ended;
  }
}

type Console = (QemuRuntime | LibvirtRuntime) & Required<Pick<Runtime, 'console' | 'logs'>>;

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

/** Lines of 64 times one letter, a to z and again: the first one that does not follow from the line before it. */
function firstFault(text: string): string[] | null {
  const lines = text
    .slice(text.indexOf('a'.repeat(64)))
    .split('\n')
    .slice(0, -1);
  const next = (line: string): string =>
    (line[0] === 'z' ? 'a' : String.fromCharCode(line.charCodeAt(0) + 1)).repeat(64);
  const at = lines.findIndex((line, i) => i > 0 && line !== next(lines[i - 1] as string));
  return at === -1 ? null : lines.slice(at - 1, at + 2);
}

describe.each(labs)('the serial console under %s', (_name, make) => {
  let lab: Lab;
  let runtime: Console;
  beforeAll(async () => {
    lab = await make();
    runtime = lab.host.runtime() as Console;
    expect(await runtime.probe()).toMatchObject({ ok: true });
  });
  afterAll(() => lab.stop());

  async function started(...args: Parameters<QemuHost['spec']>): Promise<WorkloadSpec> {
    const spec = lab.host.spec(...args);
    await runtime.prepare(spec, step());
    await runtime.start(spec, step());
    return spec;
  }
  async function gone(spec: WorkloadSpec): Promise<void> {
    await runtime.stop(spec, 0, step());
    await runtime.remove(spec, step());
    await runtime.removeVolume(spec.rootVolume.id, step());
  }
  const connect = async (spec: WorkloadSpec, open: Partial<ConsoleOpen> = {}): Promise<Screen> =>
    new Screen(
      await runtime.console(
        spec,
        { readOnly: false, scrollbackBytes: 65_536, ...open },
        AbortSignal.timeout(30_000),
      ),
    );

  it('begins with what was printed before, and carries what is typed', async () => {
    const spec = await started('steady');
    await eventually('the guest is up', async () =>
      (await serialText(runtime, spec)).includes('boots=1') ? true : undefined,
    );
    const screen = await connect(spec);
    await screen.until('boots=1\n');
    await screen.terminal.write(Buffer.from('typed'));
    await screen.until('typed');
    // What nobody watched is there, too.
    screen.terminal.close();
    const later = await connect(spec, { scrollbackBytes: 5 });
    await later.until('typed');
    expect(later.text).toBe('typed');
    later.terminal.close();
    expect(await later.end()).toBeNull();
    await gone(spec);
  });

  it('is set up again where an agent was killed half-way', async () => {
    const spec = await started('steady');
    const screen = await connect(spec);
    const monitor = await runtime.monitor(spec);
    // The pipe is held, and the port was not yet given it.
    const chardev = lab.host instanceof QemuHost ? 'serial0' : 'charserial0';
    const log = join(lab.host.dir, 'log', spec.instanceId, '1.log');
    const out = lab.host instanceof QemuHost ? log : '/dev/fdset/0';
    const backend = { type: 'file', data: { out, append: true } } as const;
    await monitor.execute('chardev-change', { id: chardev, backend });
    screen.terminal.close();
    if (!(lab.host instanceof QemuHost)) await lab.host.libvirtd.restart();
    const later = await eventually('a console', () => connect(spec).catch(() => undefined));
    await later.terminal.write(Buffer.from('typed'));
    await later.until('boots=1\ntyped');
    later.terminal.close();
    await gone(spec);
  });

  it('is shared: all see the same, all may type, and one that only reads cannot', async () => {
    const spec = await started('steady');
    const screens = [
      await connect(spec),
      await connect(spec),
      await connect(spec, { readOnly: true }),
    ] as const;
    for (const screen of screens) await screen.until('boots=1');
    await screens[0].terminal.write(Buffer.from('one'));
    for (const screen of screens) await screen.until('one');
    await screens[1].terminal.write(Buffer.from('two'));
    for (const screen of screens) await screen.until('two');
    await screens[2].terminal.write(Buffer.from('never'));
    screens[0].terminal.close();
    await screens[1].terminal.write(Buffer.from('three'));
    await screens[2].until('three');
    expect(screens[2].text).not.toContain('never');
    for (const screen of screens) screen.terminal.close();
    await gone(spec);
  });

  it('takes its input from a pipe that only its QEMU and root may open, and leaves nothing of it', async () => {
    const spec = await started('steady');
    const pipe = join(lab.host.dir, 'run', spec.instanceId, `${spec.epoch}.in`);
    const before = deviceNodes();
    const reader = await connect(spec, { readOnly: true });
    expect(existsSync(pipe)).toBe(false);
    const screen = await connect(spec);
    await screen.terminal.write(Buffer.from('x'));
    await screen.until('x');
    const { pid } = (await runtime.recover()).find((o) => o.instanceId === spec.instanceId) ?? {};
    const found = lstatSync(pipe);
    expect([found.isFIFO(), found.mode & 0o777, found.uid]).toEqual([
      true,
      0o600,
      statSync(`/proc/${pid}`).uid,
    ]);
    const above = statSync(dirname(pipe));
    expect([above.uid, above.mode & 0o777]).toEqual([0, 0o711]);
    expect(deviceNodes()).toEqual(before);
    for (const { terminal } of [screen, reader]) terminal.close();
    await gone(spec);
    expect(await lab.host.leftovers(spec)).toEqual([]);
  });

  it('keeps what is typed for a guest that takes its time, and ends with it all the same', async () => {
    const spec = await started('stubborn');
    const screen = await connect(spec);
    await screen.until('boots=1');
    // More than the pipe holds, to a guest that reads nothing.
    await screen.terminal.write(Buffer.from('x'));
    const held = screen.terminal.write(Buffer.alloc(300_000, 'x'));
    await new Promise(setImmediate);
    screen.terminal.close();
    await held;
    await gone(spec);
    expect(await lab.host.leftovers(spec)).toEqual([]);
  });

  it('ends with the machine, after its last words, and is refused to one that is off', async () => {
    const spec = await started('steady');
    const screen = await connect(spec);
    await screen.until('boots=1');
    await runtime.stop(spec, 0, step());
    expect(await screen.end()).toMatchObject({ reason: 'workloadEnded', exit: { reason: 'killed' } });
    await expect(connect(spec)).rejects.toMatchObject({ code: 'notPrepared' });
    await gone(spec);
  });

  it('loses and repeats nothing of a guest that talks without end', async () => {
    const spec = await started('talker');
    const screen = await connect(spec, { scrollbackBytes: 0 });
    await eventually(
      '256 KiB',
      () => Promise.resolve(screen.text.length > 256 * 1024 ? true : undefined),
      60_000,
    );
    screen.terminal.close();
    expect(firstFault(screen.text)).toBeNull();
    await gone(spec);
  }, 90_000);
});

describe('the serial console over a rotation of its log', () => {
  const host = new QemuHost();
  afterAll(() => host.stop());

  it('goes on, and what is typed still arrives, also after an agent was killed', async () => {
    let runtime = host.runtime() as Console;
    const watching = new AbortController();
    // An agent listens as long as it lives; that is what rotates logs.
    const listen = async (): Promise<void> => {
      for await (const _seen of runtime.observe(watching.signal));
    };
    const listening = [listen()];
    const spec = host.spec('steady');
    await runtime.prepare(spec, step());
    await runtime.start(spec, step());
    const log = join(host.dir, 'log', spec.instanceId, '1.log');
    for (const turn of [1, 2]) {
      const open = { readOnly: false, scrollbackBytes: 1024 };
      const screen = new Screen(await runtime.console(spec, open, AbortSignal.timeout(30_000)));
      await eventually('the guest is up', async () => (screen.text === '' ? undefined : true));
      const rotated = existsSync(`${log}.0`) ? statSync(`${log}.0`).ino : 0;
      appendFileSync(log, `${'-'.repeat(SERIAL_MAX_BYTES)}\n`);
      await eventually('the log is rotated', () =>
        Promise.resolve(existsSync(`${log}.0`) && statSync(`${log}.0`).ino !== rotated ? true : undefined),
      );
      await screen.terminal.write(Buffer.from(`turn ${turn}`));
      await screen.until(`turn ${turn}`);
      expect(screen.text.length).toBeGreaterThan(SERIAL_MAX_BYTES);
      if (turn === 2) screen.terminal.close();
      runtime = host.runtime() as Console;
      listening.push(listen());
    }
    watching.abort();
    await Promise.all(listening);
    await runtime.stop(spec, 0, step());
    await runtime.remove(spec, step());
    expect(host.leftovers(spec)).toEqual([]);
  }, 60_000);
});

/** Type, owner and mode of the host's own devices. */
const deviceNodes = (): string[] =>
  ['/dev/null', '/dev/zero', '/dev/urandom', '/dev/ptmx'].map((path) => {
    const { mode, uid, gid, rdev } = statSync(path);
    return [path, mode, uid, gid, rdev].join(' ');
  });
