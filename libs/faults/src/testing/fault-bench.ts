import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { FAULT_DIRECTORY, faultFiles } from '../fault-point.js';

/** The test's side of fault points: arms them, sees who holds where, and lets go. */
export class FaultBench {
  /** @param dir made for the user of this process alone when it is missing */
  constructor(readonly dir: string) {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    chmodSync(dir, 0o700);
  }

  /** Environment of the processes that shall hold. */
  get env(): Readonly<Record<string, string>> {
    return { [FAULT_DIRECTORY]: this.dir };
  }

  /** The next process that comes by holds there, and every further one. */
  arm(point: string, key: string): void {
    const { armed, reached } = faultFiles(this.dir, point, key);
    rmSync(reached, { force: true });
    writeFileSync(armed, '', { mode: 0o600 });
  }

  /** Pid of the process that holds there; null while none does. One that was killed there counts until the release. */
  holder(point: string, key: string): number | null {
    const { armed, reached } = faultFiles(this.dir, point, key);
    return existsSync(armed) && existsSync(reached) ? Number(readFileSync(reached, 'utf8')) || null : null;
  }

  /** Whoever holds there goes on. */
  release(point: string, key: string): void {
    const { armed, reached } = faultFiles(this.dir, point, key);
    rmSync(armed, { force: true });
    rmSync(reached, { force: true });
  }
}
