import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, statSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { randomInt, randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { OciContent } from '@berth/images';
import { cgroupProcessors, cgroupUsage, isCapable, run } from '@berth/linux';
import type { WorkloadSpec } from '@berth/runtime';
import { ContainerLab, cgroupsNamed, context } from './testing/container-lab.js';
import { perlLayer } from './testing/hostile-image.js';
import { find, logText, logUntil, untilEnded, up } from './testing/workload-steps.js';

/** What one container can do to the next, and to the host, by using too much or by finding it. */
const lab = new ContainerLab();
const PIDS = 64;
const runtime = lab.runtime();
let perl: OciContent;
let made: WorkloadSpec[] = [];
beforeAll(async () => {
  await lab.open();
  perl = await lab.imageMake({ layer: perlLayer() });
});
afterEach(async () => {
  for (const spec of made) await runtime.remove(spec, context());
  made = [];
});
afterAll(() => lab.close());

async function runs(script: string, change: Partial<WorkloadSpec> = {}): Promise<WorkloadSpec> {
  const spec = lab.spec(script, change);
  made.push(spec);
  await up(runtime, spec);
  return spec;
}

/** What a shell script in the namespaces of a process prints. */
const inside = async (pid: number, script: string): Promise<string> =>
  (await run('nsenter', ['-t', String(pid), '-a', '--', '/bin/sh', '-c', script])).stdout;

/** A neighbour that answers: what it is asked to run, it runs. */
class Neighbour {
  constructor(
    readonly spec: WorkloadSpec,
    readonly pid: number,
  ) {}
  static async start(): Promise<Neighbour> {
    const spec = await runs('echo ready; while :; do sleep 1; done');
    await logUntil(runtime, spec, 'ready');
    return new Neighbour(spec, (await find(runtime, spec))?.pid ?? 0);
  }
  async answers(): Promise<void> {
    expect(await inside(this.pid, 'sleep 0; hostname')).toBe(`${this.spec.name}\n`);
    expect(await find(runtime, this.spec)).toMatchObject({ phase: 'running', pid: this.pid });
  }
}

const cgroupOf = (spec: WorkloadSpec) => `berth-${lab.hostTag}/${spec.instanceId}.${spec.epoch}`;

describe('a container that takes all it can get', () => {
  it('forks no more than its limit allows, while host and neighbour go on, and can be ended', async () => {
    const neighbour = await Neighbour.start();
    const command = ['/usr/bin/perl', '-e', 'while (1) { fork }'];
    const resources = { pids: PIDS };
    const bomb = await runs('', {
      image: perl,
      process: { command },
      resources,
      memoryMiB: 256,
      cpuMillis: 300,
    });
    const pids = () => cgroupUsage(cgroupOf(bomb)).pids;
    await expect.poll(pids, { timeout: 15_000, interval: 50 }).toBeGreaterThan(PIDS - 3);
    for (let round = 0; round < 5; round += 1) {
      expect(pids()).toBeLessThanOrEqual(PIDS);
      await neighbour.answers();
      expect((await run('true', [])).stdout).toBe('');
    }
    await runtime.stop(bomb, 0, context());
    expect((await find(runtime, bomb))?.exit?.reason).toBe('killed');
    expect(cgroupsNamed(bomb.instanceId)).toEqual([]);
  });

  it('gets no more of the processors than its cap, and runs on those that it is bound to', async () => {
    const one = (await cgroupProcessors())?.split(/[-,]/)[0] ?? '';
    const burn = 'while :; do :; done';
    // Its root cannot bind itself elsewhere.
    const hog = await runs(`busybox taskset -p ff 1; for i in 1 2 3; do (${burn}) & done; ${burn}`, {
      cpuMillis: 200,
      resources: { cpus: one },
    });
    const used = () => cgroupUsage(cgroupOf(hog)).cpuMicros;
    const [before, begun] = [used(), performance.now()];
    await expect.poll(used, { timeout: 60_000, interval: 50 }).toBeGreaterThan(before + 300_000);
    const got = used() - before;
    // A period that was half over when we began to look, and the one under way, may have been used up whole.
    expect(got).toBeLessThanOrEqual(200 * (performance.now() - begun) + 2 * 20_000);
    const { pid } = (await find(runtime, hog)) ?? {};
    const allowed = readFileSync(`/proc/${pid}/status`, 'utf8');
    expect(allowed).toMatch(new RegExp(`^Cpus_allowed_list:\\t${one}$`, 'm'));
  });

  it('cannot raise a limit through a cgroup tree of its own, which it sees where it may hold containers', async () => {
    const [CLONE, UNSHARE, MOUNT] = [
      0x12020000,
      process.arch === 'arm64' ? 97 : 272,
      process.arch === 'arm64' ? 40 : 165,
    ];
    // Users, mounts and cgroups of its own: then the kernel lets it mount what it is in.
    const program = `$| = 1; my ($none, $at, $v1, $v2, $pids) = qw(none /tree cgroup cgroup2 pids); mkdir "/tree"; syscall(${UNSHARE}, ${CLONE}) == 0 or die "no namespaces: $!";
      print "mounted\n" if syscall(${MOUNT}, $none, $at, $v1, 0, $pids) == 0 || syscall(${MOUNT}, $none, $at, $v2, 0, 0) == 0;
      my $f; open($f, "<", "/tree/pids.max") and print "limit ", <$f>;
      print "raised\n" if open(my $w, ">", "/tree/pids.max") || mkdir("/tree/more");
      print "end\n"; sleep 600`;
    const nested = await runs('', {
      image: perl,
      process: { command: ['/usr/bin/perl', '-e', program] },
      security: { nesting: true },
      resources: { pids: PIDS },
    });
    expect(await logUntil(runtime, nested, 'end\n')).toMatch(new RegExp(`^mounted\n(limit ${PIDS}\n)?end\n`));
    expect((await runtime.limits?.(nested))?.pids).toBe(PIDS);
  });

  it('is alone killed for its memory, and the end says why', async () => {
    const neighbour = await Neighbour.start();
    const hog = await runs('x=0123456789abcdef; while :; do x=$x$x; done', {
      memoryMiB: 24,
      cpuMillis: null,
    });
    const { exit } = await untilEnded(runtime, hog);
    expect(exit).toMatchObject({ reason: 'oomKilled', memory: { limitBytes: 24 * 2 ** 20 } });
    expect(exit?.memory?.peakBytes).toBeGreaterThan(20 * 2 ** 20);
    expect(exit?.memory?.peakBytes).toBeLessThanOrEqual(24 * 2 ** 20);
    expect(exit?.message).toMatch(/its limit is 24 MiB, and the most that it held was 2[0-9.]+ MiB$/);
    await neighbour.answers();
    expect(cgroupUsage(cgroupOf(neighbour.spec)).oomKills).toBe(0);
  });

  it.each(['/dev/shm', '/dev', '/tmp/../dev/mqueue'])(
    'cannot fill the host’s memory through %s',
    async (path) => {
      const neighbour = await Neighbour.start();
      const fill = `busybox dd if=/dev/zero of=${path}/fill bs=1M count=256 2>&1; echo ended $?; busybox ls -l ${path}`;
      const hog = await runs(fill, { memoryMiB: 32, cpuMillis: null });
      const { exit } = await untilEnded(runtime, hog);
      // Files in memory count as its own: the limit ends the writer or the whole container, never less than nothing.
      if (exit?.reason !== 'oomKilled') expect(await logText(runtime, hog)).toMatch(/ended [1-9]/);
      await neighbour.answers();
    },
  );

  it('fills its own disk and nothing else', async () => {
    const write = (name: string) =>
      `busybox dd if=/dev/zero of=/${name} bs=1M count=8 conv=fsync 2>&1; echo ended $?`;
    const neighbour = await Neighbour.start();
    const rootVolume = { ...lab.spec('').rootVolume, sizeMiB: 64 };
    const hog = await runs(
      `test -e /fill || busybox dd if=/dev/zero of=/fill bs=1M count=256 2>&1; ${write('more')}; sleep 60`,
      {
        rootVolume,
      },
    );
    const log = await logUntil(runtime, hog, 'ended');
    expect(log).toContain('No space left on device');
    expect(log).toContain('ended 1');
    const used = statSync(join(lab.root, 'volumes', rootVolume.id, 'layer.ext4')).blocks * 512;
    expect(used).toBeLessThanOrEqual(64 * 2 ** 20);
    expect(await inside(neighbour.pid, write('fill'))).toContain('ended 0');

    // Larger, at once where the kernel lets us, else from the next start on; its files are those it had.
    const larger = { ...hog, rootVolume: { ...rootVolume, sizeMiB: 128 } };
    const has = await runtime.update?.(larger, context());
    expect(has?.volumes).toEqual([isCapable('sys_resource') ? larger.rootVolume : rootVolume]);
    expect(has?.unsettled.map(({ field }) => field)).toEqual(
      isCapable('sys_resource') ? [] : ['rootDisk.sizeMiB'],
    );
    await runtime.stop(hog, 0, context());
    await runtime.start(larger, context());
    expect(await logUntil(runtime, hog, 'ended 0')).toContain('No space left on device');
  });

  it('cannot have more files than its disk has room for', async () => {
    const make = 'i=0; while echo > /many-$i; do i=$((i+1)); done 2>/dev/null; echo made $i';
    const rootVolume = { ...lab.spec('').rootVolume, sizeMiB: 16 };
    const spec = await runs(make, { rootVolume, cpuMillis: null });
    await untilEnded(runtime, spec);
    expect(Number(/made (\d+)/.exec(await logText(runtime, spec))?.[1])).toBeLessThan(2048);
  });
});

describe('an abstract socket', () => {
  /** Connects to it from a network namespace; exit status 0 when somebody answers. */
  const connect = (name: string) =>
    `socket(S, 1, 1, 0) or exit 90; connect(S, pack("S a*", 1, "\\0${name}")) or exit($! + 0); exit 0`;
  const listen = (name: string) =>
    `$| = 1; socket(S, 1, 1, 0); bind(S, pack("S a*", 1, "\\0${name}")) or die; listen(S, 8); print "ready\\n"; sleep 600`;
  const ECONNREFUSED = 111;
  const attempt = async (name: string) => {
    const spec = await runs('', {
      image: perl,
      process: { command: ['/usr/bin/perl', '-e', connect(name)] },
    });
    return (await untilEnded(runtime, spec)).exit;
  };

  it('of the host is out of reach', async () => {
    const name = `berth-${randomUUID()}`;
    const server = spawn('perl', ['-e', listen(name)], { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      await once(server.stdout, 'data');
      await run('perl', ['-e', connect(name)]); // it is there
      expect(await attempt(name)).toMatchObject({ reason: 'exited', code: ECONNREFUSED });
    } finally {
      server.kill('SIGKILL');
    }
  });

  it('of a neighbour is out of reach, and of its own is not', async () => {
    const name = `berth-${randomUUID()}`;
    const command = ['/usr/bin/perl', '-e', listen(name)];
    const neighbour = await runs('', { image: perl, process: { command } });
    await logUntil(runtime, neighbour, 'ready');
    const pid = (await find(runtime, neighbour))?.pid ?? 0;
    await run('nsenter', ['-t', String(pid), '-n', '--', 'perl', '-e', connect(name)]);
    await expect(run('perl', ['-e', connect(name)])).rejects.toMatchObject({ exitCode: ECONNREFUSED });
    expect(await attempt(name)).toMatchObject({ reason: 'exited', code: ECONNREFUSED });
  });
});

it('a container sees no process and no mount of a neighbour', async () => {
  const neighbour = await Neighbour.start();
  const look =
    'for p in /proc/[0-9]*; do cat $p/cmdline | tr "\\\\0" " "; echo; done; cat /proc/self/mountinfo; echo end';
  const spec = await runs(look);
  const log = await logUntil(runtime, spec, 'end\n');
  expect(log).toContain('/bin/sh -c');
  expect(log).not.toContain('sleep 1');
  expect(log).not.toContain(neighbour.spec.instanceId);
  expect(readFileSync(`/proc/${neighbour.pid}/mountinfo`, 'utf8')).not.toContain(spec.instanceId);
  await neighbour.answers();
});

describe('what a neighbour and the host have for themselves', () => {
  const ENOENT = 2;
  const ESRCH = 3;
  const ECONNREFUSED = 111;
  /** What a program in perl answers for each of its attempts, in a container of its own: `reached`, or an errno. */
  const attempts = async (program: string): Promise<string[]> => {
    const told = `$| = 1; sub told { print($_[0] ? "reached" : $! + 0, "\\n") } ${program}; print "end\\n"`;
    const spec = await runs('', { image: perl, process: { command: ['/usr/bin/perl', '-e', told] } });
    await untilEnded(runtime, spec);
    return (await logText(runtime, spec)).trim().split('\n');
  };
  const as = (...where: string[]) => ({
    perl: (program: string) => run('nsenter', [...where, '--', 'perl', '-e', program]),
  });

  it('of IPC is out of reach: shared memory, queues and semaphores, by key and by name', async () => {
    const key = randomInt(1, 2 ** 31);
    const name = `berth-${randomUUID()}`;
    const make = `my @ids = (shmget(${key}, 64, 01600) // die, msgget(${key}, 01600) // die, semget(${key}, 1, 01600) // die)`;
    const look = `told(defined shmget(${key}, 0, 0)); told(defined msgget(${key}, 0)); told(defined semget(${key}, 0, 0))`;
    const named = ['/dev/mqueue', '/dev/shm'].map((dir) => `${dir}/${name}`);
    const open = named.map((path) => `told(sysopen(F, "${path}", 0))`).join(';');
    const create = named.map((path) => `sysopen(F, "${path}", 0101) or die`).join(';');
    const command = ['/usr/bin/perl', '-e', `$| = 1; ${make}; ${create}; print "ready\\n"; sleep 600`];
    const neighbour = await runs('', { image: perl, process: { command } });
    await logUntil(runtime, neighbour, 'ready');
    const pid = String((await find(runtime, neighbour))?.pid ?? 0);
    // They are there for who is in its namespace.
    expect((await as('-t', pid, '-i').perl(`sub told { print $_[0] ? 1 : 0 } ${look}`)).stdout).toBe('111');
    const nothing = [...Array.from({ length: 5 }, () => String(ENOENT)), 'end'];
    expect(await attempts(`${look}; ${open}`)).toEqual(nothing);

    const remove = 'shmctl($ids[0], 0, 0); msgctl($ids[1], 0, 0); semctl($ids[2], 0, 0, 0)';
    const host = spawn('perl', ['-e', `$| = 1; ${make}; print "ready\\n"; <STDIN>; ${remove}`]);
    try {
      await once(host.stdout, 'data');
      expect(await attempts(look)).toEqual([...nothing.slice(2)]);
    } finally {
      const gone = once(host, 'exit');
      host.stdin.end();
      await gone;
    }
  });

  it('of signals is out of reach: by its number, and when all are signalled', async () => {
    const neighbour = await Neighbour.start();
    const host = spawn('sleep', ['600'], { stdio: 'ignore' });
    try {
      const pids = [neighbour.pid, host.pid ?? 0, process.pid];
      const each = pids.map((pid) => `told(kill(9, ${pid})); told(kill(-9, ${pid}))`).join(';');
      expect(await attempts(`${each}; kill(9, -1)`)).toEqual([
        ...pids.flatMap(() => [String(ESRCH), String(ESRCH)]),
        'end',
      ]);
      await neighbour.answers();
      expect(host.exitCode ?? host.signalCode).toBeNull();
    } finally {
      const gone = once(host, 'exit');
      host.kill('SIGKILL');
      await gone;
    }
  });

  it('of the network is out of reach: what listens on a loopback, other interfaces, another address', async () => {
    const at = (port: number | string): string => `pack('S n C4 x8', 2, ${port}, 127, 0, 0, 1)`;
    const connect = (port: number): string => `socket(S, 2, 1, 0) or die; told(connect(S, ${at(port)}))`;
    const port = randomInt(20_000, 30_000);
    const serve = `$| = 1; socket(S, 2, 1, 0); bind(S, ${at(port)}) or die; listen(S, 8); print "ready\\n"; sleep 600`;
    const neighbour = await runs('', { image: perl, process: { command: ['/usr/bin/perl', '-e', serve] } });
    await logUntil(runtime, neighbour, 'ready');
    const pid = String((await find(runtime, neighbour))?.pid ?? 0);
    expect((await as('-t', pid, '-n').perl(`sub told { print $_[0] ? 1 : 0 } ${connect(port)}`)).stdout).toBe(
      '1',
    );
    const host = createServer().listen(0, '127.0.0.1');
    await once(host, 'listening');
    try {
      const open = (host.address() as AddressInfo).port;
      const refused = String(ECONNREFUSED);
      expect(await attempts(`${connect(port)}; ${connect(open)}`)).toEqual([refused, refused, 'end']);
    } finally {
      host.close();
    }
    const { ipv4 } = neighbour.nics[0] ?? {};
    const change = [
      `ip addr add ${ipv4}/24 dev eth0`,
      'ip link set dev eth0 address 02:00:00:00:00:01',
      'ip route add default dev lo',
    ];
    const spec = await runs(`${change.map((c) => `${c} && echo changed`).join('; ')}; ip addr; echo end`);
    const log = await logUntil(runtime, spec, 'end\n');
    expect([...log.matchAll(/^\d+: ([^:@]+)/gm)].map(([, name]) => name).sort()).toEqual(['eth0', 'lo']);
    expect(log).not.toContain('changed');
    expect(log).not.toContain(`${ipv4}/`);
    expect(log).toContain(`${spec.nics[0]?.ipv4}/`);
    expect(log).toContain(`link/ether ${spec.nics[0]?.mac}`);
  });
});
