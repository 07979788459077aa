import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { ExecOpen, TerminalEnd } from '@berth/model';
import { type ProcessIdentity, processIdentity, signalProcess } from '@berth/linux';
import type { Runtime, Terminal, WorkloadSpec } from '@berth/runtime';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { ContainerLab, context, processesNamed } from '../testing/container-lab.js';
import { find, logUntil, up } from '../testing/workload-steps.js';

const IDLE = `trap 'exit 0' TERM; echo ready; while :; do sleep 60 & wait $!; done`;

/** A terminal whose output is read as it comes. */
class Session {
  out = '';
  err = '';
  readonly read: Promise<void>;
  constructor(readonly terminal: Terminal) {
    this.read = (async () => {
      for await (const { channel, bytes } of terminal.output)
        if (channel === 'output') this.out += Buffer.from(bytes).toString();
        else this.err += Buffer.from(bytes).toString();
    })();
  }
  type(text: string): Promise<void> {
    return this.terminal.write(Buffer.from(text));
  }
  async end(): Promise<TerminalEnd | null> {
    await this.read;
    return this.terminal.ended;
  }
  until(text: string): Promise<void> {
    return until(JSON.stringify(text), () => this.out.includes(text));
  }
}

async function until(what: string, holds: () => boolean): Promise<void> {
  await vi.waitUntil(holds, { timeout: 15_000, interval: 10 }).catch(() => {
    throw new Error(`waited in vain for ${what}`);
  });
}

describe('a process put into a container', () => {
  const lab = new ContainerLab();
  const runtime = lab.runtime();
  let spec: WorkloadSpec;
  let init: number;
  beforeAll(async () => {
    await lab.open();
    spec = lab.spec(IDLE, { cpuMillis: null, process: null });
    init = await up(runtime, spec);
    await logUntil(runtime, spec, 'ready');
  });
  afterAll(() => lab.close());

  const exec = async (
    command: string[] | string,
    more: Partial<ExecOpen> = {},
    by: Runtime = runtime,
    signal = AbortSignal.timeout(20_000),
  ): Promise<Session> => {
    const open = {
      command: typeof command === 'string' ? ['/bin/sh', '-c', command] : command,
      tty: false,
      ...more,
    };
    return new Session((await by.exec?.(spec, open, signal)) as Terminal);
  };
  const execs = (): string =>
    join(lab.root, 'run', 'oci', 'bundles', `${spec.instanceId}.${spec.epoch}`, 'execs');
  const sh = (script: string, more: Partial<ExecOpen> = {}): Promise<Session> => exec(script, more);

  it('has its two outputs apart, and its exit code is told', async () => {
    const session = await sh('echo out; echo err >&2; exit 7');
    expect(await session.end()).toEqual({ reason: 'exited', code: 7 });
    expect([session.out, session.err]).toEqual(['out\n', 'err\n']);
  });

  it('reads what is typed until the end of the input', async () => {
    const session = await sh('cat; echo over');
    await session.type('one\n');
    await session.until('one');
    await session.type('two\n');
    session.terminal.endInput();
    expect(await session.end()).toEqual({ reason: 'exited', code: 0 });
    expect(session.out).toBe('one\ntwo\nover\n');
  });

  it('runs as the user, in the directory and with the variables asked for; the rest is the container’s', async () => {
    const session = await sh('id -u; id -g; pwd; echo $FROM_IMAGE,$MINE', {
      user: 'web',
      workdir: '/tmp',
      env: { MINE: 'two words' },
    });
    await session.end();
    expect(session.out).toBe('101\n102\n/tmp\nyes,two words\n');
  });

  it('is in the namespaces and cgroup of the container, with no privilege that its first process has not', async () => {
    const session = await sh('echo pid; cat /proc/self/status; sleep 30');
    await session.until('nonvoluntary');
    const [pid] = processesNamed('sleep\0 30')
      .concat(processesNamed('sleep 30'))
      .map((line) => Number(line.split(' ')[0]));
    for (const kind of ['mnt', 'pid', 'net', 'ipc', 'uts', 'user', 'cgroup'])
      expect(readlinkSync(`/proc/${pid}/ns/${kind}`), kind).toBe(readlinkSync(`/proc/${init}/ns/${kind}`));
    expect(readFileSync(`/proc/${pid}/cgroup`, 'utf8')).toBe(readFileSync(`/proc/${init}/cgroup`, 'utf8'));
    const privileges = (status: string): string[] =>
      status.split('\n').filter((line) => /^(Cap|NoNewPrivs|Seccomp:)/.test(line));
    expect(privileges(session.out)).toEqual(privileges(readFileSync(`/proc/${init}/status`, 'utf8')));
    expect(session.out).toMatch(/NoNewPrivs:\s1/);
    session.terminal.close();
  });

  it('has a terminal of the size asked for, which follows, and passes the interrupt key on', async () => {
    const session = await sh(
      'tty -s && echo terminal; stty size; trap "stty size" WINCH; trap "echo interrupted; exit 3" INT; echo go; while :; do sleep 0.1; done',
      { tty: true, size: { columns: 100, rows: 40 } },
    );
    await session.until('go');
    expect(session.out.replaceAll('\r', '')).toBe('terminal\n40 100\ngo\n');
    session.terminal.resize({ columns: 120, rows: 50 });
    await session.until('50 120');
    await session.type('\x03');
    expect(await session.end()).toEqual({ reason: 'exited', code: 3 });
    expect(session.out).toContain('interrupted');
  });

  it('echoes once what is typed into its terminal, and ends its lines as terminals do', async () => {
    const session = await sh('read line; echo "got $line"', { tty: true });
    await session.type('hello\n');
    expect(await session.end()).toEqual({ reason: 'exited', code: 0 });
    expect(session.out).toBe('hello\r\ngot hello\r\n');
  });

  it('has its line ends as it sets them, from its first word on', async () => {
    for (let round = 0; round < 10; round += 1) {
      const session = await sh(
        'echo one; echo two; read go; stty -opost; while :; do echo on; sleep 0.05; done',
        { tty: true },
      );
      await session.until('two\r\n');
      await session.type('go\n');
      await session.until('on\non\n');
      expect(session.out.slice(0, 14)).toBe('one\r\ntwo\r\ngo\r\n');
      session.terminal.close();
      await session.end();
    }
  });

  it('loses no word that it says at its end', async () => {
    for (let round = 0; round < 20; round += 1) {
      const session = await sh('i=0; while [ $i -lt 200 ]; do i=$((i + 1)); echo line $i; done', {
        tty: true,
      });
      await session.end();
      expect(session.out.split('\r\n')).toHaveLength(201);
    }
  });

  it('is heard on its error output as soon as it says something', async () => {
    const session = await sh('echo first >&2; sleep 600');
    await until('its words', () => session.err === 'first\n');
    session.terminal.close();
    await session.end();
  });

  it('takes more than a terminal holds, in its order', async () => {
    const session = await sh('sleep 0.2; tr -d "\\n" | tr -c a b', { tty: false });
    const letters = 'a'.repeat(400_000);
    await Promise.all([session.type(letters), session.type('x')]);
    session.terminal.endInput();
    expect(await session.end()).toEqual({ reason: 'exited', code: 0 });
    expect(session.out).toBe(`${letters}b`);
  });

  it('ends with its terminal, also when it heeds no hang-up, and what it started ends with it', async () => {
    for (const tty of [true, false]) {
      const session = await sh('trap "" HUP; sleep 4711 & echo up; sleep 4712', { tty });
      await session.until('up');
      session.terminal.close();
      expect(await session.end()).toBeNull();
      await until('its end', () => processesNamed('sleep 471').length === 0);
      await until('no file of it', () => readdirSync(execs()).length === 0);
    }
  });

  it('may leave behind what it gives a session of its own', async () => {
    const session = await sh('setsid sleep 4713 </dev/null >/dev/null 2>&1 & echo up; sleep 4714');
    await session.until('up');
    await until('both', () => processesNamed('sleep 4713').length + processesNamed('sleep 4714').length >= 2);
    session.terminal.close();
    await session.end();
    await until('its end', () => processesNamed('sleep 4714').length === 0);
    const [stays] = processesNamed('sleep 4713');
    await runtime.recover();
    expect(processesNamed('sleep 4713')).toEqual([stays]);
    const identity = processIdentity(Number(stays?.split(' ')[0]));
    if (identity !== null) signalProcess(identity, 'SIGKILL');
  });

  it('that an agent left behind is ended by the next one, and nothing else is', async () => {
    const earlier = lab.runtime();
    const session = await exec('trap "" HUP; sleep 4715 & echo up; sleep 4716', {}, earlier);
    await session.until('up');
    const other = await sh('echo here; cat');
    await other.until('here');
    await runtime.recover();
    expect(await session.end()).toEqual({ reason: 'exited', code: 137 });
    await until('its end', () => processesNamed('sleep 471').length === 0);
    await other.type('still here');
    await other.until('still here');
    other.terminal.close();
    await other.end();
    expect(await find(runtime, spec)).toMatchObject({ phase: 'running', pid: init });
  });

  it('whose relay was killed with its agent is ended by the next one', async () => {
    const earlier = lab.runtime();
    const session = await exec('trap "" HUP; sleep 4717 & echo up; sleep 4718', {}, earlier);
    await session.until('up');
    const [relay] = processesNamed(`exec --process`).map((line) =>
      processIdentity(Number(line.split(' ')[0])),
    );
    signalProcess(relay as ProcessIdentity, 'SIGKILL');
    await session.end();
    expect(processesNamed('sleep 4718')).toHaveLength(1);
    await runtime.recover();
    await until('its end', () => processesNamed('sleep 471').length === 0);
    expect(await find(runtime, spec)).toMatchObject({ phase: 'running', pid: init });
  });

  it('that cannot be started is told of with the reason, and says nothing', async () => {
    const session = await exec(['/no/such/program']);
    expect(await session.end()).toEqual({
      reason: 'failed',
      message: expect.stringMatching(/no such file or directory/),
    });
    expect([session.out, session.err]).toEqual(['', '']);
    await expect(sh('true', { user: 'nobody-knows' })).rejects.toMatchObject({ code: 'badImage' });
    await expect(sh('true', { workdir: '/proc/self/fd/7' })).rejects.toMatchObject({ code: 'badImage' });
  });

  it('is held up by a reader that does not read', async () => {
    const open = {
      command: ['/bin/sh', '-c', 'n=0; while :; do echo 0123456789; n=$((n + 1)); echo $n > /tmp/n; done'],
      tty: false,
    };
    const terminal = (await runtime.exec?.(spec, open, AbortSignal.timeout(60_000))) as Terminal;
    const pieces = terminal.output[Symbol.asyncIterator]();
    await pieces.next();
    const written = async (): Promise<string> => {
      const session = await sh('cat /tmp/n; sleep 0.1; cat /tmp/n');
      await session.end();
      return session.out;
    };
    let seen = '';
    const still = async (): Promise<boolean> => {
      seen = await written();
      return seen !== '' && new Set(seen.split('\n')).size <= 2;
    };
    for (const end = Date.now() + 20_000; !(await still());)
      if (Date.now() > end) throw new Error(`it writes on: ${seen}`);
    for (let more = 0; more < 400 * 1024;) {
      const piece = await pieces.next();
      if (piece.done === true) throw new Error('it ended');
      more += piece.value.bytes.length;
    }
    expect(await written()).not.toBe(seen);
    terminal.close();
    expect(await terminal.ended).toBeNull();
  }, 60_000);

  it('counts against the limits of its container', async () => {
    const session = await sh('dd if=/dev/zero of=/dev/null bs=128M count=1');
    expect(await session.end()).toEqual({ reason: 'exited', code: 137 });
    expect(await find(runtime, spec)).toMatchObject({ phase: 'running', pid: init });
  });

  it('is refused by a container that is paused', async () => {
    await runtime.pause?.(spec, context());
    await expect(sh('true')).rejects.toMatchObject({ code: 'notPrepared', remedy: 'resume it first' });
    await runtime.resume?.(spec, context());
  });

  it('is told apart from one whose container ends', async () => {
    const other = lab.spec(IDLE, { cpuMillis: null });
    await up(runtime, other);
    const open = { command: ['/bin/sh', '-c', 'echo up; sleep 60'], tty: true };
    const session = new Session((await runtime.exec?.(other, open, AbortSignal.timeout(20_000))) as Terminal);
    await session.until('up');
    await runtime.stop(other, 5, context());
    expect(await session.end()).toMatchObject({ reason: 'workloadEnded', exit: { reason: 'stopped' } });
    await expect(runtime.exec?.(other, open, AbortSignal.timeout(5000))).rejects.toMatchObject({
      code: 'notPrepared',
    });
    await runtime.remove(other, context());
    await runtime.removeVolume(other.rootVolume.id, context());
    expect(lab.leftovers(other)).toEqual([]);
  });

  const attached = async (to: WorkloadSpec, by: Runtime = runtime): Promise<Session> => {
    const open = { readOnly: false, scrollbackBytes: 65_536, size: { columns: 91, rows: 17 } };
    return new Session((await by.attach?.(to, open, AbortSignal.timeout(20_000))) as Terminal);
  };
  const away = async (gone: WorkloadSpec): Promise<void> => {
    await runtime.stop(gone, 5, context());
    await runtime.remove(gone, context());
    await runtime.removeVolume(gone.rootVolume.id, context());
    expect(lab.leftovers(gone)).toEqual([]);
  };

  it('the first process of a container with a terminal is a shell for whoever attaches, one after the other', async () => {
    const shell = lab.spec('PS1="at> " exec sh -i', { cpuMillis: null, process: { tty: true } });
    await up(runtime, shell);
    const first = await attached(shell);
    await first.until('at> ');
    await first.type('stty size; echo $TERM; test -t 0 && echo terminal\n');
    for (const word of ['17 91\r\n', 'xterm-256color\r\n', 'terminal\r\n']) await first.until(word);
    first.terminal.resize({ columns: 60, rows: 20 });
    await first.type('stty size\n');
    await first.until('20 60\r\n');
    await first.type('echo as""leep; /bin/busybox sleep 60\n');
    await first.until('asleep\r\n');
    await first.type('\u0003');
    await until('the prompt', () => /\^C[^]*at> /.test(first.out));
    await first.type('echo "in""terrupted"\n');
    await first.until('interrupted\r\n');
    first.terminal.close();
    expect(await first.end()).toBeNull();
    const second = await attached(shell, lab.runtime());
    await second.until('interrupted\r\n');
    await second.type('exit 3\n');
    expect(await second.end()).toMatchObject({
      reason: 'workloadEnded',
      exit: { reason: 'exited', code: 3 },
    });
    await away(shell);
  });

  it('input that a first process does not read waits, and holds up neither its output nor its end', async () => {
    const script = 'echo words >&2; while [ ! -e /go ]; do sleep 0.1; done; echo late; cat | wc -c; sleep 60';
    const deaf = lab.spec(script, { cpuMillis: null, process: { stdin: true } });
    await up(runtime, deaf);
    const one = await attached(deaf);
    await until('its error output', () => one.err.includes('words\n'));
    let typed = false;
    void one.type('x'.repeat(4 * 1024 * 1024)).then(() => (typed = true));
    const open = { command: ['/bin/busybox', 'touch', '/go'], tty: false };
    const go = new Session((await runtime.exec?.(deaf, open, AbortSignal.timeout(20_000))) as Terminal);
    expect(await go.end()).toEqual({ reason: 'exited', code: 0 });
    await one.until('late\n');
    await until('the input to be taken', () => typed);
    await away(deaf);
    expect(await one.end()).toMatchObject({ reason: 'workloadEnded' });
  });
});
