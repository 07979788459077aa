import type { ExecOpen, VmDriver } from '@berth/model';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestTerminal, until as soon } from '../http/test-terminal.js';
import { killed, processes, procText } from '../kills/processes.js';
import { Berth, patience, until } from './berth.js';
import { samples } from './machine.js';

/* Terminals the way of a user: a ticket, a WebSocket, the link, and a real container or machine at its end. */
let berth: Berth;

beforeAll(async () => {
  const images = await samples();
  berth = await Berth.up(1);
  await berth.image('busybox', 'oci', images.container);
  await berth.image('tiny', 'disk', images.disk);
}, 300_000);
afterAll(() => berth?.down(), 120_000);

async function opened(name: string, kind: 'console' | 'exec', body: object): Promise<TestTerminal> {
  const { secret } = await berth.ok<{ secret: string }>('POST', `${berth.instances}/${name}/${kind}`, body);
  const url = `${berth.base.replace('http', 'ws')}/v1/console?ticket=${secret}`;
  const terminal = await TestTerminal.open(url);
  await terminal.notice('opened');
  return terminal;
}
const shows = (terminal: TestTerminal, text: string): Promise<boolean> =>
  soon(() => terminal.output.includes(text), `${JSON.stringify(text)} on the terminal`);

describe('exec in a container', () => {
  const exec = (open: Partial<ExecOpen>): Promise<TestTerminal> => opened('box', 'exec', open);
  beforeAll(async () => {
    await berth.create('box', {
      isolation: 'container',
      image: 'busybox',
      memoryMiB: 64,
      rootDisk: { sizeMiB: 64 },
      process: { command: ['/bin/sh', '-c', 'while :; do sleep 60; done'] },
    });
    await berth.state('box', 'running');
  }, 90_000);

  it('has a shell with a terminal of a size, and its code is told and written down', async () => {
    const shell = await exec({ command: ['sh'], tty: true, size: { columns: 100, rows: 40 } });
    shell.type(Buffer.from('stty size\n'));
    await shows(shell, '40 100\r\n');
    shell.order({ type: 'resize', columns: 90, rows: 30 });
    shell.type(Buffer.from('stty size; exit 3\n'));
    expect(await shell.closed).toBe(1000);
    expect(shell.output.toString()).toContain('30 90\r\n');
    expect(shell.notices.at(-1)).toEqual({ type: 'exit', end: { reason: 'exited', code: 3 } });
    await soon(async () => {
      const { items } = await berth.ok<{ items: { type: string; data: unknown }[] }>(
        'GET',
        '/v1/events?class=audit&limit=1000',
      );
      return items.some((e) => e.type === 'exec.ended' && JSON.stringify(e.data).includes('"exitCode":3'));
    }, 'the event of its end');
  });

  it('carries a pipe: input to its end, and two outputs', async () => {
    const pipe = await exec({ command: ['sh', '-c', 'cat; echo done >&2'] });
    const sent = Buffer.from(Uint8Array.from({ length: 60_000 }, (_, i) => i % 256));
    pipe.type(sent);
    pipe.order({ type: 'endInput' });
    expect(await pipe.closed).toBe(1000);
    expect(pipe.output.equals(sent)).toBe(true);
    expect(pipe.errorOutput.toString()).toBe('done\n');
  });

  const runs = async (text: string): Promise<boolean> => {
    const look = await exec({ command: ['ps', 'w'] });
    await look.closed;
    expect(look.output.toString()).toContain('ps w');
    return look.output.includes(text);
  };

  it('ends when its client leaves', async () => {
    const left = await exec({ command: ['sh', '-c', 'echo here; exec sleep 4719'], tty: true });
    await shows(left, 'here');
    left.terminate();
    await soon(async () => !(await runs('sleep 4719')), 'the end of what ran');
  });

  it('ends with the agent, and the next one takes away what ran', async () => {
    const orphan = await exec({ command: ['sh', '-c', 'trap "" HUP; echo here; sleep 4720'] });
    await shows(orphan, 'here');
    const agent = processes().find(
      ({ pid }) =>
        procText(pid, 'cmdline').includes('apps/agent/dist/main.js') &&
        procText(pid, 'environ').includes(berth.root),
    );
    expect(agent !== undefined && killed(agent.pid)).toBe(true);
    await orphan.closed;
    expect(orphan.notices.at(-1)?.type).toBe('problem');
    const left = await until('the next agent', 60_000, () => runs('sleep 4720').catch(() => undefined));
    expect(left).toBe(false);
  }, 90_000);
});

/** A machine on a network with IPv6. */
async function booted(name: string, driver: VmDriver, network: string): Promise<void> {
  await berth.create(name, {
    isolation: 'vm',
    image: 'tiny',
    vcpus: 1,
    // Three have room on two processors.
    cpuMillis: 600,
    memoryMiB: 128,
    rootDisk: { sizeMiB: 64 },
    nics: [{ network }],
    placement: { driver },
  });
  await berth.state(name, 'running', patience(60_000));
  await until(`${name} has booted`, patience(60_000), async () =>
    (await berth.logs(name)).includes('boots=1') ? true : undefined,
  );
}

interface Shell {
  readonly address: string;
  ask(command: string): Promise<string>;
  close(): void;
}

/** A shell in a guest that has taken the IPv6 address of its first nic, as one that knows no DHCPv6. */
async function shellOf(name: string): Promise<Shell> {
  const address = (await berth.get(name)).status.nics[0]?.ipv6 ?? 'none';
  const shell = await opened(name, 'console', {});
  // It may begin after its guest said that it is ready, and drops what was typed before.
  await until(`the shell of ${name} answers`, patience(60_000), () => {
    shell.type(Buffer.from('echo answer=$((6 * 7))\r'));
    return Promise.resolve(shell.output.includes('answer=42') ? true : undefined);
  });
  let asked = 0;
  const ask = async (command: string): Promise<string> => {
    const mark = `asked-${(asked += 1)}`;
    const answer = new RegExp(`${mark}=\\[([^]*?)\\]=${mark}`);
    // What is typed is shown, too; only what the shell makes of it has the mark twice.
    shell.type(Buffer.from(`a=${mark}; echo "$a=[$(${command} 2>&1)]=$a"\r`));
    return until(`the shell of ${name} did: ${command}`, patience(60_000), () =>
      Promise.resolve(answer.exec(shell.output.toString())?.[1]),
    );
  };
  await ask(`ip -6 addr add ${address}/64 dev eth0`);
  return { address, ask, close: () => shell.close() };
}

describe('machines under both drivers on one network', () => {
  it(
    'reach each other over IPv6 both ways, and none of another network',
    async () => {
      for (const network of ['six', 'apart'])
        await berth.run(['network', 'create', network, '--ipv6', 'auto']);
      const places = {
        'vm-qemu': ['qemu', 'six'],
        'vm-libvirt': ['libvirt', 'six'],
        apart: ['qemu', 'apart'],
      } as const;
      await Promise.all(
        Object.entries(places).map(([name, [driver, network]]) => booted(name, driver, network)),
      );
      const names = ['vm-qemu', 'vm-libvirt', 'apart'];
      const [qemu, libvirt, apart] = (await Promise.all(names.map(shellOf))) as [Shell, Shell, Shell];
      const asks = ({ ask }: Shell, { address }: Shell): Promise<string> =>
        ask(`printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 ${address} 8080 | tail -n 1`);
      const reaches = (from: Shell, to: Shell, name: string): Promise<true> =>
        until(`${name} is reached`, patience(60_000), async () =>
          (await asks(from, to)).includes(`hostname=${name}`) ? true : undefined,
        );
      await reaches(qemu, libvirt, 'vm-libvirt');
      await reaches(libvirt, qemu, 'vm-qemu');
      // The way is there: it heard of its router by itself, which answers; nobody behind that does.
      await until('it hears of its router', patience(60_000), async () =>
        (await apart.ask('ip -6 route show default')).includes('default via ') ? true : undefined,
      );
      await until('its router answers', patience(60_000), async () =>
        (await apart.ask(`ping6 -c 1 -W 5 ${apart.address.replace(/[^:]+$/, '1')}`)).includes(
          '1 packets received',
        )
          ? true
          : undefined,
      );
      for (const to of [qemu, libvirt]) expect(await asks(apart, to)).not.toContain('hostname=');
      for (const { close } of [qemu, libvirt, apart]) close();
      await berth.delete('apart');
      await berth.run(['network', 'rm', 'apart']);
    },
    patience(240_000),
  );
});

describe.each(['qemu', 'libvirt'] as const)('the serial console of a machine under %s', (driver) => {
  const name = `vm-${driver}`;

  it('has a shell for all who watch, and begins with what was printed before', async () => {
    const [one, two] = [await opened(name, 'console', {}), await opened(name, 'console', {})];
    const reader = await opened(name, 'console', { readOnly: true });
    for (const each of [one, two, reader]) await shows(each, 'boots=1');
    one.order({ type: 'resize', columns: 90, rows: 30 });
    await until('its shell answers', 60_000, () => {
      one.type(Buffer.from('echo answer=$((6 * 7))\r'));
      return Promise.resolve(one.output.includes('answer=42') ? true : undefined);
    });
    for (const each of [two, reader]) await shows(each, 'answer=42');
    two.type(Buffer.from('echo also=$((7 * 7))\r'));
    for (const each of [one, reader]) await shows(each, 'also=49');
    expect(await berth.logs(name)).toContain('also=49');
    for (const each of [one, two]) each.close();
    await berth.act(name, 'stop');
    expect(await reader.closed).toBe(1000);
    expect(reader.notices.at(-1)).toMatchObject({ type: 'exit', end: { reason: 'workloadEnded' } });
    await berth.delete(name);
  }, 180_000);
});
