import { afterAll, beforeAll, describe, it } from 'vitest';
import { type ConformanceHarness, behaviours } from '@berth/runtime/conformance';
import { signalProcess, processIdentity } from '@berth/linux';
import { ContainerLab } from './testing/container-lab.js';

/** Counts its starts on its root disk, says so, and runs until it is asked to end. */
const steady = `
  trap 'exit 0' TERM
  n=$(cat /boots 2>/dev/null || echo 0); n=$((n + 1)); echo $n > /boots; echo boots=$n
  while :; do sleep 60 & wait $!; done`;
const stubborn = `trap '' TERM; echo boots=1; while :; do sleep 1; done`;

describe('the container runtime', () => {
  const lab = new ContainerLab();
  beforeAll(() => lab.open());
  afterAll(() => lab.close());

  const harness: ConformanceHarness = {
    runtime: () => Promise.resolve(lab.runtime()),
    spec: (kind) => {
      const spec = lab.spec(kind === 'stubborn' ? stubborn : steady);
      return Promise.resolve(kind === 'badImage' ? { ...spec, image: lab.badImage } : spec);
    },
    crash: (_, pid) => {
      const identity = processIdentity(pid ?? 0);
      if (identity !== null) signalProcess(identity, 'SIGKILL');
      return Promise.resolve();
    },
    leftovers: (key) => Promise.resolve(lab.leftovers(key)),
    volumes: () => lab.volumes(),
    stepMs: 20_000,
  };

  for (const behaviour of behaviours) it(behaviour.name, () => behaviour.run(harness));
});
