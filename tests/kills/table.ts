import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FaultBench } from '../../libs/faults/src/testing/fault-bench.js';
import { Berth, patience } from '../e2e/berth.js';
import { Fleet, layAgent } from './fleet.js';
import { type GuestKind, KillImages, media } from './images.js';
import { asWanted, DRIVE, KillTable, STUBBORN } from './kill-table.js';
import type { LabHost } from './lab-host.js';
import { Listing } from './listing.js';
import { plan, type Row, type Task } from './plan.js';
import { Slot } from './slot.js';
import { runtimes, type RuntimeName } from './steps.js';
import { Victims } from './victims.js';

/*
 * The kill table: every step of create, stop, start, restart, delete and a change of a medium × whoever can die there × every runtime. Each row
 * is held at its step by a fault point (ADR 11), the victim gets SIGKILL, and afterwards exactly what was wanted is there,
 * once. Rows are held many at a time, so that one kill serves them all; the plan says which may be.
 */
const kept = new URL('../../.berth/', import.meta.url).pathname;
/** Instances per runtime that are there at the same time. */
const SLOTS = 9;
/** The same of guests that heed no stop: each costs a time of grace. */
const STUBBORN_SLOTS = 2;
/** The same of guests with a drive: one for each step. */
const DRIVE_SLOTS = 3;
/** Seconds, so that they are asked before they are forced. */
const STUBBORN_GRACE = 5;
const numbers: Readonly<Record<RuntimeName, number>> = { libvirt: 2, qemu: 3, oci: 4 };

let berth: Berth;
let images: KillImages;
let table: KillTable;
let hosts: Record<RuntimeName, LabHost>;
let fleet: Fleet;
let listing: Listing;
let before: object;
const names = {} as Record<RuntimeName, string>;

async function spec(
  runtime: RuntimeName,
  labels: Readonly<Record<string, string>>,
  kind: GuestKind,
  slot: string,
): Promise<object> {
  const common = {
    image: await images.name(runtime, kind),
    restart: { policy: 'always', backoffSeconds: 1, maxBackoffSeconds: 2 },
    ...(kind === 'stubborn' ? { stopGraceSeconds: STUBBORN_GRACE } : {}),
    placement: { selector: { runs: runtime, ...labels } },
  };
  if (runtime === 'oci') {
    const box = { isolation: 'container', cpuMillis: 200, memoryMiB: 32, rootDisk: { sizeMiB: 16 } };
    const volumes = [{ name: await volumeOf(slot), path: '/data' }];
    return { ...box, secrets: [{ name: SECRET }], volumes, ...common };
  }
  // Firmware looks for a USB tablet for longer than these guests take to boot.
  return {
    isolation: 'vm',
    vcpus: 1,
    memoryMiB: 32,
    usbTablet: false,
    rootDisk: { sizeMiB: 8 },
    ...(kind === 'drive' ? { cdroms: [{ image: media[0] }] } : {}),
    ...common,
  };
}

/** Every container has this secret, and a data volume that stays when it goes. */
const SECRET = 'table';
const volumes = new Map<string, Promise<unknown>>();

async function volumeOf(slot: string): Promise<string> {
  const made =
    volumes.get(slot) ??
    berth.ok('POST', '/v1/projects/default/volumes', { name: slot, sizeMiB: 16, format: 'ext4' });
  volumes.set(slot, made);
  await made;
  return slot;
}

/** Each host has one runtime, so that what holds up one host holds up one runtime. */
function lay(root: string): void {
  const capacity = { cpuMillis: 64_000, memoryMiB: 16_384, diskMiB: 65_536 };
  for (const runtime of runtimes)
    layAgent(root, numbers[runtime], {
      runtimes: [runtime],
      labels: { runs: runtime },
      vmStarts: 64,
      capacity,
    });
}

const label = async (runtime: RuntimeName, labels: Readonly<Record<string, string>>): Promise<void> => {
  await berth.ok('PATCH', `/v1/hosts/${names[runtime]}`, { labels: { runs: runtime, ...labels } });
};

async function neighbour(runtime: RuntimeName): Promise<Slot> {
  const name = `neighbour-${runtime}`;
  const { instance } = await berth.create(name, await spec(runtime, {}, 'steady', name));
  const slot = new Slot(berth, listing, runtime, hosts[runtime], instance);
  await slot.untilRunning(1);
  slot.boots = await slot.booted(1);
  return slot;
}

async function up(name: string): Promise<void> {
  mkdirSync(kept, { recursive: true });
  writeFileSync(join(kept, `kill-table-${name}.log`), '');
  let bench: FaultBench | undefined;
  berth = await Berth.up(4, {
    lay,
    env: (root) => {
      bench = new FaultBench(join(root, 'faults'));
      return { ...bench.env, BERTH_RESTART_PAUSE_MAX_SECONDS: '0.25' };
    },
  });
  if (bench === undefined) throw new Error('there are no fault points');
  listing = new Listing(berth);
  const victims = new Victims(berth);
  fleet = new Fleet(berth, victims, Object.values(numbers));
  const [libvirt, qemu, oci] = fleet.hosts as [LabHost, LabHost, LabHost];
  hosts = { libvirt, qemu, oci };
  for (const host of await berth.hosts()) {
    const runtime = runtimes.find((r) => host.labels['runs'] === r);
    if (runtime !== undefined) names[runtime] = host.name;
  }
  images = new KillImages(berth);
  await berth.ok('PUT', `/v1/projects/default/secrets/${SECRET}`, { value: 'known to containers alone' });
  const neighbours = await Promise.all(runtimes.map(neighbour));
  before = await fleet.state();
  table = new KillTable({
    ...{ berth, listing, bench, victims, hosts, spec, label, neighbours },
    say: (line) => appendFileSync(join(kept, `kill-table-${name}.log`), `${line}\n`),
  });
}

/**
 * Declares the tests of these rows, and what runs them: one part after the other, each from an empty Berth on. The table is printed
 * and kept as `.berth/kill-table-<name>.txt`; beside it a log tells of each round.
 */
export function killTable(name: string, ...parts: (readonly Row[])[]): void {
  const rows = parts.flat();
  beforeAll(() => up(name), patience(300_000));

  afterAll(async () => {
    const text = tableText(rows);
    writeFileSync(join(kept, `kill-table-${name}.txt`), text);
    console.log(text);
    await berth?.down();
  }, patience(180_000));

  describe(`kill -9 of ${name}`, () => {
    beforeAll(async () => {
      for (const [n, part] of parts.entries()) {
        if (n > 0) await table.cleared();
        for (const tasks of rounds(part)) await table.round(tasks);
      }
    }, patience(900_000));

    it.each(rows as Row[])('$victim at $operation, $point, $runtime', (row) => {
      expect(table.outcomes.get(row)).toBe(asWanted);
    });

    it(
      'nothing is left over on any host',
      async () => {
        await table.cleared();
        for (const slot of volumes.keys())
          if (!slot.startsWith('neighbour-'))
            await berth.ok('DELETE', `/v1/projects/default/volumes/${slot}`);
        await fleet.untilLike(before);
      },
      patience(120_000),
    );
  });
}

/**
 * A guest that heeds no stop takes part in nothing else, and one with a drive neither: firmware looks for that at each of a thousand
 * boots. Both have slots of their own in the first rounds of the others.
 */
function rounds(rows: readonly Row[]): Task[][] {
  const kills = rows.filter((row) => row.operation === 'kill');
  const discs = rows.filter((row) => row.operation === 'medium');
  const others = rows.filter((row) => row.operation !== 'kill' && row.operation !== 'medium');
  const plans = [plan(others, SLOTS), plan(kills, STUBBORN_SLOTS, STUBBORN), plan(discs, DRIVE_SLOTS, DRIVE)];
  const length = Math.max(...plans.map((of) => of.length));
  return Array.from({ length }, (_, n) => plans.flatMap((of) => of[n] ?? []));
}

/** One line per step and victim, one column per runtime. */
function tableText(rows: readonly Row[]): string {
  const lines = new Map<string, Partial<Record<RuntimeName, string>>>();
  const put = (row: Row): void => {
    const name = [row.operation, row.point, row.victim]
      .map((word, i) => word.padEnd([8, 31, 9][i] ?? 0))
      .join(' ');
    lines.set(name, { ...lines.get(name), [row.runtime]: table?.outcomes.get(row) ?? 'not tried' });
  };
  for (const row of rows) put(row);
  const head = [
    'operation step                            victim   ',
    ...runtimes.map((r) => r.padEnd(16)),
  ].join(' ');
  const body = [...lines].map(([name, found]) =>
    [name, ...runtimes.map((runtime) => (found[runtime] ?? '-').padEnd(16))].join(' ').trimEnd(),
  );
  return `${[head, ...body].join('\n')}\n`;
}
