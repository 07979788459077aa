import { copyFileSync, mkdirSync, readdirSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from './config.js';
import { controlServe } from './control.js';
import { Fleet } from './fleet.js';
import type { Paths } from './paths.js';

/** The supervisor process itself. It ends when told `down`, or on SIGTERM, which leaves instances running. */
export async function daemonRun(paths: Paths, config: Config, hosts: number): Promise<void> {
  for (const dir of [paths.run, paths.log, paths.components])
    mkdirSync(dir, { recursive: true, mode: 0o755 });
  const report = (line: string): void => void process.stdout.write(`${new Date().toISOString()} ${line}\n`);
  const fleet = new Fleet(paths, config, report);
  const end = (): void => {
    report('the supervisor ends');
    process.exit(0);
  };
  await controlServe(fleet, paths.controlSocket, end);
  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    process.once(signal, () => void fleet.down('leave', 0).then(end, end));
  setInterval(() => logsTurn(paths.log, config.logMaxMiB * 1024 * 1024), 30_000).unref();
  report(`the supervisor begins, pid ${process.pid}`);
  await fleet.up(hosts).catch(() => undefined);
}

/** Turns large logs over: the content moves to `.1`, and the file goes on from empty (writers append). */
export function logsTurn(dir: string, maxBytes: number): void {
  for (const name of readdirSync(dir).filter((n) => n.endsWith('.log'))) {
    const file = join(dir, name);
    if (statSync(file).size <= maxBytes) continue;
    copyFileSync(file, `${file}.1`);
    truncateSync(file, 0);
  }
}
