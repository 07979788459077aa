import { BerthError } from '@berth/model';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { EchoTerminal } from '../http/echo-terminals.js';
import { CliLab, type Running } from './lab.js';

const instances = '/v1/projects/alpha/instances';
const container = { isolation: 'container', image: 'oci', memoryMiB: 64 };
const fed = { ...container, process: { stdin: true } };
const inTerminal = { ...container, process: { tty: true } };
const machine = { isolation: 'vm', image: 'disk', vcpus: 1, memoryMiB: 64, rootDisk: { sizeMiB: 64 } };
const withAgent = { ...machine, userData: '#sim:agent' };

let lab: CliLab;
beforeAll(async () => {
  lab = await CliLab.start();
  for (const [name, spec] of Object.entries({
    box: container,
    fed,
    typed: inTerminal,
    vm: machine,
    agent: withAgent,
    off: machine,
  }))
    await lab.api.call('post', `${instances}?wait=10`).send({ name, spec }).expect(202);
  await lab.api.call('post', `${instances}/off/actions/stop?wait=10`).expect(202);
}, 120_000);
afterAll(() => lab.stop());

const guest = (): EchoTerminal => lab.guests.opened.at(-1) as EchoTerminal;
const typed = (): string => Buffer.concat(guest().typed).toString();
const shows = (running: Running, text: string) =>
  expect.poll(() => running.out, { timeout: 15_000 }).toContain(text);

/** Settings of the terminal before and after a command, between marks. */
const settings = (line: string): string =>
  `stty -g | sed s/^/before:/; ${line}; code=$?; stty -g | sed s/^/after:/; exit $code`;
function expectGivenBack({ out }: { out: string }): void {
  const [before, after] = ['before', 'after'].map((mark) => new RegExp(`${mark}:(\\S+)`).exec(out)?.[1]);
  expect(before).toMatch(/^[0-9a-f:]+$/);
  expect(after).toBe(before);
}

describe('berth console', () => {
  test('carries every key and each new size, leaves with Ctrl-], and gives the terminal back', async () => {
    const running = lab.beginInTerminal(settings('tty | sed s/^/at:/; berth console vm'));
    await shows(running, 'login: ');
    expect(running.out).toContain('console of vm: Ctrl-] leaves it');
    await shows(running, '[100x30]');
    running.type('root\r\u0003\u001a');
    await expect.poll(typed).toBe('root\r\u0003\u001a');
    const tty = /at:(\S+)/.exec(running.out)?.[1] ?? '';
    await lab.run(`stty -F ${tty} cols 120 rows 40`);
    await shows(running, '[120x40]');
    running.type('x\u001dy');
    const { code, out } = await running.ended;
    expect({ code, typed: typed() }).toEqual({ code: 0, typed: 'root\r\u0003\u001ax' });
    expect(out).toContain('left the console of vm, which goes on');
    // The guest had switched bracketed paste on.
    expect(out).toContain('\u001b[?2004l');
    expectGivenBack({ out });
    await expect.poll(() => guest().closed).toBe(true);
  });

  test('gives the terminal back when it is ended from outside', async () => {
    const running = lab.beginInTerminal(settings('sh -c "echo \\$\\$ >pid; exec berth console vm"'));
    await shows(running, 'login: ');
    await lab.run('kill -TERM $(cat pid)');
    const ran = await running.ended;
    expect(ran.code).toBe(143);
    expectGivenBack(ran);
    await expect.poll(() => guest().closed).toBe(true);
  });

  test('ends when the machine does, and says so', async () => {
    const running = lab.beginInTerminal('berth console vm');
    await shows(running, 'login: ');
    running.type('poweroff\r');
    const { code, out } = await running.ended;
    expect(code).toBe(0);
    expect(out).toContain('vm does not run any more');
  });

  test('takes another key to leave, or looks only', async () => {
    const running = lab.beginInTerminal('berth console vm --escape ^a --read-only');
    await shows(running, 'Ctrl-a leaves it');
    await shows(running, 'login: ');
    running.type('rm\u001d\u0001');
    expect((await running.ended).code).toBe(0);
    expect(typed()).toBe('');
    expect(guest().open).toMatchObject({ kind: 'console', readOnly: true });
  });

  test.each([
    ['berth console vm', 2, 'berth logs -f vm'],
    ['berth console vm --escape x', 2, '--escape x is no key'],
  ])('without a terminal, or with a bad key: %s', async (line, code, says) => {
    expect(await lab.run(line)).toMatchObject({ code, err: expect.stringContaining(says) });
  });
  test.each([
    ['berth console box', 5, 'is a container and has no serial console'],
    ['berth console off', 5, 'is stopped and not running'],
    ['berth console nobody', 4, 'nobody'],
  ])('says what is wrong: %s', async (line, code, says) => {
    const { code: ended, out } = await lab.beginInTerminal(settings(line)).ended;
    expect([ended, out]).toEqual([code, expect.stringContaining(says)]);
    expectGivenBack({ out });
  });
});

describe('berth exec', () => {
  test('keeps output and error output apart, and ends with the code of the program', async () => {
    expect(await lab.run('berth exec box -- both')).toEqual({ code: 3, out: 'out\n', err: 'err\n' });
  });
  test('hands on what is piped, up to its end, and nothing without -i', async () => {
    const piped = await lab.run(
      'head -c 3000000 /dev/urandom | tee sent | berth exec -i box -- cat >got && cmp sent got && wc -c <got',
    );
    expect(piped).toEqual({ code: 0, out: '3000000\n', err: '' });
    const closed = await lab.run('echo left | (berth exec box -- cat; cat)');
    expect(closed).toEqual({ code: 0, out: 'left\n', err: '' });
  });
  test('waits for a reader that is slow, and ends with one that goes', async () => {
    const slow = await lab.run('berth exec box -- much | (sleep 1; wc -c)');
    expect(slow).toEqual({ code: 0, out: `${512 * 8192}\n`, err: '' });
    expect(await lab.run('berth exec box -- much | head -c 5')).toEqual({ code: 0, out: '01234', err: '' });
  });
  test('passes environment, user and directory', async () => {
    const { out } = await lab.run('C=here berth exec -e A=b=c --env C box -- env');
    expect(out).toBe('A=b=c\nC=here\n');
    expect((await lab.run('berth exec -u web:staff -w /srv box -- who')).out).toBe('web:staff /srv false\n');
    expect((await lab.run('berth exec -t box -- who')).out).toBe('- - true\n');
  });
  test('-it has the size of this terminal, takes Ctrl-C as a key, and ends with the code', async () => {
    const running = lab.beginInTerminal(settings('berth exec -it box -- sh'));
    await shows(running, '100x30$ ');
    running.type('\u0003\u001dexit 7\r');
    const ran = await running.ended;
    expect(ran.code).toBe(7);
    expect(typed()).toBe('\u0003\u001dexit 7\r');
    expectGivenBack(ran);
  });
  test('-it leaves by a key where one is named, which ends the program', async () => {
    const running = lab.beginInTerminal('berth exec -it --escape ^] box -- sh');
    await shows(running, '$ ');
    running.type('\u001d');
    const { code, out } = await running.ended;
    expect([code, out]).toEqual([130, expect.stringContaining('left; the program is ended')]);
    await expect.poll(() => guest().closed).toBe(true);
  });
  test('Ctrl-C ends the program', async () => {
    const running = lab.begin('berth exec box -- sleep');
    await shows(running, 'asleep');
    running.interrupt();
    expect((await running.ended).code).toBe(130);
    await expect.poll(() => guest().closed).toBe(true);
  });
  test('ends when its container does, and says so', async () => {
    const running = lab.begin('berth exec box -- sleep');
    await shows(running, 'asleep');
    guest().say({ end: { reason: 'workloadEnded', exit: null } });
    expect(await running.ended).toMatchObject({
      code: 1,
      err: 'berth: box stopped running, and the program with it\n',
    });
  });
  test('runs a program in a machine by its guest agent, and tells what that says of the guest', async () => {
    expect(await lab.run('berth exec agent -- both')).toEqual({ code: 3, out: 'out\n', err: 'err\n' });
    const { code, out } = await lab.run('berth guest agent');
    expect([code, out]).toEqual([0, expect.stringContaining('10.1.2.3/24 on eth0, 52:54:00:01:02:03')]);
    expect(out).toContain('Debian GNU/Linux');
    const described = await lab.run('berth get instances');
    expect(described.out).not.toContain('agent in its guest');
  });
  test('says why the host refused it', async () => {
    lab.guests.refusal = new BerthError('stateConflict', 'the image has no user "nobody2"');
    const { code, err } = await lab.run('berth exec -u nobody2 box -- id');
    lab.guests.refusal = null;
    expect([code, err]).toEqual([5, expect.stringContaining('berth: The image has no user "nobody2".')]);
  });
  test.each([
    ['berth exec box -- nonsense', 1, 'did not run: nonsense: not found'],
    ['berth exec vm -- ls', 5, 'No guest agent answers in vm'],
    ['berth guest vm', 5, 'No guest agent answers in vm'],
    ['berth guest box', 5, 'is a container'],
    ['berth exec -t agent -- ls', 5, 'gives a program a terminal'],
    ['berth exec -it box -- sh', 2, '-t needs a terminal'],
    ['berth exec -e NOTHING box -- env', 2, '--env NOTHING has no value'],
    ['berth exec box', 2, "missing required argument 'command'"],
    ['BERTH_API=http://127.0.0.1:1 berth exec box -- ls', 3, 'does not answer'],
  ])('%s ends with %i', async (line, code, says) => {
    expect(await lab.run(line)).toMatchObject({ code, err: expect.stringContaining(says) });
  });
  test('a shell completes the names of instances, and leaves the words behind to files', async () => {
    const tab = (words: string) => lab.run(`berth __complete -- ${words}`).then(({ out }) => out);
    expect(await tab('exec b')).toBe('box\n');
    expect(await tab('exec -it box -- b')).toBe('');
    expect(await tab('exec box -- -')).toBe('');
    expect(await tab('console --sc')).toBe('--scrollback-bytes\n');
  });
});

describe('berth attach', () => {
  test('lends this terminal to a first process that has one, and leaves with Ctrl-]', async () => {
    const running = lab.beginInTerminal(settings('berth attach typed'));
    await shows(running, 'begun 100');
    expect(running.out).toContain('attached to typed: Ctrl-] leaves it, and it goes on');
    running.type('help\r\u0003');
    await expect.poll(typed).toBe('help\r\u0003');
    running.type('\u001d');
    const { code, out } = await running.ended;
    expect(code).toBe(0);
    expect(out).toContain('left typed, which goes on');
    expectGivenBack({ out });
    await expect.poll(() => guest().closed).toBe(true);
  });

  test('hands on what comes on the standard input without its end, and ends with the code of the process', async () => {
    const running = lab.begin('echo one | berth attach fed');
    await shows(running, 'one');
    await expect.poll(typed).toBe('one\n');
    expect(guest().orders).toEqual([]);
    running.interrupt();
    expect(await running.ended).toMatchObject({
      code: 0,
      err: expect.stringMatching(/left fed, which goes on/),
    });
    const { code, err } = await lab.run('echo fail | berth attach fed');
    expect({ code, err }).toMatchObject({ code: 4, err: expect.stringMatching(/fed does not run any more/) });
  });

  test('looks only where there is no input, and says so', async () => {
    const running = lab.begin('echo nothing | berth attach box');
    await shows(running, 'begun without a size');
    running.interrupt();
    const { code, err } = await running.ended;
    expect({ code, typed: typed() }).toEqual({ code: 0, typed: '' });
    expect(err).toContain('it has no input');
    expect(await lab.run('berth attach vm')).toMatchObject({
      code: 5,
      err: expect.stringMatching(/console/),
    });
  });
});
