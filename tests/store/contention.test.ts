import type { ChildProcess } from 'node:child_process';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, stop } from 'esbuild';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ThrowawayPostgres } from '../support/postgres.js';
import { startPostgres, withClient } from '../support/postgres.js';
import type { Round } from './contender.js';
import type { TestHost, World } from './fixture.js';
import { joinHost, world } from './fixture.js';

/*
 * Two API-like processes on one database: 200 creates for 100 slots on 4 hosts. The processes run the store's real
 * code, bundled; the patched copy has the lock statement taken out and nothing else.
 */

const lockStatement =
  /await tx\.rows\(`SELECT 1 FROM host_capacity WHERE host_id = \$1 FOR NO KEY UPDATE`, \[hostId\]\);(?=\s*\}\s*async function roomLook|\s*\}\s*$)/m;
const slotsPerHost = 25;

let cluster: ThrowawayPostgres;
let w: World;
let dir: string;
const contenders: Record<'locked' | 'unlocked', ChildProcess[]> = { locked: [], unlocked: [] };

beforeAll(async () => {
  cluster = await startPostgres();
  w = await world(cluster.url);
  const root = fileURLToPath(new URL('../..', import.meta.url));
  // Below node_modules, so that the bundle's imports of pg and typeorm resolve.
  mkdirSync(join(root, 'node_modules/.cache'), { recursive: true });
  dir = mkdtempSync(join(root, 'node_modules/.cache/contender-'));
  const locked = join(dir, 'locked.mjs');
  await build({
    entryPoints: [join(root, 'tests/store/contender.ts')],
    outfile: locked,
    bundle: true,
    platform: 'node',
    format: 'esm',
    conditions: ['berth-source'],
    external: ['pg', 'typeorm'],
  });
  await stop();
  const code = readFileSync(locked, 'utf8');
  const patched = code.replace(lockStatement, '');
  expect(patched.length, 'the lock statement is in the bundle').toBeLessThan(code.length);
  const unlocked = join(dir, 'unlocked.mjs');
  writeFileSync(unlocked, patched);
  contenders.locked = await Promise.all([contender(locked), contender(locked)]);
  contenders.unlocked = await Promise.all([contender(unlocked), contender(unlocked)]);
});

afterAll(async () => {
  for (const child of [...contenders.locked, ...contenders.unlocked]) {
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  }
  await w.store.close();
  await cluster.stop();
  rmSync(dir, { recursive: true, force: true });
});

async function contender(path: string): Promise<ChildProcess> {
  const child = fork(path, { execArgv: [], stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  await once(child, 'message');
  return child;
}

async function play(child: ChildProcess, round: Round): Promise<number> {
  const answer = once(child, 'message');
  child.send(round);
  const [{ placed, error }] = (await answer) as [{ placed?: number; error?: string }];
  if (placed === undefined) throw new Error(error ?? 'no answer');
  return placed;
}

interface Outcome {
  readonly told: number;
  readonly placed: number;
  readonly mostOnAHost: number;
  readonly pendingWithReason: number;
}

let rounds = 0;

/** Four new hosts, and 100 creates by each of two processes. What the rounds before left does not count. */
async function round(kind: 'locked' | 'unlocked'): Promise<Outcome> {
  const name = `r${rounds++}`;
  const capacity = { cpuMillis: slotsPerHost * 100, memoryMiB: 100_000, diskMiB: 100_000 };
  const hosts: TestHost[] = [];
  for (let n = 0; n < 4; n += 1) hosts.push(await joinHost(w, `${name}-h${n}`, capacity));
  const told = await Promise.all(
    contenders[kind].map((child, c) =>
      play(child, {
        url: w.url,
        projectId: w.projectId,
        hosts,
        prefix: `${name}-c${c}-`,
        creates: 100,
        atOnce: 6,
      }),
    ),
  );
  const counted = await withClient(w.url, (client) =>
    client.query<{ placed: number; most: number; reasons: number }>(
      `WITH per_host AS (SELECT count(*)::int AS n FROM placements
           WHERE phase <> 'ended' AND host_id = ANY ($1) GROUP BY host_id)
       SELECT (SELECT sum(n)::int FROM per_host) AS placed, (SELECT max(n) FROM per_host) AS most,
         (SELECT count(*)::int FROM instances i JOIN decisions d ON d.id = i.decision_id
          WHERE i.name LIKE $2 AND i.state = 'pending' AND d.outcome = 'unplaced' AND i.reason LIKE '%cpu%') AS reasons`,
      [hosts.map((h) => h.id), `${name}-%`],
    ),
  );
  const { placed = 0, most = 0, reasons = 0 } = counted.rows[0] ?? {};
  return { told: told.reduce((a, b) => a + b), placed, mostOnAHost: most, pendingWithReason: reasons };
}

test('20 rounds of 200 creates for 100 slots place exactly 100 and leave 100 pending with reasons', async () => {
  const outcomes: Outcome[] = [];
  for (let n = 0; n < 20; n += 1) outcomes.push(await round('locked'));
  const exact = { told: 100, placed: 100, mostOnAHost: slotsPerHost, pendingWithReason: 100 };
  expect(outcomes).toEqual(outcomes.map(() => exact));
}, 180_000);

test('with the lock statement taken out, the same rounds over-commit a host', async () => {
  let worst = 0;
  for (let n = 0; n < 20 && worst <= slotsPerHost; n += 1)
    worst = Math.max(worst, (await round('unlocked')).mostOnAHost);
  expect(worst).toBeGreaterThan(slotsPerHost);
}, 180_000);
