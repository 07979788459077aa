import { relative } from 'node:path';
import { afterAll, expect } from 'vitest';
import { compare, type Leaks } from './compare.js';
import { machineState, type State } from './machine.js';
import { processState } from './processes.js';

/*
 * Set-up of every test file: looks at its test machine and its worker before the file is loaded and after its last hook,
 * and fails the file for what is different. Without a test machine others work beside us, and only what is surely ours is
 * compared: descriptors of the worker and the processes below it.
 */
const onMachine = process.env['BERTH_TEST_MACHINE'] === '1';
/** What ends by itself soon after is no leak: a process that was killed, a group it was in. */
const settleMs = Number(process.env['BERTH_LEAK_SETTLE_MS'] ?? 3_000);

const look = (): State => ({ ...processState(onMachine), ...(onMachine ? machineState() : {}) });

async function settled(before: State): Promise<Leaks> {
  for (const end = performance.now() + settleMs; ;) {
    const leaks = compare(before, look());
    if (leaks.length === 0 || performance.now() > end) return leaks;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const before = look();
// Registered first and therefore run last.
afterAll(async () => {
  const leaks = await settled(before);
  if (leaks.length === 0) return;
  const file = relative(process.cwd(), expect.getState().testPath ?? 'this file');
  const error = new Error(
    `${file} left its machine changed (docs/testing.md tells what to do):\n${leaks.join('\n')}`,
  );
  delete error.stack;
  throw error;
}, settleMs + 10_000);
