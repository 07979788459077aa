import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { namesIn } from '@berth/linux';
import type { ExecOpen, ExitInfo } from '@berth/model';
import { RuntimeError, type Terminal, type WorkloadKey } from '@berth/runtime';
import type { HostParts } from '../host-parts.js';
import type { Launcher } from '../launch/launcher.js';
import { workloadId } from '../workload-record.js';
import { groupMembers, killAll, strays } from './exec-processes.js';
import { ExecTerminal } from './exec-terminal.js';

/** The execs of one agent. What an earlier one left is ended: nobody has its terminal any more. */
export class Execs {
  private next = 0;
  private readonly own = new Map<string, ExecTerminal>();
  /** Names of this life's files: an earlier one may have had our pid. */
  private readonly life = `${process.pid}-${Math.round(performance.timeOrigin)}`;

  constructor(private readonly parts: HostParts) {}

  /** Starts a process in a running container, whose lock the caller holds. @throws RuntimeError badImage, hostFault */
  async begin(
    key: WorkloadKey,
    open: ExecOpen,
    launcher: Launcher,
    workloadEnd: () => Promise<ExitInfo | null>,
    signal: AbortSignal,
  ): Promise<Terminal> {
    const process = await this.parts.execProcess(key, open);
    const { execs, cgroup } = this.parts.paths(key);
    const name = `${this.life}-${(this.next += 1)}`;
    const files = { process: join(execs, `${name}.json`), pid: join(execs, `${name}.pid`) };
    mkdirSync(execs, { recursive: true, mode: 0o700 });
    writeFileSync(files.process, JSON.stringify(process), { mode: 0o600 });
    const command = launcher.exec(workloadId(key), files);
    try {
      const terminal = new ExecTerminal({ command, files, cgroup, open, workloadEnd }, signal);
      this.own.set(name, terminal);
      void terminal.ended.then(() => this.own.delete(name));
      return terminal;
    } catch (cause) {
      rmSync(files.process, { force: true });
      throw new RuntimeError('hostFault', 'no terminal could be made', { cause });
    }
  }

  /** Ends what execs of an earlier agent left in a running container with this first process. */
  async sweep(key: WorkloadKey, init: number): Promise<void> {
    const { execs, cgroup } = this.parts.paths(key);
    await killAll(async () => {
      const members = await groupMembers(cgroup);
      const relays = [...this.own.values()].flatMap(({ relay }) => (relay === null ? [] : [relay]));
      return strays(members, init, new Set(relays));
    });
    for (const file of namesIn(execs))
      if (!this.own.has(file.split('.')[0] ?? '')) rmSync(join(execs, file), { force: true });
  }
}
