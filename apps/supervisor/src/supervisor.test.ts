import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isAlive, processIdentity } from '@berth/linux';
import { describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { backoffMs } from './backoff.js';
import { groupsRemove } from './cgroup-tree.js';
import { Component } from './component.js';
import { eachTried } from './fleet.js';
import { configFrom, nameFromHostname } from './config.js';
import { cgroupDirs, labAddresses } from './lab.js';
import { hostUuid } from './libvirt.js';
import { postgresMajorFor } from './postgres.js';
import { Name } from '@berth/model';
import { span, table } from './table.js';

describe('configuration', () => {
  it('takes the environment before the file, and the file before the defaults', () => {
    const c = configFrom(
      { api: { apiPort: 1, linkPort: 2 }, supervisor: { linkPort: 3 } },
      { BERTH_API_PORT: '4' },
      'h',
      'f',
    );
    expect(c).toMatchObject({ apiPort: 4, linkPort: 3, logMaxMiB: 16 });
  });
  it('names every bad key and where it came from', () => {
    const bad = () =>
      configFrom({ supervisor: { linkPort: 0, colour: 1 } }, { BERTH_API_PORT: 'x' }, 'h', 'berth.yaml');
    expect(bad).toThrow(/linkPort \(berth.yaml\)/);
    expect(bad).toThrow(/apiPort \(environment variable BERTH_API_PORT\)/);
    expect(bad).toThrow(/colour: unknown key/);
  });
  it('leaves the keys that only the API knows to the API', () => {
    expect(configFrom({ api: { logLevel: 'debug' } }, {}, 'h', 'f')).toMatchObject({ apiPort: 7070 });
  });
  it('makes a legal host name of any machine name', () => {
    fc.assert(fc.property(fc.string(), (s) => Name.safeParse(nameFromHostname(s)).success));
    expect(nameFromHostname('Node_7.example.org')).toBe('node-7');
  });
});

describe('starting again', () => {
  it('pauses longer after each failure and never longer than it was told', () => {
    fc.assert(
      fc.property(fc.nat(200), fc.integer({ min: 250, max: 60_000 }), (n, max) => {
        expect(backoffMs(n + 1, max)).toBeGreaterThanOrEqual(backoffMs(n, max));
        expect(backoffMs(n, max)).toBeLessThanOrEqual(max);
      }),
    );
    expect(backoffMs(0, 30_000)).toBe(250);
    expect(backoffMs(3, 30_000)).toBe(2000);
  });
});

describe('going down', () => {
  const step = (name: string, log: string[], failure?: string) => ({
    name,
    remedy: `look after ${name}`,
    run: () => {
      log.push(name);
      return failure === undefined ? Promise.resolve() : Promise.reject(new Error(failure));
    },
  });
  it('goes on after what does not end, and tells it with what to do', async () => {
    const log: string[] = [];
    const failures = await eachTried([
      step('agent', log),
      step('api', log, 'it hangs'),
      step('postgres', log),
      step('lab', log, 'held'),
    ]);
    expect(log).toEqual(['agent', 'api', 'postgres', 'lab']);
    expect(failures).toEqual(['api: it hangs\n  -> look after api', 'lab: held\n  -> look after lab']);
  });
  it('ends a component whose readiness never answers', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'berth-component-'));
    const never = new Promise<null>(() => undefined);
    const spec = {
      ...{ name: 'deaf', command: 'sleep', args: () => ['1000'], outlives: false },
      ...{ logFile: join(dir, 'log'), record: join(dir, 'record.json') },
      ...{ stopSignal: 'SIGTERM' as const, stopTimeoutMs: 5000 },
      ready: () => never,
    };
    const component = new Component(spec, () => undefined, 30_000);
    component.start();
    await expect.poll(() => component.status().pid).not.toBeNull();
    const identity = processIdentity(component.status().pid!)!;
    await component.stop();
    expect(isAlive(identity)).toBe(false);
    expect(existsSync(spec.record)).toBe(false);
    rmSync(dir, { recursive: true });
  });
  it('leaves no cgroup of a lab host, also when something still runs in it', async () => {
    const { mount } = cgroupDirs(readFileSync('/proc/self/mountinfo', 'utf8')).find(
      (m) => m.type === 'cgroup2' || m.options.includes('freezer'),
    )!;
    const dir = join(mount, `berth-lab-test-${process.pid}`);
    mkdirSync(join(dir, 'below'), { recursive: true });
    const child = spawn('sleep', ['1000'], { stdio: 'ignore' });
    const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    writeFileSync(join(dir, 'below', 'cgroup.procs'), String(child.pid));
    await groupsRemove([dir, join(mount, 'berth-lab-never-made')]);
    expect(existsSync(dir)).toBe(false);
    await ended;
  });
});

describe('postgres', () => {
  it('refuses a cluster of a version that is not installed, and says what to do', () => {
    expect(() => postgresMajorFor('14', [15])).toThrow(/made by Postgres 14.*postgresql-14.*pg_upgrade/s);
  });
  it('serves an old cluster with its own version and a new one with the newest', () => {
    expect(postgresMajorFor('15', [17, 15])).toBe(15);
    expect(postgresMajorFor(null, [17, 15])).toBe(17);
    expect(() => postgresMajorFor(null, [])).toThrow(/DATABASE_URL/);
  });
});

describe('lab hosts', () => {
  it('get addresses that no two share', () => {
    const all = Array.from({ length: 60 }, (_, i) => labAddresses('/srv/a', i + 2)).flatMap((a) => [
      a.machine,
      a.host,
    ]);
    expect(new Set(all).size).toBe(all.length);
    expect(() => labAddresses('/srv/a', 1)).toThrow(RangeError);
  });
  it('find every cgroup hierarchy in mountinfo', () => {
    const text =
      '30 20 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n31 30 0:27 / /sys/fs/cgroup/memory rw,nosuid shared:5 - cgroup cgroup rw,memory\n' +
      '32 30 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n33 30 0:29 / /mnt rw - cgroup cgroup rw,pids\n';
    expect(cgroupDirs(text).map((c) => [c.mount, c.type])).toEqual([
      ['/sys/fs/cgroup/memory', 'cgroup'],
      ['/sys/fs/cgroup/unified', 'cgroup2'],
    ]);
  });
  it('have UUIDs that stay and differ', () => {
    expect(hostUuid('m\n', '/a')).toBe(hostUuid('m', '/a'));
    expect(hostUuid('m', '/a')).not.toBe(hostUuid('m', '/b'));
    expect(hostUuid('m', '/a')).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$/);
  });
});

describe('tables', () => {
  it('line up columns and show spans in two units', () => {
    expect(table(['A', 'B'], [['xxx', 'y']])).toBe('A    B\nxxx  y');
    expect(table(['A'], [['\u001b[2Jx\n\u009b\u202ey']])).toBe('A\n?[2Jx???y');
    expect([span(0), span(61_000), span(90_061_000)]).toEqual(['0s', '1m1s', '1d1h']);
  });
});
