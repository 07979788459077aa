import { behaviours, type ConformanceHarness } from '@berth/runtime/conformance';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { TestHost } from './testing/host.js';

let host: TestHost;
beforeAll(async () => {
  host = await TestHost.start();
});
afterAll(async () => {
  await host.stop();
});

const harness: ConformanceHarness = {
  stepMs: 15_000,
  runtime: () => Promise.resolve(host.runtime()),
  spec: (kind) => Promise.resolve(host.spec(kind)),
  crash: (_key, pid) => {
    if (pid === null) throw new Error('a running machine has a process');
    process.kill(pid, 'SIGKILL');
    return Promise.resolve();
  },
  leftovers: (key) => host.leftovers(key),
  volumes: () => host.volumes(),
};

describe('the VM runtime on a real libvirtd', () => {
  it.each(behaviours.map((b) => [b.name, b] as const))('%s', (_name, behaviour) => behaviour.run(harness));
});
