import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cgroupLimits, cgroupUsage, createTap, mounts, processIdentity, run } from '@berth/linux';
import type { NetworkId, NicId } from '@berth/model';
import type { Observation } from '@berth/runtime';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually, qemuArguments, QemuHost, serialText, step } from '../testing/host.js';
import type { QemuRuntime } from './qemu-runtime.js';
import { isVmUid } from './vm-uids.js';

const host = new QemuHost();
let runtime: QemuRuntime;
beforeAll(async () => {
  runtime = host.runtime();
  expect(await runtime.probe()).toMatchObject({ ok: true });
});
afterAll(() => host.stop());

async function started(...args: Parameters<QemuHost['spec']>): Promise<ReturnType<QemuHost['spec']>> {
  const spec = host.spec(...args);
  await runtime.prepare(spec, step());
  await runtime.start(spec, step());
  return spec;
}

async function seen(key: { instanceId: string }, by = runtime): Promise<Observation | undefined> {
  return (await by.recover()).find((o) => o.instanceId === key.instanceId);
}

async function ended(key: { instanceId: string }): Promise<Observation> {
  return eventually('its end', async () => {
    const o = await seen(key);
    return o?.phase === 'ended' ? o : undefined;
  });
}

describe('a machine in a QEMU of our own', () => {
  it('runs as a user of its own, weak, sandboxed, in a session and cgroup of its own', async () => {
    const spec = await started('steady', { vcpus: 2, cpuMillis: 700, userData: '#cloud-config\n{}\n' });
    const other = await started('steady');
    const pid = (await seen(spec))?.pid ?? 0;
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const uid = Number(/^Uid:\t(\d+)\t\1\t\1\t\1$/m.exec(status)?.[1]);
    expect(isVmUid(uid)).toBe(true);
    expect(status).toMatch(new RegExp(`^Gid:\\t${uid}\\t${uid}\\t${uid}\\t${uid}$`, 'm'));
    expect(status).toMatch(/^Groups:\t\s*$/m);
    expect(status).toMatch(/^CapEff:\t0+$/m);
    expect(status).toMatch(/^CapBnd:\t0+$/m);
    expect(status).toMatch(/^NoNewPrivs:\t1$/m);
    expect(status).toMatch(/^Seccomp:\t2$/m);
    // Field 6 of stat: the session; the command name has no blank here.
    expect(readFileSync(`/proc/${pid}/stat`, 'utf8').split(' ')[5]).toBe(String(pid));
    expect(readFileSync(`/proc/${pid}/cgroup`, 'utf8')).toContain(
      `/berth-qemu.test-host.${spec.instanceId}.1`,
    );
    expect(statSync(await host.volumePath(spec)).uid).toBe(uid);
    expect(statSync(await host.volumePath(other)).uid).not.toBe(uid);
    const base = statSync(host.blobPath(spec.image.digest));
    expect([base.uid, base.mode & 0o222]).toEqual([0, 0]);
    const run = statSync(join(host.dir, 'run', spec.instanceId, '1'));
    expect([run.uid, run.mode & 0o777]).toEqual([uid, 0o700]);
    for (const each of [spec, other]) {
      await expect(runtime.removeVolume(each.rootVolume.id, step())).rejects.toMatchObject({
        code: 'hostFault',
      });
      await runtime.stop(each, 0, step());
      await runtime.remove(each, step());
      await runtime.removeVolume(each.rootVolume.id, step());
    }
  });

  it('is accounted for in a cgroup of its own: processor, memory and threads, the last with a bound', async () => {
    const spec = await started('steady', { vcpus: 2, cpuMillis: 700 });
    const group = `berth-qemu.test-host.${spec.instanceId}.1`;
    const pid = (await seen(spec))?.pid ?? 0;
    const rows = readFileSync(`/proc/${pid}/cgroup`, 'utf8').trim().split('\n');
    for (const controller of ['cpu', 'memory', 'pids']) {
      const own = rows.find((row) => row.split(':')[1]?.split(',').includes(controller)) ?? rows.at(-1);
      expect(own?.split(':')[2]).toBe(`/${group}`);
    }
    expect(await runtime.limits(spec)).toEqual({ memoryBytes: 32 * 2 ** 20, cpuMillis: 700, pids: 514 });
    const anonymous = /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    const usage = cgroupUsage(group);
    // Whatever it took before it was put there would be missing.
    expect(usage.memoryBytes).toBeGreaterThan(Number(anonymous) * 1024 * 0.9);
    expect(usage.cpuMicros).toBeGreaterThan(0);
    expect(usage.pids).toBe(readdirSync(`/proc/${pid}/task`).length);
    expect((await cgroupLimits(group)).memoryBytes).toBeNull();
    await runtime.stop(spec, 0, step());
    await runtime.remove(spec, step());
    for (const { type, target } of mounts())
      if (type.startsWith('cgroup')) expect(readdirSync(target)).not.toContain(group);
  });

  it('is paused and resumed, and has the name it was given, whatever its characters', async () => {
    const project = 'a,process=b,debug-threads=on"\'{' as never;
    const spec = await started('steady', { project });
    const monitor = await runtime.monitor(spec);
    expect((await monitor.execute('query-name')).name).toBe(`${String(project)}/w`);
    await runtime.pause(spec, step());
    await runtime.pause(spec, step());
    expect(await seen(spec)).toMatchObject({ phase: 'running', power: 'paused' });
    await runtime.resume(spec, step());
    expect(await seen(spec)).toMatchObject({ phase: 'running', power: 'running' });
    await runtime.stop(spec, 0, step());
    expect(await seen(spec)).toMatchObject({ phase: 'ended', exit: { reason: 'killed' } });
    await runtime.remove(spec, step());
  });

  it('has a nic on a tap made before, though QEMU may not open taps', async () => {
    const tap = `bqt${process.pid}`;
    const network = {
      ensure: () => Promise.resolve(),
      attachTap: (_key: unknown, _nic: unknown, owner: { uid: number }) => {
        createTap(tap, owner);
        return Promise.resolve({ ifname: tap });
      },
      detach: () => run('ip', ['link', 'del', tap]),
      silence: () => Promise.resolve(),
      detachNic: () => Promise.resolve(),
      inventory: () => Promise.resolve([]),
      release: () => Promise.resolve(),
    };
    const withNetwork = host.runtime({ network });
    const mac = '52:54:00:0a:0b:0c';
    const nic = { id: 'n' as NicId, networkId: 'w' as NetworkId, mac, ipv4: '10.0.0.2' };
    const spec = host.spec('steady', { nics: [nic] });
    await withNetwork.prepare(spec, step());
    await withNetwork.start(spec, step());
    expect(qemuArguments((await seen(spec, withNetwork))?.pid ?? 0).join(' ')).toContain(`mac=${mac}`);
    // Carrier on a tap means that a process has it open.
    await run('ip', ['link', 'set', tap, 'up']);
    expect(readFileSync(`/sys/class/net/${tap}/carrier`, 'utf8').trim()).toBe('1');
    await withNetwork.stop(spec, 0, step());
    await withNetwork.remove(spec, step());
    runtime = host.runtime();
  });

  it('that cannot start says why, and leaves no process', async () => {
    const spec = host.spec('steady', { memoryMiB: 1024 * 1024 * 1024 });
    await runtime.prepare(spec, step());
    await expect(runtime.start(spec, step())).rejects.toMatchObject({
      code: 'hostFault',
      message: expect.stringMatching(/^qemu: .+/) as string,
    });
    expect(await seen(spec)).toMatchObject({ phase: 'ended', exit: { reason: 'startFailed' } });
    await runtime.remove(spec, step());
    expect(host.leftovers(spec)).toEqual([]);
  });
});

describe('KVM', () => {
  it('is judged in the background, and a wish for it is refused where it is worth nothing', async () => {
    const early = await runtime.probe();
    const full = (await early.later) ?? early;
    const kvm = full.facts.accel?.kvm;
    expect(kvm?.verdict).not.toBe('unmeasured');
    expect(full.facts.tenantBoundary).toBe(kvm?.verdict === 'usable');
    expect(await runtime.probe()).toEqual(full);
    const spec = host.spec('steady', { accel: 'kvm' });
    await runtime.prepare(spec, step());
    const start = runtime.start(spec, step());
    if (kvm?.verdict === 'usable') await start;
    else await expect(start).rejects.toMatchObject({ code: 'unsupported' });
    await runtime.stop(spec, 0, step());
    await runtime.remove(spec, step());
    expect(host.leftovers(spec)).toEqual([]);
  });
});

describe('an agent that was killed in the middle of a start', () => {
  /** Records as they stand when only the process was started. */
  function forgetPid(spec: { instanceId: string }): void {
    for (const [path, change] of [
      [join(host.dir, 'run', spec.instanceId, '1.json'), { process: null }],
      [join(host.dir, 'state', spec.instanceId, '1.json'), { state: 'starting' }],
    ] as const)
      writeFileSync(
        path,
        JSON.stringify({ ...(JSON.parse(readFileSync(path, 'utf8')) as object), ...change }),
      );
  }

  it('leaves a process that the next start sweeps, so that never two run', async () => {
    const spec = await started('steady');
    const before = (await seen(spec))?.pid ?? 0;
    forgetPid(spec);
    runtime = host.runtime();
    expect(await seen(spec)).toMatchObject({ phase: 'starting', exit: null, pid: null });
    await runtime.start(spec, step());
    expect(processIdentity(before)).toBeNull();
    const after = (await seen(spec))?.pid ?? 0;
    expect(processIdentity(after)).not.toBeNull();
    await runtime.stop(spec, 0, step());
    await runtime.remove(spec, step());
  });

  it('leaves a process that a removal sweeps, also one that stands still', async () => {
    const spec = await started('steady');
    process.kill((await seen(spec))?.pid ?? 0, 'SIGSTOP');
    forgetPid(spec);
    runtime = host.runtime();
    await runtime.remove(spec, step());
    expect(host.leftovers(spec)).toEqual([]);
  });
});

describe('the end of a machine', () => {
  it('by its guest is a guest shutdown, also when nobody watched', async () => {
    const spec = host.spec('brief');
    await runtime.prepare(spec, step());
    await runtime.start(spec, step());
    await runtime.close();
    await eventually('the guest speaks', async () =>
      /boots=\d\n/.test(await serialText(runtime, spec)) ? true : undefined,
    );
    runtime = host.runtime();
    expect(await ended(spec)).toMatchObject({ power: 'off', exit: { reason: 'guestShutdown' }, pid: null });
    await runtime.remove(spec, step());
    expect(host.leftovers(spec)).toEqual([]);
  });

  it('that an earlier life wrote down and did not come to clear away is cleared away', async () => {
    const spec = host.spec('brief');
    await runtime.prepare(spec, step());
    await runtime.start(spec, step());
    await runtime.close();
    await eventually('the guest speaks', async () =>
      /boots=\d\n/.test(await serialText(runtime, spec)) ? true : undefined,
    );
    const path = join(host.dir, 'state', spec.instanceId, '1.json');
    const exit = { reason: 'guestShutdown', at: new Date().toISOString() };
    writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), state: 'ended', exit }));
    runtime = host.runtime();
    await eventually('its QEMU is gone', async () => {
      expect(await seen(spec)).toMatchObject({ phase: 'ended', exit });
      return existsSync(join(host.dir, 'run', spec.instanceId)) ? undefined : true;
    });
    await runtime.remove(spec, step());
    expect(host.leftovers(spec)).toEqual([]);
  });

  it('by a panic is a guest crash that says so, also when nobody watched', async () => {
    const spec = host.spec('panic');
    await runtime.prepare(spec, step());
    await runtime.start(spec, step());
    await runtime.close();
    runtime = host.runtime();
    expect(await ended(spec)).toMatchObject({
      power: 'crashed',
      exit: { reason: 'guestCrash', message: 'the guest kernel panicked' },
    });
    await runtime.remove(spec, step());
  });

  it('by somebody who asks QEMU to quit is a kill, and by a crash of QEMU is a crash, also when nobody watched', async () => {
    const asked = await started('steady');
    const crashed = await started('steady');
    const pidOf = async (key: typeof asked): Promise<number> => (await seen(key))?.pid ?? 0;
    process.kill(await pidOf(asked), 'SIGTERM');
    expect(await ended(asked)).toMatchObject({
      exit: { reason: 'killed', message: 'destroyed from outside' },
    });
    const pid = await pidOf(crashed);
    await runtime.close();
    process.kill(pid, 'SIGKILL');
    runtime = host.runtime();
    expect(await ended(crashed)).toMatchObject({
      exit: { reason: 'hypervisorCrash', message: 'QEMU ended by a signal or a fault of its own' },
    });
    await runtime.remove(asked, step());
    await runtime.remove(crashed, step());
  });

  it('by a signal is told with it: a kill by somebody on the host apart from a crash of QEMU', async () => {
    for (const [signal, reason] of [
      ['SIGKILL', 'signalled'],
      ['SIGSEGV', 'hypervisorCrash'],
    ] as const) {
      const spec = await started('steady');
      process.kill((await seen(spec))?.pid ?? 0, signal);
      expect(await ended(spec)).toMatchObject({ power: 'crashed', exit: { reason, signal } });
      await runtime.remove(spec, step());
    }
  });

  it('is known from a stopped process only when the process is gone', async () => {
    const spec = await started('steady');
    const pid = (await seen(spec))?.pid ?? 0;
    process.kill(pid, 'SIGSTOP');
    expect(await seen(spec)).toMatchObject({ phase: 'running', pid });
    await runtime.stop(spec, 0, step());
    expect(await seen(spec)).toMatchObject({ phase: 'ended', exit: { reason: 'killed' } });
    await runtime.remove(spec, step());
  });

  it('is heard of although QEMU did not answer just before it', async () => {
    const spec = await started('steady');
    const leave = new AbortController();
    const heard = (async (): Promise<Observation | undefined> => {
      for await (const o of runtime.observe(leave.signal))
        if (o.instanceId === spec.instanceId && o.phase === 'ended') return o;
      return undefined;
    })();
    const pid = (await seen(spec))?.pid ?? 0;
    process.kill(pid, 'SIGSTOP');
    expect(await seen(spec)).toMatchObject({ phase: 'running', pid });
    process.kill(pid, 'SIGCONT');
    // Its end comes while it is still taken for stuck. The time of grace is longer than this test may take.
    const stopping = runtime.stop(spec, 60, step(90_000));
    expect(await heard).toMatchObject({ exit: { reason: 'stopped' } });
    leave.abort();
    await stopping;
    await runtime.remove(spec, step());
  });
});
