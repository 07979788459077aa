import { connect } from 'node:net';
import { existsSync, mkdirSync } from 'node:fs';
import type { ComponentSpec } from './component.js';
import { componentFile, componentName, type HostContext } from './host.js';
import type { Paths } from './paths.js';

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

/**
 * virtlogd and libvirtd of one host, in the foreground on libvirt's own paths, so that a plain `virsh` there sees the
 * same. They outlive the supervisor: QEMU would go on without them, but its console log ends with virtlogd.
 * Where a libvirt answers already (a distribution's service) it is left as it is.
 */
export function libvirtComponents(paths: Paths, host: HostContext, runDir: string): ComponentSpec[] {
  const daemon = (name: string, socket: string, args: readonly string[]): ComponentSpec => {
    const { command, args: all } = host.enter(`/usr/sbin/${name}`, args);
    const path = `${runDir}/${socket}`;
    return {
      name: componentName(host, name),
      command,
      args: () => all,
      logFile: componentFile(paths.log, host, name, 'log'),
      record: componentFile(paths.components, host, name, 'json'),
      outlives: true,
      stopSignal: 'SIGTERM',
      stopTimeoutMs: 10_000,
      address: `${runDir}/${socket}`,
      prepare: () => {
        mkdirSync(runDir, { recursive: true, mode: 0o755 });
        return Promise.resolve();
      },
      ready: async () => ((await socketAnswers(path)) ? null : `waiting for ${path}`),
      external: () => (existsSync(path) ? socketAnswers(path) : Promise.resolve(false)),
    };
  };
  return [daemon('virtlogd', 'virtlogd-sock', []), daemon('libvirtd', 'libvirt-sock', [])];
}
