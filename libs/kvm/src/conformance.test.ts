import { conformanceCases } from '@berth/runtime/conformance';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { TestHost } from './testing/host.js';
import { vmHarness, VmSurroundings } from './testing/vm-harness.js';

let around: VmSurroundings;
let host: TestHost;
beforeAll(async () => {
  around = await VmSurroundings.make();
  host = await TestHost.start();
});
afterAll(async () => {
  await host.stop();
  await around.end();
});

describe('the VM runtime on a real libvirtd', () => {
  for (const { name, run } of conformanceCases('exec', 'files', 'attach', 'hostPaths'))
    it(name, () => run(vmHarness(host, around)), 90_000);
});
