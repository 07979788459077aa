import { fileURLToPath } from 'node:url';
import { join } from 'node:path';

const enterCgroup = fileURLToPath(new URL('../libexec/enter-cgroup', import.meta.url));

/** Where a host's processes run: on the machine itself, or in the namespaces of a lab host. */
export interface HostContext {
  readonly name: string;
  /** BERTH_ROOT of this host. */
  readonly root: string;
  /** Address and port at which this host's agent dials the API. */
  readonly link: string;
  /** Prefix of component names and log files: empty for the machine itself. */
  readonly prefix: string;
  /** Process that holds the host's namespaces; null for the machine itself. */
  readonly holderPid: number | null;
  /** Wraps a command so that it runs inside the host. */
  enter(command: string, args: readonly string[]): { command: string; args: string[] };
}

/** The machine itself. */
export function machineHost(name: string, root: string, linkPort: number): HostContext {
  return {
    name,
    root,
    link: `127.0.0.1:${linkPort}`,
    prefix: '',
    holderPid: null,
    enter: (command, args) => ({ command, args: [...args] }),
  };
}

/** A command inside the namespaces and cgroups of a lab host; the process keeps its pid, nothing stays in between. */
export function labEnter(
  holderPid: number,
  cgroups: readonly string[],
  command: string,
  args: readonly string[],
): { command: string; args: string[] } {
  const namespaces = ['--target', String(holderPid), '--mount', '--uts', '--ipc', '--net', '--cgroup'];
  return { command: enterCgroup, args: [...cgroups, '--', 'nsenter', ...namespaces, '--', command, ...args] };
}

/** Name of a host's component. */
export function componentName(host: HostContext, what: string): string {
  return host.prefix === '' ? what : `${host.prefix}/${what}`;
}

/** File name stem of a host's component in a directory. */
export function componentFile(dir: string, host: HostContext, what: string, ext: string): string {
  return join(dir, `${host.prefix === '' ? '' : `${host.prefix}-`}${what}.${ext}`);
}
