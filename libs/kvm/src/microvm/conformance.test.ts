import { run } from '@berth/linux';
import { storageErrorType } from '@berth/model';
import { VolumePool } from '@berth/storage';
import { conformanceCases, ofWholeMachines, type ConformanceHarness } from '@berth/runtime/conformance';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { microvmBoot, MicrovmHost } from '../testing/microvm-host.js';
import { vmHarness, VmSurroundings } from '../testing/vm-harness.js';

let linux: MicrovmHost;
let small: MicrovmHost;
let around: VmSurroundings;
beforeAll(async () => {
  const boot = await microvmBoot();
  linux = MicrovmHost.linux(boot);
  small = await MicrovmHost.small(boot);
  around = await VmSurroundings.make();
}, 300_000);
afterAll(async () => {
  await linux.stop();
  await small.stop();
  await around.end();
});

const cases = conformanceCases(...ofWholeMachines, 'attach', 'hostPaths');

/** Behaviours that ask something of Linux: programs and files in it, its file system and what that makes of an end. */
const ofLinux = new Set([
  ...cases.filter((one) => !conformanceCases('exec', 'files').includes(one)).map(({ name }) => name),
  'a workload whose disk is full lives on, and writes again once there is room',
  'a crashed workload starts again in its epoch with its disk',
  'a stopped instance keeps its disk over a new epoch',
]);
ofLinux.delete('files of what does not run are not copied');

/** A machine's harness, where what runs and how it ends is a container's. */
function harness(host: MicrovmHost): ConformanceHarness {
  const machine = vmHarness(host, around);
  return {
    ...machine,
    briefEnd: { reason: 'exited', code: 7 },
    exitsWith: (code) => ['sh', '-c', `exit ${code}`],
    smallPool: async () => {
      const volumes = new VolumePool({ dir: around.small, reserveMiB: 0 });
      return {
        runtime: host.runtime({ network: around.network, volumes }),
        spec: around.connected(host.spec('writer')),
        full: (seen) => seen.conditions?.some((c) => c.type === storageErrorType) === true,
        enlarge: async () => void (await run('mount', ['-o', 'remount,size=120m', around.small])),
        wroteAll: (log) => log.includes('wrote all\n'),
        end: () => Promise.resolve(),
      };
    },
  };
}

describe('the microVM runtime', () => {
  it('does all that Linux is needed for on Linux', () => {
    for (const name of ofLinux) expect(cases.map((one) => one.name)).toContain(name);
  });
  for (const { name, run: check } of cases)
    it(name, () => check(harness(ofLinux.has(name) ? linux : small)), 120_000);
});
