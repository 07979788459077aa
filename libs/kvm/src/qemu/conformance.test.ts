import { conformanceCases } from '@berth/runtime/conformance';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { QemuHost } from '../testing/host.js';
import { vmHarness, VmSurroundings } from '../testing/vm-harness.js';

const host = new QemuHost();
let around: VmSurroundings;
beforeAll(async () => {
  around = await VmSurroundings.make();
});
afterAll(async () => {
  await host.stop();
  await around.end();
});

describe('the VM runtime with QEMU processes of its own', () => {
  for (const { name, run } of conformanceCases('exec', 'files', 'attach', 'hostPaths'))
    it(name, () => run(vmHarness(host, around)), 90_000);
});
