import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, statSync, writeFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { createTap, Netlink, processIdentity, run } from '@berth/linux';
import type { NetworkId, NicId } from '@berth/model';
import type { Observation } from '@berth/runtime';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually, qemuArguments, serialText, step, TestHost } from '../testing/host.js';
import { createQemuRuntime } from '../index.js';
import { QemuProcesses } from './qemu-process.js';
import type { LibvirtRuntime } from './libvirt-runtime.js';

let host: TestHost;
let runtime: LibvirtRuntime;
beforeAll(async () => {
  host = await TestHost.start();
  runtime = host.runtime();
  expect(await runtime.probe()).toMatchObject({ ok: true, facts: { accel: { tcg: true } } });
});
afterAll(async () => {
  await host.stop();
});

async function started(...args: Parameters<TestHost['spec']>): Promise<ReturnType<TestHost['spec']>> {
  const spec = host.spec(...args);
  await runtime.prepare(spec, step());
  await runtime.start(spec, step());
  return spec;
}

async function seen(key: { instanceId: string }): Promise<Observation | undefined> {
  return (await runtime.recover()).find((o) => o.instanceId === key.instanceId);
}

const booted = (key: Parameters<typeof serialText>[1]): Promise<true> =>
  eventually('the guest speaks', async () =>
    /boots=\d\n/.test(await serialText(runtime, key)) ? true : undefined,
  );

describe('a machine under libvirt', () => {
  it('runs in an unprivileged QEMU with its seccomp sandbox, on a base QEMU may not write', async () => {
    const spec = await started('steady', { userData: '#cloud-config\n{}\n', vcpus: 2 });
    await booted(spec);
    const pid = (await seen(spec))?.pid ?? 0;
    const args = qemuArguments(pid);
    expect(args[args.indexOf('-sandbox') + 1]).toMatch(/^on,/);
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    expect(status).toMatch(/^Uid:\t64055\t64055\t64055\t64055$/m);
    expect(status).toMatch(/^CapEff:\t0000000000000000$/m);
    expect(status).toMatch(/^Seccomp:\t2$/m);
    const base = statSync(host.blobPath(spec.image.digest));
    expect([base.uid, base.mode & 0o222]).toEqual([0, 0]);
    expect(statSync(await host.volumePath(spec)).uid).toBe(64055);

    const monitor = await runtime.monitor(spec);
    expect(await monitor.execute('query-status')).toMatchObject({ status: 'running' });
    expect(await monitor.execute('query-kvm')).toMatchObject({ enabled: false });
    expect((await monitor.execute('query-blockstats'))[0]?.stats.wr_operations).toBeGreaterThan(0);

    await runtime.pause(spec, step());
    await runtime.pause(spec, step());
    expect(await seen(spec)).toMatchObject({ phase: 'running', power: 'paused' });
    await runtime.resume(spec, step());
    expect(await seen(spec)).toMatchObject({ phase: 'running', power: 'running' });
    await expect(runtime.removeVolume(spec.rootVolume.id, step())).rejects.toMatchObject({
      code: 'hostFault',
    });

    // The schema judges the document; define itself does not, for speed.
    const name = (await run('virsh', ['-c', host.uri, 'domname', spec.uuid])).stdout.trim();
    const { stdout: document } = await run('virsh', ['-c', host.uri, 'dumpxml', '--inactive', name]);
    // libvirt repeats the display's socket in an attribute that its own schema does not allow beside sharePolicy.
    const sound = document.replace(/ socket='[^']*' sharePolicy=/, ' sharePolicy=');
    expect(sound).not.toBe(document);
    writeFileSync(join(host.dir, 'check.xml'), sound);
    await run('virsh', ['-c', host.uri, 'define', '--validate', join(host.dir, 'check.xml')]);

    await runtime.stop(spec, 0, step());
    await runtime.remove(spec, step());
  });

  it('that turns itself off ends as a guest shutdown', async () => {
    const spec = await started('brief');
    const end = await eventually('its end', async () => {
      const o = await seen(spec);
      return o?.phase === 'ended' ? o : undefined;
    });
    expect(end).toMatchObject({ power: 'off', exit: { reason: 'guestShutdown' }, pid: null });
    await runtime.remove(spec, step());
  });

  it('has a nic on a tap made before, and what limits the tap is left', async () => {
    const tap = `bkt${process.pid}`;
    const limiter = `bkl${process.pid}`;
    createTap(tap, { uid: 64055 });
    Netlink.with(undefined, (n) => {
      n.addIfb(limiter);
      for (const side of ['received', 'sent'] as const) n.redirect(tap, side, limiter);
    });
    const withNetwork = host.runtime({
      network: {
        ensure: () => Promise.resolve(),
        attachTap: () => Promise.resolve({ ifname: tap }),
        detach: () => Promise.resolve(),
        silence: () => Promise.resolve(),
        detachNic: () => Promise.resolve(),
        inventory: () => Promise.resolve([]),
        release: () => Promise.resolve(),
      },
    });
    const mac = '52:54:00:0a:0b:0c';
    const nic = { id: 'n' as NicId, networkId: 'w' as NetworkId, mac, ipv4: '10.0.0.2' };
    const spec = host.spec('steady', { nics: [nic] });
    try {
      await withNetwork.prepare(spec, step());
      await withNetwork.start(spec, step());
      const pid = (await seen(spec))?.pid ?? 0;
      expect(qemuArguments(pid).join(' ')).toContain(mac);
      // libvirt has put a queue of its own at the tap; the hooks are beside it.
      const [queues, led, index] = Netlink.with(undefined, (n) => [
        n.queues().filter((q) => q.linkIndex === n.link(tap)?.index),
        (['received', 'sent'] as const).map((side) => n.redirected(tap, side)),
        n.link(limiter)?.index,
      ]);
      expect(queues.map((q) => q.kind).sort()).toEqual(['clsact', 'noqueue']);
      expect(led).toEqual([index, index]);
      await withNetwork.stop(spec, 0, step());
      await withNetwork.remove(spec, step());
      expect((await run('ip', ['link', 'show', tap])).stdout).toContain(tap);
    } finally {
      for (const link of [tap, limiter]) await run('ip', ['link', 'del', link]);
    }
  });
});

describe('the runtime beside others', () => {
  it('neither reports nor touches a domain that is not ours, nor one of another host tag', async () => {
    const mine = await started('steady');
    const other = host.runtime({ hostTag: 'other-host', stateDir: join(host.dir, 'other') });
    expect(await other.recover()).toEqual([]);
    await other.stop(mine, 0, step());
    await other.remove(mine, step());
    expect(await seen(mine)).toMatchObject({ phase: 'running' });
    await runtime.stop(mine, 0, step());
    await runtime.remove(mine, step());
  });

  it('goes on when libvirtd was killed and came back, and machines run on', async () => {
    const spec = await started('steady');
    const before = (await seen(spec))?.pid;
    const watching = new AbortController();
    const again = (async () => {
      for await (const o of runtime.observe(watching.signal)) if (o.instanceId === spec.instanceId) return o;
      return null;
    })();
    await host.libvirtd.restart();
    expect(await again).toMatchObject({ phase: 'running', pid: before });
    watching.abort();
    await runtime.stop(spec, 5, step());
    expect(await seen(spec)).toMatchObject({ phase: 'ended', exit: { reason: 'stopped' } });
    await runtime.remove(spec, step());
  });

  it('takes away the cgroup that stays when QEMU ended while libvirtd was dead, with its epoch', async () => {
    const spec = await started('steady');
    const { pid } = (await seen(spec)) ?? { pid: null };
    const daemon = host.libvirtd.daemon();
    process.kill(daemon, 'SIGSTOP');
    process.kill(pid ?? 0, 'SIGKILL');
    await expect.poll(() => processIdentity(pid ?? 0)).toBeNull();
    await host.libvirtd.restart();
    const end = await eventually('its end', async () => {
      const o = await seen(spec);
      return o?.phase === 'ended' ? o : undefined;
    });
    expect(end.exit?.reason).toBe('hypervisorCrash');
    const held = (await runtime.inventory()).find((o) => o.instanceId === spec.instanceId);
    expect(held?.runs).toBe(false);
    expect(held?.parts.join()).toContain('cgroup machine/qemu-');
    await runtime.remove(spec, step());
    expect(await host.leftovers(spec)).toEqual([]);
  });

  it('says of a QEMU that was killed that it was QEMU which ended, not its guest', async () => {
    const spec = await started('steady');
    process.kill((await seen(spec))?.pid ?? 0, 'SIGKILL');
    const end = await eventually('its end', async () => {
      const o = await seen(spec);
      return o?.phase === 'ended' ? o : undefined;
    });
    expect(end).toMatchObject({ power: 'crashed', exit: { reason: 'hypervisorCrash' } });
    await runtime.remove(spec, step());
  });

  it('says of a guest that panicked that it did, also when nobody watched, and keeps no process of it', async () => {
    const spec = host.spec('panic');
    await runtime.prepare(spec, step());
    await runtime.start(spec, step());
    const later = host.runtime();
    const end = await eventually('its end', async () => {
      const o = (await later.recover()).find((one) => one.instanceId === spec.instanceId);
      return o?.phase === 'ended' ? o : undefined;
    });
    expect(end).toMatchObject({
      power: 'crashed',
      exit: { reason: 'guestCrash', message: 'the guest kernel panicked' },
    });
    await eventually('QEMU is gone', async () =>
      (await new QemuProcesses().find(spec.uuid)) === null ? true : undefined,
    );
    await later.start(spec, step());
    await later.remove(spec, step());
    expect(await host.leftovers(spec)).toEqual([]);
  });

  it('whose QEMU somebody kills while it starts is not refused: the next start may go well', async () => {
    const spec = host.spec('steady');
    await runtime.prepare(spec, step());
    // A kill that comes too late hits a machine that runs: then once more.
    const refusal = await eventually('a kill in time', async () => {
      let over = false;
      const start = runtime.start(spec, step()).then(
        () => null,
        (error: unknown) => error,
      );
      void start.then(() => (over = true));
      for (let pid: number | null = null; !over && pid === null;) {
        pid = await new QemuProcesses().find(spec.uuid);
        if (pid !== null) process.kill(pid, 'SIGKILL');
      }
      const error = await start;
      if (error !== null) return error;
      await runtime.stop(spec, 0, step());
      return undefined;
    });
    expect(refusal).toMatchObject({
      code: 'hostFault',
      message: expect.stringContaining('monitor') as string,
    });
    expect((await seen(spec))?.exit?.reason).not.toBe('startFailed');
    await runtime.start(spec, step());
    expect(await seen(spec)).toMatchObject({ phase: 'running', power: 'running' });
    await runtime.stop(spec, 0, step());
    await runtime.remove(spec, step());
  });

  it('says of a run that began in an earlier boot that it ended with it', async () => {
    const spec = await started('steady');
    const record = join(host.dir, 'state', spec.instanceId, '1.json');
    const before = JSON.parse(readFileSync(record, 'utf8')) as object;
    writeFileSync(record, JSON.stringify({ ...before, bootId: '11111111-2222-3333-4444-555555555555' }));
    expect(await seen(spec)).toMatchObject({ phase: 'running' });
    process.kill((await seen(spec))?.pid ?? 0, 'SIGKILL');
    const end = await eventually('its end', async () => {
      const o = await seen(spec);
      return o?.phase === 'ended' ? o : undefined;
    });
    expect(end.exit?.reason).toBe('hostBoot');
    await runtime.remove(spec, step());
  });

  it('takes neither a dead QEMU that is not reaped nor another program for the machine of its UUID', async () => {
    const uuid = randomUUID();
    const args = `-S -nodefaults -display none -uuid ${uuid}`;
    const script = `sh -c 'sleep 300' x -uuid ${uuid} & qemu-system-x86_64 ${args} & echo $!; exec sleep 300`;
    const parent = spawn('sh', ['-c', script], { stdio: ['ignore', 'pipe', 'inherit'], detached: true });
    try {
      const pid = Number(String(((await once(parent.stdout, 'data')) as [Buffer])[0]));
      await expect.poll(() => new QemuProcesses().find(uuid)).toBe(pid);
      process.kill(pid, 'SIGKILL');
      await expect.poll(() => readFileSync(`/proc/${pid}/stat`, 'utf8')).toMatch(/\) Z /);
      expect(await new QemuProcesses().find(uuid)).toBeNull();
    } finally {
      process.kill(-(parent.pid ?? 0), 'SIGKILL');
    }
  });

  it('says that an image is missing, and that prepare comes first', async () => {
    const spec = host.spec('steady');
    await expect(runtime.start(spec, step())).rejects.toMatchObject({ code: 'notPrepared' });
    const image = { ...spec.image, digest: `sha256:${'0'.repeat(64)}` } as typeof spec.image;
    await expect(runtime.prepare({ ...spec, image }, step())).rejects.toMatchObject({ code: 'imageMissing' });
    expect(await host.leftovers(spec)).toEqual([]);
  });
});

describe('an instance under one driver after the other', () => {
  it('keeps its disk, its MAC and its UUID', async () => {
    const tap = `bks${process.pid}`;
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
    const dirs = Object.fromEntries(
      ['stateDir', 'runDir', 'logDir'].map((name) => [name, join(host.dir, `qemu-${name}`)]),
    );
    const libvirt = host.runtime({ network });
    const qemu = createQemuRuntime({ ...host.parts(), ...dirs, network });
    const mac = '52:54:00:0a:0b:0d';
    const nic = { id: 'n' as NicId, networkId: 'w' as NetworkId, mac, ipv4: '10.0.0.2' };
    const spec = host.spec('steady', { nics: [nic] });
    let boots = 0;
    for (const driver of [libvirt, qemu, libvirt]) {
      const own = { ...spec, epoch: (boots += 1) };
      await driver.prepare(own, step());
      await driver.start(own, step());
      await eventually('the guest finds its counter', async () =>
        (await serialText(driver, own)).includes(`boots=${boots}\n`) ? true : undefined,
      );
      const pid = (await driver.recover()).find((o) => o.instanceId === spec.instanceId)?.pid ?? 0;
      const args = qemuArguments(pid);
      expect(args[args.indexOf('-uuid') + 1]).toBe(spec.uuid);
      expect(args.join(' ')).toContain(mac);
      await driver.stop(own, 5, step());
      await driver.remove(own, step());
    }
    await qemu.removeVolume(spec.rootVolume.id, step());
    await qemu.close();
  });
});

describe('the serial log', () => {
  it('is followed as it grows, and after it was cut', async () => {
    const spec = await started('steady');
    await booted(spec);
    const stop = new AbortController();
    const got: string[] = [];
    const reading = (async () => {
      for await (const chunk of runtime.logs(spec, { follow: true }, stop.signal))
        got.push(Buffer.from(chunk).toString());
    })();
    await expect.poll(() => got.join('')).toContain('boots=1\n');
    truncateSync(join(host.dir, 'log', spec.instanceId, '1.log'));
    await runtime.stop(spec, 0, step());
    await runtime.start(spec, step());
    await expect.poll(() => got.join(''), { timeout: 10_000 }).toContain('boots=2\n');
    stop.abort();
    await reading;
    await runtime.stop(spec, 0, step());
    await runtime.remove(spec, step());
  });
});
