import type { ExecOpen, TerminalSize } from '@berth/model';
import { terminalEnv } from '../bundle/config.js';
import type { OciConfig, OciProcess, OciUser } from '../bundle/oci-types.js';
import { argumentsCheck, mergeEnv, workdir } from '@berth/runtime';

/** The process of an exec as an OCI runtime takes it: `runtime exec --process`. */
export type ExecProcess = OciProcess & {
  readonly consoleSize?: { readonly width: number; readonly height: number };
};

/** Of a terminal that nobody gave a size. */
export const usualSize: TerminalSize = { columns: 80, rows: 24 };

/**
 * The container's own process with another program: the same capabilities, limits and no_new_privs; seccomp, namespaces
 * and cgroup are the container's. `user` null is the container's own. Pure.
 * @throws RuntimeError badImage for an argument or a directory that cannot be.
 */
export function execProcess(container: OciConfig, user: OciUser | null, open: ExecOpen): ExecProcess {
  const own = container.process;
  argumentsCheck(open.command);
  const asked = Object.entries(open.env ?? {}).map(([name, value]) => `${name}=${value}`);
  return {
    ...own,
    terminal: open.tty,
    ...(open.tty ? { consoleSize: consoleSize(open.size ?? usualSize) } : {}),
    args: open.command,
    env: mergeEnv(open.tty ? [terminalEnv] : [], own.env, asked),
    cwd: open.workdir === undefined ? own.cwd : workdir(open.workdir),
    user: user ?? own.user,
  };
}

const consoleSize = ({ columns, rows }: TerminalSize): { width: number; height: number } => ({
  width: columns,
  height: rows,
});
