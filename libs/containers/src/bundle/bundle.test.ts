import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { resources } from './config.js';
import { guestFileRead } from './guest-file.js';
import { limitsOf } from './limits.js';
import { processPlan, signalNumber, stopSignal } from '@berth/runtime';
import { planOf, stopSignalOf } from './system.js';
import { userResolve } from './user.js';

const image = { entrypoint: ['/entry'], cmd: ['a', 'b'], env: ['A=1', 'B=2'], user: '', workdir: '' };

describe('the process of a container', () => {
  it('takes entrypoint and cmd of the image, and args in place of cmd', () => {
    expect(processPlan(image, null, 'h').args).toEqual(['/entry', 'a', 'b']);
    expect(processPlan(image, { args: ['c'] }, 'h').args).toEqual(['/entry', 'c']);
  });
  it('drops the image’s cmd with its entrypoint when a command is given', () => {
    expect(processPlan(image, { command: ['/own'] }, 'h').args).toEqual(['/own']);
  });
  it('overrides environment by name and always has a PATH', () => {
    const { env } = processPlan(image, { env: { B: 'x=y' } }, 'h');
    expect(env).toContain('A=1');
    expect(env).toContain('B=x=y');
    expect(env).not.toContain('B=2');
    expect(env.filter((e) => e.startsWith('PATH='))).toHaveLength(1);
  });
  it.each(['/proc/self/fd/7', '/a/../proc', 'relative', '/sys', '/x\0'])(
    'refuses to work in %j',
    (workdir) => {
      expect(() => processPlan({ ...image, workdir }, null, 'h')).toThrow(/working directory/);
    },
  );
  it('refuses an image with nothing to run', () => {
    expect(() => processPlan({ ...image, entrypoint: [], cmd: [] }, null, 'h')).toThrow(/no command/);
  });
  it.each([
    ['SIGQUIT', 'QUIT'],
    ['SIGRTMIN+3', 'RTMIN+3'],
    ['15', '15'],
    ['--help', 'TERM'],
    ['999', 'TERM'],
    [undefined, 'TERM'],
  ])('stops with signal %s as %s', (asked, signal) => {
    const own = { ...image, ...(asked === undefined ? {} : { stopSignal: asked }) };
    expect(stopSignal(own, null)).toBe(signal);
    expect(stopSignal(own, { stopSignal: 'SIGUSR1' })).toBe('USR1');
    expect(stopSignal(own, { stopSignal: 'RTMIN+3' })).toBe('RTMIN+3');
  });
});

describe('the user of a container', () => {
  const files = {
    passwd: 'root:x:0:0::/root:\nweb:x:101:102::/:\nhuge:x:70000:0::/:\nbroken\n',
    group: 'root:x:0:\nlogs:x:104:root,web\nweb:x:102:web\n',
  };
  it.each([
    ['', { uid: 0, gid: 0, additionalGids: [104] }],
    ['web', { uid: 101, gid: 102, additionalGids: [104] }],
    ['101', { uid: 101, gid: 102, additionalGids: [104] }],
    ['web:logs', { uid: 101, gid: 104, additionalGids: [] }],
    ['4242', { uid: 4242, gid: 0, additionalGids: [] }],
    ['4242:7', { uid: 4242, gid: 7, additionalGids: [] }],
  ])('%j is resolved by the image’s own files', (wanted, ids) => {
    expect(userResolve(wanted, files)).toEqual(ids);
  });
  it.each(['nobody', 'web:none', '65536', 'huge', '1:70000'])('%j is refused', (wanted) => {
    expect(() => userResolve(wanted, files)).toThrow();
  });
  it('never yields an id outside the range, whatever the files hold', () => {
    fc.assert(
      fc.property(
        fc.string(),
        fc.string(),
        fc.stringMatching(/^[a-z0-9]{1,5}(:[a-z0-9]{1,5})?$/),
        (p, g, wanted) => {
          try {
            const { uid, gid, additionalGids } = userResolve(wanted, { passwd: p, group: g });
            for (const id of [uid, gid, ...additionalGids])
              expect(id).toSatisfy((n: number) => n >= 0 && n < 65_536);
          } catch (error) {
            expect(error).toMatchObject({ code: 'badImage' });
          }
        },
      ),
    );
  });
});

describe("a guest's file read from the host", () => {
  const base = mkdtempSync(join(tmpdir(), 'guest-'));
  const root = join(base, 'root');
  mkdirSync(join(root, 'etc', 'deep'), { recursive: true });
  writeFileSync(join(base, 'secret'), 'secret');
  writeFileSync(join(root, 'secret'), 'inside');
  afterAll(() => rmSync(base, { recursive: true }));

  it.each([
    ['an absolute link', '/secret'],
    ['a link with too many parents', '../../../../../../secret'],
  ])('follows %s below the guest’s root only', (_, target) => {
    rmSync(join(root, 'etc', 'passwd'), { force: true });
    symlinkSync(target, join(root, 'etc', 'passwd'));
    expect(guestFileRead(root, '/etc/passwd')).toBe('inside');
  });
  it('follows a linked directory below the root only', () => {
    symlinkSync(base, join(root, 'etc', 'out'));
    expect(guestFileRead(root, '/etc/out/secret')).toBeNull();
  });
  it('ends at a loop of links', () => {
    symlinkSync('loop', join(root, 'loop'));
    expect(() => guestFileRead(root, '/loop')).toThrow(/too many symbolic links/);
  });
  it('refuses what is no regular file', () => {
    expect(() => guestFileRead(root, '/etc/deep')).toThrow(/no regular file/);
  });
});

describe('cgroup limits', () => {
  const host = { swapAccounting: true };
  const rendered = (spec: Parameters<typeof limitsOf>[0], more: object = {}) =>
    resources(limitsOf(spec, { ...host, ...more }));
  it('cap processor time, memory with swap, and processes', () => {
    expect(rendered({ memoryMiB: 64, cpuMillis: 250 })).toMatchObject({
      memory: { limit: 67_108_864, swap: 67_108_864 },
      cpu: { shares: 256, quota: 25_000, period: 100_000 },
      pids: { limit: 4096 },
    });
  });
  it('without a cap give a share only, and no swap limit where the host counts no swap', () => {
    const { cpu, memory, pids } = rendered({ memoryMiB: 4, cpuMillis: null }, { swapAccounting: false });
    expect(cpu).toEqual({ shares: 102 });
    expect(memory).toEqual({ limit: 4_194_304 });
    expect(pids).toEqual({ limit: 4096 });
  });
  it('are those of its resources, which leave its cap alone', () => {
    const asked = { pids: 64, cpuWeight: 1000, cpus: '0-3,8' };
    const { cpu, pids } = rendered({ memoryMiB: 4, cpuMillis: 500, resources: asked });
    expect(cpu).toEqual({ shares: 1024, quota: 50_000, period: 100_000, cpus: '0-3,8' });
    expect(pids).toEqual({ limit: 64 });
  });
  it('bound each of its disks, and nothing where none is asked for', () => {
    const disks = [
      { major: 7, minor: 3 },
      { major: 8, minor: 0 },
    ];
    const io = { readMiBPerSecond: 2, writeOperationsPerSecond: 50, weight: 500 };
    const at = (rate: number) => disks.map((disk) => ({ ...disk, rate }));
    expect(rendered({ memoryMiB: 4, cpuMillis: null, resources: { io } }, { disks }).blockIO).toEqual({
      weight: 500,
      throttleReadBpsDevice: at(2_097_152),
      throttleWriteIOPSDevice: at(50),
    });
    for (const resources of [undefined, {}, { io: {} }])
      expect(rendered({ memoryMiB: 4, cpuMillis: null, resources }, { disks })).not.toHaveProperty('blockIO');
  });
  it('take memory back before the limit, and let as much into swap as is said', () => {
    const spec = { memoryMiB: 64, cpuMillis: null, resources: { memoryHighMiB: 48, swapMiB: 16 } };
    const { memory, unified } = rendered(spec);
    expect(memory).toEqual({ limit: 67_108_864, swap: 83_886_080 });
    expect(unified).toEqual({ 'memory.high': '50331648' });
    expect(rendered(spec, { swapAccounting: false }).memory).toEqual({ limit: 67_108_864 });
    expect(rendered({ memoryMiB: 64, cpuMillis: null })).not.toHaveProperty('unified');
  });
  it('keep every weight within what the kernel takes', () => {
    for (const [cpuWeight, shares] of [
      [10, 10],
      [256_000, 262_144],
    ] as const)
      expect(rendered({ memoryMiB: 4, cpuMillis: null, resources: { cpuWeight } }).cpu).toEqual({ shares });
  });
});

describe('a system container', () => {
  const spec = {
    name: 'h',
    uuid: '11111111-2222-4333-8444-555555555555',
    system: true,
    process: null,
  } as never;
  const bare = { process: { ...image, entrypoint: [], cmd: [] } };
  it('runs the init of its image, or the usual one, and is told that it is in a container', () => {
    expect(planOf(spec, bare).args).toEqual(['/sbin/init']);
    expect(planOf(spec, { process: image }).args).toEqual(['/entry', 'a', 'b']);
    expect(planOf(spec, bare).env).toEqual(
      expect.arrayContaining(['container=berth', 'container_uuid=11111111-2222-4333-8444-555555555555']),
    );
    expect(() => planOf({ name: 'h', process: null } as never, bare)).toThrow(/no command/);
  });
  it.each([
    [undefined, null, 'RTMIN+3'],
    ['SIGPWR', null, 'PWR'],
    [undefined, { stopSignal: 'SIGUSR1' }, 'USR1'],
  ])('whose image says %s and whose spec %j is stopped by %s', (said, process, signal) => {
    const own = { process: { ...image, ...(said === undefined ? {} : { stopSignal: said }) } };
    expect(stopSignalOf({ system: true, process } as never, own)).toBe(signal);
  });
});

it.each([
  ['TERM', 15],
  ['KILL', 9],
  ['RTMIN+3', 37],
  ['RTMAX-1', 63],
  ['12', 12],
])('the signal %s has the number %i', (name, number) => expect(signalNumber(name)).toBe(number));
