import { createHash } from 'node:crypto';
import { connect } from 'node:net';
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { libvirtdConfig, qemuConfig, renderConfig, virtlogdConfig } from '@berth/kvm';
import { run, writeFileAtomic } from '@berth/linux';
import type { ComponentSpec } from './component.js';
import { componentFile, componentName, type HostContext } from './host.js';
import type { Paths } from './paths.js';

const withBound = fileURLToPath(new URL('../libexec/with-bound', import.meta.url));

/** Whether something listens on a unix socket. */
export function socketAnswers(path: string, timeoutMs = 2000): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const end = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(timeoutMs, () => end(false));
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
  });
}

/** A host's libvirt must not share its UUID with another host of the same machine: derived, so that it stays. */
export function hostUuid(machineId: string, root: string): string {
  const hex = createHash('sha256').update(`berth-host\0${machineId.trim()}\0${root}`).digest('hex');
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    `4${hex.slice(13, 16)}`,
    `8${hex.slice(17, 20)}`,
    hex.slice(20, 32),
  ].join('-');
}

/** Libvirt's runtime directory as this process reaches it: of a lab host through its holder's root. */
export function libvirtRunDir(host: HostContext): string {
  return host.holderPid === null ? '/run/libvirt' : `/proc/${host.holderPid}/root/run/libvirt`;
}

/**
 * virtlogd and libvirtd of one host, in the foreground on libvirt's own paths, so that a plain `virsh` there sees the
 * same. Their configuration is Berth's own; qemu.conf has a fixed place, so it is laid over the distribution's in a
 * mount namespace of the daemon's, and nothing in /etc changes. They outlive the supervisor: QEMU would go on without
 * them, but its console log ends with virtlogd. Where a libvirt answers already it is left as it is.
 */
export function libvirtComponents(paths: Paths, host: HostContext): ComponentSpec[] {
  const conf = join(host.root, 'var/lib/berth/libvirtd');
  const runDir = libvirtRunDir(host);
  const daemon = (name: string, socket: string): ComponentSpec => {
    const start = ['--mount', '--propagation', 'slave', '--', withBound, join(conf, 'qemu.conf')];
    // tini adopts and reaps what the daemon leaves behind: libvirt waits until a QEMU it ended is no zombie any more, and
    // the machine's init may be in no hurry.
    const { command, args } = host.enter('tini', [
      ...['-s', '--', 'unshare'],
      ...start,
      '/etc/libvirt/qemu.conf',
      '--',
      `/usr/sbin/${name}`,
      ...['-f', join(conf, `${name}.conf`)],
    ]);
    const path = `${runDir}/${socket}`;
    return {
      name: componentName(host, name),
      command,
      args: () => args,
      logFile: componentFile(paths.log, host, name, 'log'),
      record: componentFile(paths.components, host, name, 'json'),
      outlives: true,
      stopSignal: 'SIGTERM',
      stopTimeoutMs: 10_000,
      address: `/run/libvirt/${socket}`,
      prepare: async () => {
        mkdirSync(runDir, { recursive: true, mode: 0o755 });
        await configWrite(conf, host);
        await kvmDeviceOpen();
      },
      ready: async () => ((await socketAnswers(path)) ? null : `waiting for /run/libvirt/${socket}`),
      external: () => (existsSync(path) ? socketAnswers(path) : Promise.resolve(false)),
    };
  };
  return [daemon('virtlogd', 'virtlogd-sock'), daemon('libvirtd', 'libvirt-sock')];
}

/**
 * Gives /dev/kvm the owner and mode that udev's rules give it, where no udev runs. Without it libvirt finds KVM when it
 * probes and not when it checks as QEMU's user, so it throws its answer away and probes anew (seconds) at every call.
 */
async function kvmDeviceOpen(): Promise<void> {
  const device = '/dev/kvm';
  const group = await run('getent', ['group', 'kvm']).catch(() => null);
  if (group === null || !existsSync(device)) return;
  const gid = Number(group.stdout.split(':')[2]);
  const { gid: owner, mode } = statSync(device);
  if (owner !== 0 || (mode & 0o077) !== 0) return;
  chownSync(device, 0, gid);
  chmodSync(device, 0o660);
}

async function configWrite(dir: string, host: HostContext): Promise<void> {
  mkdirSync(dir, { recursive: true, mode: 0o755 });
  const machineId = existsSync('/etc/machine-id') ? readFileSync('/etc/machine-id', 'utf8') : '';
  const files = {
    'qemu.conf': qemuConfig(),
    'libvirtd.conf': libvirtdConfig({ hostUuid: hostUuid(machineId, host.root) }),
    'virtlogd.conf': virtlogdConfig(),
  };
  for (const [name, config] of Object.entries(files))
    await writeFileAtomic(join(dir, name), renderConfig(config), { mode: 0o644 });
}
