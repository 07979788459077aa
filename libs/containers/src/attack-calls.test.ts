import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run } from '@berth/linux';
import type { Runtime, WorkloadSpec } from '@berth/runtime';
import { ContainerLab, context } from './testing/container-lab.js';
import { HostWatch } from './testing/host-watch.js';
import { ATTACKS, perlLayer } from './testing/hostile-image.js';
import { logText, logUntil, untilEnded, up } from './testing/workload-steps.js';

/**
 * What stops an attempt. Where several do, the first that the kernel comes to.
 *
 * filter: seccomp · capability: it counts only in the container's own user namespace, or is not in the set ·
 * namespace: what is aimed at has no name inside · mount: read-only, masked or not there · device: a new /dev without it
 */
type Stop = 'filter' | 'capability' | 'namespace' | 'mount' | 'device';

const attempts: Readonly<Record<string, Stop>> = {
  'mount a file system': 'filter',
  'mount a cgroup tree for its release_agent': 'filter',
  'mount the tree of disks': 'filter',
  'mount procfs again': 'filter',
  'make /proc/sys writable': 'filter',
  'unmount what masks': 'filter',
  'open a file system by the new calls': 'filter',
  'clone the mount tree': 'filter',
  'change the attributes of a mount': 'filter',
  'pivot the root': 'filter',
  'unshare a user namespace': 'filter',
  'unshare a mount namespace': 'filter',
  'clone into a user namespace': 'filter',
  'clone3 into a user namespace': 'filter',
  'enter a namespace': 'filter',
  'signal a process of the host': 'namespace',
  'trace a process of the host': 'namespace',
  'read memory of a process of the host': 'namespace',
  'hold a process of the host': 'namespace',
  'compare with a process of the host': 'filter',
  'enter the root of a process of the host': 'namespace',
  'read the environment of a process of the host': 'namespace',
  'load a program into the kernel (bpf)': 'filter',
  'count events (perf)': 'filter',
  'handle page faults (userfaultfd)': 'filter',
  'queue requests (io_uring)': 'filter',
  'add a key': 'filter',
  'ask for a key': 'filter',
  'read a keyring': 'filter',
  'load a module': 'filter',
  'load a module from a file': 'filter',
  'remove a module': 'filter',
  'load another kernel': 'filter',
  reboot: 'filter',
  'set the time zone of the kernel': 'filter',
  'set the clock': 'filter',
  'adjust the clock': 'capability',
  'read the log of the kernel': 'filter',
  'swap to a file': 'filter',
  'account for processes': 'filter',
  'open all ports of the machine': 'filter',
  'open one port of the machine': 'filter',
  'watch the whole file system': 'filter',
  'open a file by its handle': 'filter',
  'set the host name': 'filter',
  'turn off address randomisation': 'filter',
  'run before everything else': 'capability',
  'make a block device': 'capability',
  'make the memory device': 'capability',
  'set an attribute of overlayfs': 'capability',
  'make a file that the host cannot delete': 'capability',
  'write /proc/sysrq-trigger': 'mount',
  'write /proc/sys/kernel/core_pattern': 'mount',
  'write /proc/sys/kernel/modprobe': 'mount',
  'write /proc/sys/vm/overcommit_memory': 'mount',
  'write /proc/sys/fs/binfmt_misc/register': 'mount',
  'write /proc/irq/default_smp_affinity': 'mount',
  'write /sys/kernel/uevent_helper': 'mount',
  'write /sys/kernel/mm/transparent_hugepage/enabled': 'mount',
  'write /sys/block/loop0/queue/read_ahead_kb': 'mount',
  'write /sys/kernel/profiling': 'mount',
  'read /proc/kcore': 'mount',
  'read /proc/keys': 'mount',
  'read /proc/timer_list': 'mount',
  'read /proc/interrupts': 'mount',
  'read /proc/kpagecount': 'capability',
  'read /proc/vmallocinfo': 'capability',
  'read /dev/mem': 'device',
  'read /dev/kmsg': 'device',
  'read /dev/sda': 'device',
  'read /dev/vda': 'device',
  'read /dev/loop0': 'device',
  'read /dev/port': 'device',
  'open /dev/kvm': 'device',
  'open /dev/net/tun': 'device',
  'open /dev/vhost-net': 'device',
  'open /dev/fuse': 'device',
  'open /dev/loop-control': 'device',
  'make a cgroup': 'mount',
  'raise its limit of disks': 'mount',
  'raise its limit of memory': 'mount',
  'raise its limit of processes': 'mount',
  'raise its limit of processor time': 'mount',
  'raise its limit of processors': 'mount',
  'write a release_agent': 'mount',
  'a raw socket': 'capability',
  'a packet socket': 'filter',
  'a socket to the hypervisor (vsock)': 'filter',
  'a socket to the kernel’s ciphers (alg)': 'filter',
  'read the state of the audit log': 'capability',
};

/** errno of each way to stop: EPERM, ENOENT, ESRCH, EACCES, EINVAL, EROFS, ENOSYS, ENODATA, ECONNREFUSED. */
const answers: Readonly<Record<Stop, readonly number[]>> = {
  filter: [1, 38],
  capability: [1, 13, 111],
  namespace: [2, 3],
  mount: [1, 2, 13, 30, 61],
  device: [2],
};

describe('root in a container', () => {
  const lab = new ContainerLab();
  const runtime: Runtime = lab.runtime();
  const watch = new HostWatch();
  const scratch = mkdtempSync(join(tmpdir(), 'berth-attack-'));
  const victim = spawn('sleep', ['600'], { stdio: 'ignore' });
  let inside: ReadonlyMap<string, string>;
  let outside: ReadonlyMap<string, string>;
  let before: Record<string, string>;

  beforeAll(async () => {
    await lab.open();
    before = watch.state();
    const image = await lab.imageMake({ layer: perlLayer() });
    const command = ['/usr/bin/perl', '/attacks.pl', '/tmp', String(victim.pid)];
    const spec = lab.spec('', { image, process: { command } });
    await up(runtime, spec);
    await untilEnded(runtime, spec);
    inside = results(await logText(runtime, spec));
    // The same program as root without a container, in namespaces that end with it: what it can reach at all here.
    const apart = ['--mount', '--net', '--uts', '--ipc', '--', 'perl', ATTACKS, scratch, String(victim.pid)];
    outside = results((await run('unshare', apart)).stdout);
  });
  afterAll(async () => {
    victim.kill('SIGKILL');
    await once(victim, 'exit');
    await lab.close();
    watch.close();
    rmSync(scratch, { recursive: true });
  });

  /** What it reaches in a container with this in its spec. */
  const reachedBy = async (change: Partial<WorkloadSpec>): Promise<string[]> => {
    const command = ['/usr/bin/perl', '/attacks.pl', '/tmp', String(victim.pid)];
    const image = await lab.imageMake({ layer: perlLayer() });
    const spec = lab.spec('', { image, process: { command }, ...change });
    await up(runtime, spec);
    await untilEnded(runtime, spec);
    const all = [...results(await logText(runtime, spec))];
    expect(all).toHaveLength(inside.size);
    return all
      .filter(([, answer]) => answer === 'reached')
      .map(([name]) => name)
      .sort();
  };

  it.each(Object.entries(attempts))('cannot %s (%s)', (name, stop) => {
    const answer = inside.get(name);
    expect(answer).toMatch(/^errno /);
    expect(answers[stop], answer).toContain(Number(answer?.slice('errno '.length)));
  });

  it('was tried with attempts that work where nothing stands in their way, and with no other', () => {
    const names = Object.keys(attempts).sort();
    expect([...inside.keys()].sort()).toEqual(names);
    expect([...outside.keys()].sort()).toEqual(names);
    const reached = names.filter((name) => outside.get(name) === 'reached');
    // Some need what a kernel may lack: modules, I/O ports, a device.
    expect(reached.length, names.filter((n) => !reached.includes(n)).join(', ')).toBeGreaterThan(55);
  });

  it('that runs like a machine reaches beyond that only the groups that are its own', async () => {
    expect(await reachedBy({ system: true })).toEqual(['make a cgroup']);
  });

  it('that may hold containers of its own reaches beyond that only what tells of the processors, and its own keys', async () => {
    expect(await reachedBy({ security: { nesting: true } })).toEqual([
      'clone into a user namespace',
      'clone3 into a user namespace',
      'read /proc/interrupts',
      'read /proc/keys', // of its own users: the kernel lists no others to a user namespace
      'unshare a user namespace',
    ]);
  });

  it('changed nothing of the host, and the process it was after lives on', async () => {
    expect(watch.state()).toEqual(before);
    expect(victim.exitCode ?? victim.signalCode).toBeNull();
    expect((await runtime.probe()).reason).toBeNull();
  });
});

describe('a set-uid program', () => {
  const lab = new ContainerLab();
  const runtime = lab.runtime();
  beforeAll(() => lab.open());
  afterAll(() => lab.close());

  it('of an image gives its user nothing, and no user of the host can reach it', async () => {
    const content = readFileSync('/bin/busybox');
    const layer = ['bin/suid', 'bin/id'].map((name) => ({ name, mode: 0o6755, content }));
    const image = await lab.imageMake({ layer });
    const script = 'ls -l /bin/id; id; while :; do sleep 1; done';
    const spec = lab.spec('', { image, process: { command: ['/bin/sh', '-c', script], user: 'web' } });
    await up(runtime, spec);
    const log = await logUntil(runtime, spec, 'uid=');
    expect(log).toContain('-rwsr-sr-x');
    expect(log).toMatch(/uid=101\(web\) gid=102\(web\)/);
    expect(log).not.toContain('euid');

    // Someone who has an account on the host, and no right there. setpriv keeps its own capabilities until it executes.
    const asNobody = (...command: string[]) =>
      run('setpriv', ['--reuid=65534', '--regid=65534', '--clear-groups', '--', ...command]);
    chmodSync(lab.root, 0o755);
    const rootfs = join(lab.root, 'run', 'oci', 'roots', `${spec.instanceId}.${spec.epoch}`, 'rootfs');
    const upper = join(lab.root, 'volumes', spec.rootVolume.id, 'layer', 'upper');
    expect(statSync(join(rootfs, 'bin/suid')).mode & 0o6000).toBe(0o6000);
    for (const path of [join(rootfs, 'bin/suid'), upper])
      await expect(asNobody('test', '-e', path)).rejects.toMatchObject({ exitCode: 1 });
    await expect(asNobody('sh', '-c', 'exec "$0" id', join(rootfs, 'bin/suid'))).rejects.toThrow(
      /not found|Permission denied/,
    );
    await expect(asNobody('ls', join(lab.root, 'layers'))).rejects.toThrow(/Permission denied/);
    await expect(asNobody('ls', join(lab.root, 'volumes'))).rejects.toThrow(/Permission denied/);
    await runtime.remove(spec, context());
  });
});

function results(output: string): Map<string, string> {
  return new Map(
    output
      .split('\n')
      .filter(Boolean)
      .map((line) => line.split('\t') as [string, string]),
  );
}
