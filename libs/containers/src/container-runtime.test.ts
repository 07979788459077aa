import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync, readdirSync, readlinkSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cgroupProcessors, deviceParts, mounts, processIdentity, run, signalProcess } from '@berth/linux';
import { LogFrames } from '@berth/model';
import type { WorkloadSpec } from '@berth/runtime';
import { ContainerLab, cgroupsNamed, context, processesNamed } from './testing/container-lab.js';
import { find, logText, logUntil, untilEnded, up } from './testing/workload-steps.js';

/** In the group that a line of proc_pid_cgroup(5) names. */
function cpuSharesOf(groups: string): number {
  const group = /^\d+:(?:[^:]*,)?cpu(?:,[^:]*)?:(.*)$/m.exec(groups)?.[1] ?? '';
  return Number(readFileSync(join('/sys/fs/cgroup/cpu', group, 'cpu.shares'), 'utf8'));
}

const IDLE = `trap 'exit 0' TERM; echo ready; while :; do sleep 60 & wait $!; done`;

describe('a container on this host', () => {
  const lab = new ContainerLab();
  const runtime = lab.runtime();
  beforeAll(() => lab.open());
  afterAll(() => lab.close());

  it('has its own pid 1, host name, network and uid range, and the limits asked for', async () => {
    const spec = lab.spec(IDLE, { name: 'alpha' as never, cpuMillis: 250, memoryMiB: 48 });
    const pid = await up(runtime, spec);
    await logUntil(runtime, spec, 'ready');
    const inside = async (...command: string[]): Promise<string> =>
      (await run('nsenter', ['-t', String(pid), '-a', '--', ...command])).stdout.trim();

    expect(await inside('/bin/cat', '/proc/1/cmdline')).toContain('/bin/sh');
    expect(await inside('/bin/hostname')).toBe('alpha');
    expect(await inside('/bin/cat', '/etc/hosts')).toContain(spec.nics[0]?.ipv4);
    const links = await inside('/bin/ip', 'addr');
    expect(links).toContain(`inet ${spec.nics[0]?.ipv4}/24`);
    expect(links).toContain(spec.nics[0]?.mac);
    expect(await inside('/bin/ping', '-c', '1', '-w', '5', spec.networks[0]?.gateway ?? '')).toContain(
      '0% packet loss',
    );

    const [map] = readFileSync(`/proc/${pid}/uid_map`, 'utf8').trim().split('\n');
    const [first, host, count] = (map ?? '').trim().split(/\s+/).map(Number) as [number, number, number];
    expect([first, count]).toEqual([0, 65_536]);
    expect(host).toBeGreaterThanOrEqual(0x1000_0000);
    expect(statSync(join(lab.root, 'volumes', spec.rootVolume.id, 'layer', 'upper')).uid).toBe(host);
    for (const kind of ['mnt', 'pid', 'net', 'ipc', 'uts', 'user', 'cgroup'])
      expect(readlinkSync(`/proc/${pid}/ns/${kind}`), kind).not.toBe(readlinkSync(`/proc/self/ns/${kind}`));
    expect(await runtime.limits?.(spec)).toEqual({
      memoryBytes: 48 * 1024 * 1024,
      cpuMillis: 250,
      pids: 4096,
    });
  });

  it('has a nic on each of its networks in their order, goes out by the first, and leaves none of them behind', async () => {
    const plain = lab.spec(IDLE);
    const [first] = plain.networks;
    const [nic] = plain.nics;
    if (first === undefined || nic === undefined) throw new Error('a spec of the lab has a nic');
    const far = { id: randomUUID() as never, mac: '02:be:00:00:01:09', ipv4: '10.213.77.9' };
    const lease = { name: plain.name, mac: far.mac, ipv4: far.ipv4, secondary: true as const };
    const place = { cidr: '10.213.77.0/28', gateway: '10.213.77.1' };
    const second = { id: far.id, project: 'test', name: 'back', ...place, leases: [lease] };
    const spec = {
      ...plain,
      networks: [second as typeof first, first],
      nics: [nic, { ...far, id: randomUUID() as never, networkId: second.id }],
    };
    const pid = await up(runtime, spec);
    const inside = async (...command: string[]): Promise<string> =>
      (await run('nsenter', ['-t', String(pid), '-a', '--', ...command])).stdout.trim();
    expect(await inside('/bin/ip', '-4', 'addr', 'show', 'dev', 'eth0')).toContain(`inet ${nic.ipv4}/24`);
    expect(await inside('/bin/ip', '-4', 'addr', 'show', 'dev', 'eth1')).toContain('inet 10.213.77.9/28');
    const routes = (await inside('/bin/ip', 'route')).split('\n').map((line) => line.trim());
    expect(routes.filter((r) => r.startsWith('default'))).toEqual([`default via ${first.gateway} dev eth0`]);
    expect(await inside('/bin/cat', '/etc/resolv.conf')).toContain(`nameserver ${first.gateway}`);
    for (const gateway of [first.gateway, second.gateway])
      expect(await inside('/bin/ping', '-c', '1', '-w', '5', gateway)).toContain('0% packet loss');
    await runtime.remove(spec, context());
    expect((await lab.network.networks()).map((n) => n.networkId)).not.toContain(second.id);
  });

  it('holds no privilege beyond its set, no descriptor but the three, and cannot make a user namespace', async () => {
    const spec = lab.spec(
      'echo fds=$(ls /proc/1/fd | tr "\\n" " "); unshare -U true; echo unshare=$?; ' + IDLE,
    );
    const pid = await up(runtime, spec);
    const text = await logUntil(runtime, spec, 'ready');
    expect(readdirSync(`/proc/${pid}/fd`).filter((fd) => Number(fd) > 2)).toEqual([]);
    expect(text).toContain('unshare=1');
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    expect(status).toMatch(/NoNewPrivs:\s1/);
    expect(status).toMatch(/Seccomp:\s2/);
    // chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap, net_bind_service, sys_chroot, setfcap
    expect(status).toMatch(/CapBnd:\s00000000800405fb/);
    expect(status).toMatch(/CapInh:\s0+\n/);
  });

  it('runs as a user that the image names, with its groups and environment, in its working directory', async () => {
    const spec = lab.spec('', {
      process: {
        command: ['/bin/sh', '-c', 'id; echo env=$FROM_IMAGE,$MINE; echo dir=$PWD'],
        user: 'web',
        workdir: '/tmp',
        env: { MINE: 'two words' },
      },
    });
    await up(runtime, spec);
    const ended = await untilEnded(runtime, spec);
    expect(ended.exit).toMatchObject({ reason: 'exited', code: 0 });
    const text = await logText(runtime, spec);
    expect(text).toMatch(/uid=101\(web\) gid=102\(web\) groups=.*104\(logs\)/);
    expect(text).toContain('env=yes,two words');
    expect(text).toContain('dir=/tmp');
  });

  it('keeps what the guest wrote, with lines cut only where the guest cut them', async () => {
    const spec = lab.spec('echo one; printf two; sleep 0.2; echo -three; printf end');
    await up(runtime, spec);
    await untilEnded(runtime, spec);
    expect(await logText(runtime, spec)).toBe('one\ntwo-three\nend');
    const tail: Uint8Array[] = [];
    const logs = runtime.logs?.(spec, { follow: false, tailBytes: 4 }, AbortSignal.timeout(5000));
    for await (const chunk of logs ?? []) tail.push(chunk);
    expect(Buffer.concat(tail).toString()).toBe('\nend');
  });

  it.each([
    ['an exit code', 'exit 7', { reason: 'exited', code: 7 }],
    [
      'a signal',
      'kill -ABRT $$; sh -c "kill -SEGV \\$\\$"; exit $?',
      { reason: 'signalled', signal: 'SIGSEGV' },
    ],
    [
      'a memory hog that the kernel killed',
      'x=0123456789abcdef; while :; do x=$x$x; done',
      { reason: 'oomKilled', signal: 'SIGKILL', memory: { limitBytes: 16 * 2 ** 20 } },
    ],
  ])('reports %s', async (_, script, exit) => {
    const spec = lab.spec(script, { memoryMiB: 16, cpuMillis: null });
    await up(runtime, spec);
    const ended = await untilEnded(runtime, spec);
    expect(ended).toMatchObject({ phase: 'ended', pid: null, exit });
  });

  it('has a first process of ours beside its program where that is wanted, which reaps and hands signals on', async () => {
    const initProgram = fileURLToPath(new URL('../../../.berth/microvm/init', import.meta.url));
    const withInit = lab.runtime({ initProgram });
    expect((await withInit.probe()).facets).toContain('init');
    const script =
      'trap "echo asked; exit 5" USR1; (sleep 0.2 &); sleep 0.5; ps -o stat,args; echo pid=$$; while :; do sleep 60 & wait $!; done';
    const spec = lab.spec('', {
      cpuMillis: null,
      process: { command: ['sh', '-c', script], stopSignal: 'USR1', user: 'web', init: true },
    });
    await expect(up(runtime, spec)).rejects.toMatchObject({ code: 'unsupported', remedy: /process.init/ });
    await up(withInit, spec);
    // At the beginning of a line: what ps shows of it is none.
    const text = await logUntil(withInit, spec, '\npid=');
    expect(text).toMatch(/\/dev\/berth-init -- sh -c/);
    expect(text).not.toMatch(/^Z/m);
    expect(text).toMatch(/pid=[2-9]\n/);
    const { items, total } = (await withInit.processes?.(spec, AbortSignal.timeout(5000))) ?? { items: [] };
    const [first, program] = items;
    expect(items).toHaveLength(total ?? 0);
    expect(first).toMatchObject({ pid: 1, parent: 0, uid: 101, user: 'web', state: 'S' });
    expect(first?.command).toMatch(/^\/dev\/berth-init -- sh/);
    expect(program).toMatchObject({ parent: 1, command: expect.stringMatching(/^sh -c trap/) });
    expect(program?.memoryBytes).toBeGreaterThan(0);
    expect(text).toContain(`pid=${program?.pid}\n`);
    await withInit.stop(spec, 10, context());
    const exit = { reason: 'stopped', code: 5 };
    expect(await find(withInit, spec)).toMatchObject({ phase: 'ended', exit });
    expect(existsSync(join(lab.root, 'volumes', spec.rootVolume.id, 'layer', 'upper', 'dev'))).toBe(false);
    await expect(withInit.processes?.(spec, AbortSignal.timeout(5000))).rejects.toMatchObject({
      code: 'notPrepared',
    });
    await withInit.remove(spec, context());
    const dies = lab.spec('', { process: { command: ['sh', '-c', 'kill -SEGV $$'], init: true } });
    await up(withInit, dies);
    expect((await untilEnded(withInit, dies)).exit).toMatchObject({ reason: 'signalled', signal: 'SIGSEGV' });
  });

  it('reports how a run ended while no agent was there', async () => {
    const spec = lab.spec('sleep 0.1; exit 9');
    await up(runtime, spec);
    await logText(runtime, spec);
    const later = lab.runtime();
    const ended = await untilEnded(later, spec);
    expect(ended.exit).toMatchObject({ reason: 'exited', code: 9 });
  });

  it('says that an end is lost when the monitor was killed with it', async () => {
    const spec = lab.spec(IDLE);
    const pid = await up(runtime, spec);
    const monitors = processesNamed(spec.instanceId).filter((line) => line.includes('conmon'));
    for (const monitor of [Number(monitors[0]?.split(' ')[0]), pid]) {
      const identity = processIdentity(monitor);
      if (identity !== null) signalProcess(identity, 'SIGKILL');
    }
    expect((await untilEnded(runtime, spec)).exit?.reason).toBe('lost');
  });

  it('pauses and resumes, and a paused one can be stopped politely', async () => {
    const spec = lab.spec(IDLE);
    await up(runtime, spec);
    await logUntil(runtime, spec, 'ready');
    await runtime.pause?.(spec, context());
    expect(await find(runtime, spec)).toMatchObject({ phase: 'running', power: 'paused' });
    await runtime.resume?.(spec, context());
    expect(await find(runtime, spec)).toMatchObject({ power: 'running' });
    await runtime.pause?.(spec, context());
    await runtime.stop(spec, 10, context());
    expect((await find(runtime, spec))?.exit?.reason).toBe('stopped');
  });

  it('is asked to end by the signal that its spec names', async () => {
    const script = `trap 'exit 9' USR1; trap '' TERM; echo ready; while :; do sleep 60 & wait $!; done`;
    const spec = lab.spec(script, { process: { stopSignal: 'SIGUSR1' } });
    await up(runtime, spec);
    await logUntil(runtime, spec, 'ready');
    await runtime.stop(spec, 15, context());
    expect((await find(runtime, spec))?.exit).toMatchObject({ reason: 'stopped', code: 9 });
  });

  it('takes more memory and less while it runs, and keeps what it uses', async () => {
    const fill = 'dd if=/dev/zero of=/dev/shm/full bs=1M count=24 2>/dev/null; echo full';
    const spec = lab.spec(`trap 'rm /dev/shm/full; echo empty' USR1; ${fill}; ${IDLE}`, { memoryMiB: 40 });
    const pid = await up(runtime, spec);
    await logUntil(runtime, spec, 'ready');
    const bring = async (memoryMiB: number) => {
      const has = await lab.runtime().update?.({ ...spec, memoryMiB }, context());
      expect(has?.volumes).toEqual([{ id: spec.rootVolume.id, sizeMiB: spec.rootVolume.sizeMiB }]);
      const bytes = (await runtime.limits?.(spec))?.memoryBytes;
      expect(bytes).toBe((has?.sizes.memoryMiB ?? 0) * 1024 * 1024);
      return [has?.sizes.memoryMiB, has?.unsettled];
    };
    expect(await bring(64)).toEqual([64, []]);
    expect(await bring(48)).toEqual([48, []]);
    const inUse = [48, [{ field: 'memoryMiB', why: 'more than 16 MiB is in use' }]];
    expect(await bring(16)).toEqual(inUse);
    expect(await bring(16)).toEqual(inUse);
    process.kill(pid, 'SIGUSR1');
    await logUntil(runtime, spec, 'empty');
    expect(await bring(16)).toEqual([16, []]);
    expect(await find(runtime, spec)).toMatchObject({ phase: 'running', pid });
  });

  it('changes its share, its processes and its processors while it runs, and a later life of the agent too', async () => {
    const spec = lab.spec(IDLE, { resources: { pids: 16, cpuWeight: 500 } });
    const pid = await up(runtime, spec);
    await logUntil(runtime, spec, 'ready');
    const processors = (await cgroupProcessors()) ?? '';
    const one = processors.split(/[-,]/)[0] ?? '';
    const held = async () => {
      const file = (name: string) => readFileSync(`/proc/${pid}/${name}`, 'utf8');
      const allowed = /^Cpus_allowed_list:\t(.*)$/m.exec(file('status'))?.[1];
      return [(await runtime.limits?.(spec))?.pids, cpuSharesOf(file('cgroup')), allowed];
    };
    expect(await held()).toEqual([16, 512, processors]);
    const bring = async (resources: WorkloadSpec['resources']) => {
      const has = await lab.runtime().update?.({ ...spec, resources }, context());
      return { unsettled: has?.unsettled.map(({ field }) => field), held: await held() };
    };
    const all = { pids: 40, cpuWeight: 2000, cpus: one };
    for (let twice = 0; twice < 2; twice += 1)
      expect(await bring(all)).toEqual({ unsettled: [], held: [40, 2048, one] });
    // Of a processor that went away meanwhile it is told; the rest takes effect.
    expect(await bring({ pids: 64, cpus: '8191' })).toEqual({
      unsettled: ['resources.cpus'],
      held: [64, 512, one],
    });
    expect(await bring(undefined)).toEqual({ unsettled: [], held: [4096, 512, processors] });
    expect(await find(runtime, spec)).toMatchObject({ phase: 'running', pid });
  });

  it('reads and writes its disk no faster than it may, lets memory into swap, and changes both while it runs', async () => {
    const write = 'busybox dd if=/dev/zero of=/file bs=64k count=48 oflag=direct 2>/dev/null && echo wrote';
    const script = `trap '${write}' USR1; echo ready; while :; do sleep 60 & wait $!; done`;
    const io = { writeMiBPerSecond: 1, readOperationsPerSecond: 500 };
    const spec = lab.spec(script, { resources: { io, swapMiB: 16 }, cpuMillis: null });
    const pid = await up(runtime, spec);
    await logUntil(runtime, spec, 'ready');
    const group = `berth-${lab.hostTag}/${spec.instanceId}.1`;
    const held = (name: string) =>
      readFileSync(`/sys/fs/cgroup/blkio/${group}/blkio.throttle.${name}_device`, 'utf8').trim().split('\n');
    const swap = () =>
      Number(readFileSync(`/sys/fs/cgroup/memory/${group}/memory.memsw.limit_in_bytes`, 'utf8'));
    // A host has more than 255 loop devices where it has more containers.
    const layer = join(lab.root, 'volumes', spec.rootVolume.id, 'layer');
    const { major, minor } = deviceParts(statSync(layer, { bigint: true }).dev);
    // Its layer is a disk of its own, whose file and whose image are on another.
    expect(held('write_bps')).toContain(`${major}:${minor} 1048576`);
    expect(held('read_iops')).toContain(`${major}:${minor} 500`);
    expect(swap()).toBe(80 * 2 ** 20);
    const begun = performance.now();
    process.kill(pid, 'SIGUSR1');
    await logUntil(runtime, spec, 'wrote');
    expect(performance.now() - begun).toBeGreaterThan(2000);

    const bring = async (resources: WorkloadSpec['resources']) =>
      (await lab.runtime().update?.({ ...spec, resources }, context()))?.unsettled;
    expect(await bring({ io: { writeMiBPerSecond: 3 } })).toEqual([]);
    expect(held('write_bps')).toContain(`${major}:${minor} 3145728`);
    expect([held('read_iops'), swap()]).toEqual([[''], 64 * 2 ** 20]);
    expect(await bring(undefined)).toEqual([]);
    expect(held('write_bps')).toEqual(['']);
    // What this kernel has not is told, and keeps nothing else back.
    expect(await bring({ memoryHighMiB: 32, pids: 99 })).toMatchObject([
      { field: 'resources.memoryHighMiB' },
    ]);
    expect((await runtime.limits?.(spec))?.pids).toBe(99);
  });

  it('goes on without a child that was killed for its memory, and tells of it until its next run', async () => {
    const hog = 'x=0123456789abcdef; while :; do x=$x$x; done';
    const once = `test -e /once || { touch /once; sh -c '${hog}'; echo survived $?; }`;
    const spec = lab.spec(`${once}; ${IDLE}`, { memoryMiB: 16, cpuMillis: null });
    const pid = await up(runtime, spec);
    await logUntil(runtime, spec, 'survived 137');
    const seen = await find(lab.runtime(), spec);
    expect(seen).toMatchObject({ phase: 'running', pid, conditions: [{ type: 'OutOfMemory' }] });
    expect(seen?.conditions?.[0]?.message).toMatch(
      /its limit is 16 MiB, and the most that it held was 1[0-9.]+ MiB$/,
    );
    expect((await runtime.usage?.())?.find((u) => u.instanceId === spec.instanceId)?.oomKills).toBe(1);
    await runtime.stop(spec, 10, context());
    expect((await find(runtime, spec))?.exit).toMatchObject({ reason: 'stopped', memory: { oomKills: 1 } });
    await runtime.start(spec, context());
    expect((await find(runtime, spec))?.conditions ?? []).toEqual([]);
  });

  it('follows its log until the reader leaves', async () => {
    const spec = lab.spec('echo first; sleep 0.3; echo second >&2; sleep 60');
    await up(runtime, spec);
    expect(await logUntil(runtime, spec, 'second')).toContain('first\n');
  });

  it('has every line of its log followed while its monitor begins the log anew, each with its time', async () => {
    const small = lab.runtime({ logMaxBytes: 32 * 1024 });
    // A file lasts longer than an agent is away from its events: it is to see each of them.
    const script =
      'i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); [ $((i % 100)) != 0 ] || usleep 30000; done; echo end >&2; sleep 60';
    const spec = lab.spec(script, { cpuMillis: null });
    await small.prepare(spec, context());
    const leave = AbortSignal.timeout(20_000);
    const frames = new LogFrames();
    const lines: string[] = [];
    const log = small.logs?.(spec, { follow: true, framed: true }, leave) ?? [];
    const read = (async () => {
      for await (const chunk of log)
        for (const { time, stream, bytes } of frames.feed(chunk)) {
          expect(Date.parse(time ?? '')).toBeGreaterThan(Date.parse('2020-01-01'));
          if (stream === 'stderr') return;
          lines.push(Buffer.from(bytes).toString());
        }
    })();
    await small.start(spec, context());
    await read;
    expect(lines).toEqual(Array.from({ length: 3000 }, (_, i) => `line ${i}`));
    expect((await logText(small, spec)).length).toBeLessThan(3000); // it was begun anew
    await small.remove(spec, context());
  });

  it('refuses a program that the image has not, and leaves no process or container', async () => {
    const spec = lab.spec('', { process: { command: ['/bin/absent'] } });
    await runtime.prepare(spec, context());
    await expect(runtime.start(spec, context())).rejects.toMatchObject({ code: 'badImage' });
    expect(processesNamed(spec.instanceId)).toEqual([]);
    expect(await find(runtime, spec)).toMatchObject({ phase: 'preparing' });
  });

  it('says that an image is missing when a layer is not on the host', async () => {
    const spec = lab.spec(IDLE);
    if (spec.image.kind !== 'oci') throw new Error('an OCI image is expected');
    const absent = `sha256:${'1'.repeat(64)}`;
    const layers = spec.image.layers.map((layer) => ({ ...layer, digest: absent, diffId: absent }));
    const image = { ...spec.image, layers } as unknown as typeof spec.image;
    await expect(runtime.prepare({ ...spec, image }, context())).rejects.toMatchObject({
      code: 'imageMissing',
    });
    expect(lab.leftovers(spec)).toEqual([]);
  });

  it('refuses a second epoch while the first runs, and the removal of a volume in use', async () => {
    const spec = lab.spec(IDLE);
    await up(runtime, spec);
    const next = { ...spec, epoch: 2 };
    await expect(runtime.prepare(next, context())).rejects.toMatchObject({ code: 'hostFault' });
    await expect(runtime.removeVolume(spec.rootVolume.id, context())).rejects.toMatchObject({
      code: 'hostFault',
    });
    await runtime.remove(spec, context());
  });
});

describe('the whole host', () => {
  const lab = new ContainerLab();

  it('is as before once everything was removed', async () => {
    await lab.open();
    const runtime = lab.runtime();
    for (const script of [IDLE, 'exit 1', `trap '' TERM; sleep 60`]) await up(runtime, lab.spec(script));
    expect((await runtime.probe()).reason).toBeNull();
    await lab.close();
    expect(cgroupsNamed(lab.hostTag)).toEqual([]);
    expect(processesNamed(lab.root)).toEqual([]);
    expect(mounts().filter((m) => m.target.includes(lab.root))).toEqual([]);
    expect(existsSync(lab.root)).toBe(false);
  });
});
