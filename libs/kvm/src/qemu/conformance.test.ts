import { behaviours, type ConformanceHarness } from '@berth/runtime/conformance';
import { afterAll, describe, it } from 'vitest';
import { QemuHost } from '../testing/host.js';

const host = new QemuHost();
afterAll(() => host.stop());

const harness: ConformanceHarness = {
  stepMs: 15_000,
  runtime: () => Promise.resolve(host.runtime()),
  spec: (kind) => Promise.resolve(host.spec(kind)),
  crash: (_key, pid) => {
    if (pid === null) throw new Error('a running machine has a process');
    process.kill(pid, 'SIGKILL');
    return Promise.resolve();
  },
  leftovers: (key) => Promise.resolve(host.leftovers(key)),
  volumes: () => host.volumes(),
};

describe('the VM runtime with QEMU processes of its own', () => {
  it.each(behaviours.map((b) => [b.name, b] as const))('%s', (_name, behaviour) => behaviour.run(harness));
});
