import assert from 'node:assert/strict';
import type { AttachOpen, ConsoleOpen, ExecOpen, TerminalEnd } from '@berth/model';
import type { Runtime, Terminal, WorkloadKey } from '../runtime.js';
import type { Behaviour, ConformanceHarness } from './harness.js';
import { context, eventually, gone, refused, upAndHeard } from './steps.js';

/** Programs that are put into what runs. */
export const execs: readonly Behaviour[] = [
  {
    name: 'a process put into a workload reads what is typed, and its code is told',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      await upAndHeard(h, rt, spec);
      const cat = await exec(h, rt, spec, { command: ['cat'] });
      await cat.type('one ');
      await cat.until('one ');
      await cat.type('two');
      await cat.until('one two');
      cat.terminal.endInput();
      assert.deepEqual(await cat.end(), { reason: 'exited', code: 0 });
      const seven = await exec(h, rt, spec, { command: h.exitsWith(7) });
      assert.deepEqual(await seven.end(), { reason: 'exited', code: 7 });
      await gone(h, rt, spec);
    },
  },
  {
    name: 'a process that cannot be put into a workload is told of with the reason',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      await refused('exec before the start', ['notPrepared'], async () => {
        await exec(h, rt, spec, { command: ['cat'] });
      });
      await upAndHeard(h, rt, spec);
      const end = await (await exec(h, rt, spec, { command: ['no-such-program'] })).end();
      assert.ok(end?.reason === 'failed' && end.message.includes('no-such-program'), JSON.stringify(end));
      await gone(h, rt, spec);
    },
  },
  {
    name: 'a process put into a workload ends with its terminal, and with the workload',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      const { pid } = await upAndHeard(h, rt, spec);
      for (const tty of [false, true]) {
        const closed = await exec(h, rt, spec, { command: ['cat'], tty });
        await closed.type('here\n');
        await closed.until('here');
        closed.terminal.close();
        assert.equal(await closed.end(), null);
      }
      assert.equal((await rt.recover()).find((o) => o.instanceId === spec.instanceId)?.pid, pid);
      const left = await exec(h, rt, spec, { command: ['cat'] });
      await left.type('here');
      await left.until('here');
      await rt.stop(spec, 20, context(h));
      const end = await left.end();
      assert.ok(end?.reason === 'workloadEnded' && end.exit?.reason === 'stopped', JSON.stringify(end));
      await refused('exec after the end', ['notPrepared'], async () => {
        await exec(h, rt, spec, { command: ['cat'] });
      });
      await gone(h, rt, spec);
    },
  },
];

/** Somebody at the first process. */
export const attaches: readonly Behaviour[] = [
  {
    name: 'who attaches sees what was printed, types to the first process and leaves it running, also for a later life of the agent',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('echo');
      await refused('attach before the start', ['notPrepared'], async () => {
        await attach(h, rt, spec);
      });
      const { pid } = await upAndHeard(h, rt, spec);
      const one = await attach(h, rt, spec);
      await one.until('boots=1');
      await one.type('first\n');
      await one.until('first\n');
      one.terminal.close();
      assert.equal(await one.end(), null);
      const later = await h.runtime();
      const two = await attach(h, later, spec);
      await two.until('first\n');
      await two.type('second\n');
      await two.until('second\n');
      two.terminal.close();
      assert.equal((await later.recover()).find((o) => o.instanceId === spec.instanceId)?.pid, pid);
      await gone(h, later, spec);
    },
  },
  {
    name: 'all who attach see the same, whoever reads nothing holds nothing up, and it ends with the workload after its last words',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('echo');
      await upAndHeard(h, rt, spec);
      assert.ok(rt.attach, 'the runtime has the attach facet');
      const unread = await rt.attach(
        spec,
        { readOnly: true, scrollbackBytes: 65_536 },
        AbortSignal.timeout(4 * h.stepMs),
      );
      const [one, two] = [await attach(h, rt, spec), await attach(h, rt, spec)];
      await one.type('last words\n');
      for (const screen of [one, two]) await screen.until('last words\n');
      await rt.stop(spec, 0, context(h));
      const kept = new Screen(h, unread);
      for (const screen of [one, two, kept]) {
        const end = await screen.end();
        assert.ok(end?.reason === 'workloadEnded' && end.exit?.reason === 'killed', JSON.stringify(end));
        assert.ok(screen.text.includes('last words\n'), 'all of it is there, for a late reader too');
      }
      await gone(h, rt, spec);
    },
  },
  {
    name: 'a first process without an input can be looked at, and is not typed to',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      await upAndHeard(h, rt, spec);
      await refused('typing to what has no input', ['notPrepared'], async () => {
        await attach(h, rt, spec);
      });
      const seen = await attach(h, rt, spec, { readOnly: true });
      await seen.until('boots=1');
      seen.terminal.close();
      await gone(h, rt, spec);
    },
  },
];

async function attach(
  h: ConformanceHarness,
  rt: Runtime,
  key: WorkloadKey,
  open: Partial<AttachOpen> = {},
): Promise<Screen> {
  assert.ok(rt.attach, 'the runtime has the attach facet');
  const whole = { readOnly: false, scrollbackBytes: 65_536, ...open };
  return new Screen(h, await rt.attach(key, whole, AbortSignal.timeout(4 * h.stepMs)));
}

/** The serial console. */
export const consoles: readonly Behaviour[] = [
  {
    name: 'a console begins with what was printed before, and carries what is typed, also to a later life of the agent',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      await refused('a console before the start', ['notPrepared'], async () => {
        await connect(h, rt, spec);
      });
      await upAndHeard(h, rt, spec);
      const screen = await connect(h, rt, spec);
      await screen.until('boots=1');
      await screen.type('first');
      await screen.until('first');
      screen.terminal.close();
      assert.equal(await screen.end(), null);
      const later = await h.runtime();
      const again = await connect(h, later, spec, { scrollbackBytes: 5 });
      await again.until('first');
      await again.type('second');
      await again.until('firstsecond');
      assert.equal(again.text, 'firstsecond', 'what nobody watched was kept, and nothing came twice');
      again.terminal.close();
      await gone(h, later, spec);
    },
  },
  {
    name: 'all consoles of a workload show the same, and all but a read-only one take what is typed',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      await upAndHeard(h, rt, spec);
      const [one, two] = [await connect(h, rt, spec), await connect(h, rt, spec)];
      const reader = await connect(h, rt, spec, { readOnly: true });
      await one.type('one');
      for (const screen of [one, two, reader]) await screen.until('one');
      one.terminal.close();
      await two.type('two');
      for (const screen of [two, reader]) await screen.until('two');
      for (const screen of [two, reader]) screen.terminal.close();
      await gone(h, rt, spec);
    },
  },
  {
    name: 'a console that nobody reads holds nothing up, and ends with the workload after its last words',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      await upAndHeard(h, rt, spec);
      assert.ok(rt.console, 'the runtime has the console facet');
      const open = { readOnly: false, scrollbackBytes: 1024 };
      const unread = await rt.console(spec, open, AbortSignal.timeout(4 * h.stepMs));
      const screen = await connect(h, rt, spec);
      await screen.type('last words');
      await screen.until('last words');
      await rt.stop(spec, 0, context(h));
      const end = await screen.end();
      assert.ok(end?.reason === 'workloadEnded' && end.exit?.reason === 'killed', JSON.stringify(end));
      const kept = new Screen(h, unread);
      assert.deepEqual(await kept.end(), end);
      assert.ok(kept.text.endsWith('last words'), 'all of it is there for a late reader');
      for (const { terminal } of [screen, kept]) terminal.close();
      await refused('a console after the end', ['notPrepared'], async () => {
        await connect(h, rt, spec);
      });
      await gone(h, rt, spec);
    },
  },
];

async function connect(
  h: ConformanceHarness,
  rt: Runtime,
  key: WorkloadKey,
  open: Partial<ConsoleOpen> = {},
): Promise<Screen> {
  assert.ok(rt.console, 'the runtime has the console facet');
  const whole = { readOnly: false, scrollbackBytes: 65_536, ...open };
  return new Screen(h, await rt.console(key, whole, AbortSignal.timeout(4 * h.stepMs)));
}

async function exec(
  h: ConformanceHarness,
  rt: Runtime,
  key: WorkloadKey,
  open: Partial<ExecOpen> & Pick<ExecOpen, 'command'>,
): Promise<Screen> {
  assert.ok(rt.exec, 'the runtime has the exec facet');
  return new Screen(h, await rt.exec(key, { tty: false, ...open }, AbortSignal.timeout(4 * h.stepMs)));
}

/** A terminal that is read as it comes. */
export class Screen {
  text = '';
  private readonly read: Promise<void>;
  private over = false;

  constructor(
    private readonly h: ConformanceHarness,
    readonly terminal: Terminal,
  ) {
    this.read = (async () => {
      for await (const { bytes } of terminal.output) this.text += Buffer.from(bytes).toString('latin1');
      this.over = true;
    })();
  }

  type(text: string): Promise<void> {
    return this.terminal.write(Buffer.from(text));
  }

  async until(wanted: string): Promise<void> {
    await eventually(this.h, `${JSON.stringify(wanted)} on the terminal`, () =>
      Promise.resolve(this.text.includes(wanted) ? true : undefined),
    );
  }

  /** How it ended, once all is read. */
  async end(): Promise<TerminalEnd | null> {
    await eventually(this.h, 'the end of the terminal', () => Promise.resolve(this.over ? true : undefined));
    await this.read;
    return this.terminal.ended;
  }
}
