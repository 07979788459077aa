import { existsSync, lstatSync, rmSync, writeFileSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';

/*
 * Places at which a test may hold a process, to kill it or something else there. See docs/adr/0011.
 *
 * In production this is one look at a constant: the variable below is unset, and nothing that happens later can turn it
 * on. Even in a process that was started with it, all a point can do is wait: it reads no content, runs nothing, changes
 * no value and throws nothing. It looks whether one file is there, makes one beside it, and goes on when the first is
 * gone.
 *
 *   <dir>/<point>@<key>.armed     made and removed by the test
 *   <dir>/<point>@<key>.reached   made by the process that holds there, with its pid
 */

/** Directory of a test's fault points, closed to other users; unset in production. */
export const FAULT_DIRECTORY = 'BERTH_FAULT_DIR';

/** Dozens may be held at once, for seconds. */
const LOOK_MS = 50;
const directory = checked(process.env[FAULT_DIRECTORY]);

/** @throws Error when others than the user of this process could arm a point */
function checked(dir: string | undefined): string | null {
  if (dir === undefined || dir === '') return null;
  const found = isAbsolute(dir) ? lstatSync(dir, { throwIfNoEntry: false }) : undefined;
  if (found?.isDirectory() !== true || found.uid !== process.getuid?.() || (found.mode & 0o077) !== 0)
    throw new Error(
      `${FAULT_DIRECTORY}=${dir}: must be a directory that only the user of this process can enter`,
    );
  process.stderr.write(`fault points are on (${FAULT_DIRECTORY}=${dir}); this is for tests only\n`);
  return dir;
}

/** Waits here while a test has armed this point for this key, which is the id (or, in a request, the name) of something. */
export function faultPoint(point: string, key: string): Promise<unknown> | undefined {
  return directory === null ? undefined : held(directory, point, key);
}

/** The same for a place that stands for several at once: waits while any of them is armed. */
export function faultPoints(
  all: () => Iterable<readonly [point: string, key: string]>,
): Promise<unknown> | undefined {
  const dir = directory;
  return dir === null ? undefined : Promise.all(Array.from(all(), ([point, key]) => held(dir, point, key)));
}

async function held(dir: string, point: string, key: string): Promise<void> {
  // A key with anything else in it could not name a file of this directory.
  if (!/^[A-Za-z0-9-]+$/.test(key)) return;
  const { armed, reached } = faultFiles(dir, point, key);
  if (!existsSync(armed)) return;
  writeFileSync(reached, String(process.pid), { mode: 0o600 });
  while (existsSync(armed)) await wait(LOOK_MS);
  rmSync(reached, { force: true });
}

/** The two files of a point. */
export function faultFiles(dir: string, point: string, key: string): { armed: string; reached: string } {
  const name = join(dir, `${point}@${key}`);
  return { armed: `${name}.armed`, reached: `${name}.reached` };
}
