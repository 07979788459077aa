import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { mounts } from '@berth/linux';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { Held, Runtime, WorkloadSpec } from '@berth/runtime';
import type { createContainerRuntime } from './container-runtime.js';
import { ContainerLab, context } from './testing/container-lab.js';
import { workloadId } from './workload-record.js';

/*
 * A call is held at a fault point for ever, which is what a kill there leaves. Then its record goes too: what is left must
 * be found by the parts alone, and taken away by a removal of a new runtime object. Only the doomed runtime has fault
 * points. (Where conmon was just spawned only a real kill does what a kill does, because its pipe ends with our process:
 * tests/kills has that.)
 */
const armed = new Set<string>();
const reached = new Set<string>();

async function doomedRuntimes(): Promise<typeof createContainerRuntime> {
  vi.doMock('@berth/faults', () => ({
    faultPoint: (point: string, key: string): Promise<never> | undefined => {
      if (!armed.has(`${point}@${key}`)) return undefined;
      reached.add(`${point}@${key}`);
      return new Promise(() => undefined);
    },
  }));
  vi.resetModules();
  const doomed = await import('./container-runtime.js');
  vi.doUnmock('@berth/faults');
  return doomed.createContainerRuntime;
}

const STEADY = `trap 'exit 0' TERM; echo ready; while :; do sleep 60 & wait $!; done`;
const PREPARE = [
  'oci.prepare.recorded',
  'oci.namespaces.made',
  'oci.nics.attached',
  'oci.layer.made',
  'oci.root.mounted',
];
const START = ['oci.bundle.written', 'oci.created', 'oci.run.recorded'];
const PROBE = ['oci.probe.namespaces.made', 'oci.probe.mounted'];
const REMOVE = [
  'oci.nics.detached',
  'oci.root.unmounted',
  'oci.cleared',
  'oci.networks.released',
  'oci.log.removed',
];

describe('what a kill leaves of a container whose record is lost', () => {
  const lab = new ContainerLab();
  let doomed: typeof createContainerRuntime;
  beforeAll(async () => {
    await lab.open();
    doomed = await doomedRuntimes();
  });
  afterAll(() => lab.close());

  /** Makes the call and returns once it is held at the point. */
  async function killedAt(point: string, spec: WorkloadSpec, call: () => Promise<void>): Promise<void> {
    const name = `${point}@${spec.instanceId}`;
    armed.add(name);
    let over: unknown = null;
    call().then(
      () => (over = new Error(`${point} was never reached`)),
      (error: unknown) => (over = error),
    );
    await expect.poll(() => reached.has(name) || over !== null, { timeout: 15_000 }).toBe(true);
    expect(over).toBeNull();
    rmSync(join(lab.root, 'state', 'workloads', `${workloadId(spec)}.json`), { force: true });
  }

  async function swept(spec: WorkloadSpec): Promise<void> {
    const left = lab.leftovers(spec);
    const later = lab.runtime();
    const held = async (): Promise<Held | undefined> =>
      (await later.inventory()).find((one) => one.instanceId === spec.instanceId);
    if (left.length > 0) expect(await held(), left.join('\n')).toMatchObject({ epoch: 1, runs: false });
    await later.remove(spec, context());
    expect(lab.leftovers(spec)).toEqual([]);
    expect(await held()).toBeUndefined();
  }

  async function prepared(): Promise<[Runtime, WorkloadSpec]> {
    const [runtime, spec] = [doomed(lab.options), lab.spec(STEADY)];
    await runtime.prepare(spec, context());
    return [runtime, spec];
  }

  it.each(PREPARE)('at %s of a prepare is found and swept', async (point) => {
    const spec = lab.spec(STEADY);
    await killedAt(point, spec, () => doomed(lab.options).prepare(spec, context()));
    await swept(spec);
  });

  it.each(START)('at %s of a start is found and swept, and never taken for one that runs', async (point) => {
    const [runtime, spec] = await prepared();
    await killedAt(point, spec, () => runtime.start(spec, context()));
    await swept(spec);
  });

  it.each(PROBE)('at %s of a probe is swept by the next one', async (point) => {
    const name = `${point}@.probe-`;
    armed.add(name);
    void doomed(lab.options).probe();
    await expect.poll(() => reached.has(name), { timeout: 15_000 }).toBe(true);
    armed.delete(name);
    const traces = (): string[] => [
      ...lab.paths().filter((path) => path.includes('/.probe-')),
      ...mounts().flatMap(({ target }) => (target.includes('/.probe-') ? target : [])),
    ];
    expect(traces()).not.toEqual([]);
    expect((await lab.runtime().probe()).reason).toBeNull();
    expect(traces()).toEqual([]);
  });

  it.each(REMOVE)('at %s of a removal is found and swept', async (point) => {
    const [runtime, spec] = await prepared();
    await runtime.start(spec, context());
    await runtime.stop(spec, 0, context());
    await runtime.start(spec, context());
    await killedAt(point, spec, () => runtime.remove(spec, context()));
    await swept(spec);
  });
});
