import { run } from '@berth/linux';
import { storageErrorType } from '@berth/model';
import { VolumePool } from '@berth/storage';
import { conformanceCases, ofWholeMachines, type ConformanceHarness } from '@berth/runtime/conformance';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { microvmBoot, MicrovmHost } from '../testing/microvm-host.js';
import { vmHarness, VmSurroundings } from '../testing/vm-harness.js';

let host: MicrovmHost;
let around: VmSurroundings;
beforeAll(async () => {
  host = new MicrovmHost(await microvmBoot());
  around = await VmSurroundings.make();
}, 300_000);
afterAll(async () => {
  await host.stop();
  await around.end();
});

/** A machine's harness, where what runs and how it ends is a container's. */
function harness(): ConformanceHarness {
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
  for (const { name, run: check } of conformanceCases(...ofWholeMachines, 'attach'))
    it(name, () => check(harness()), 120_000);
});
