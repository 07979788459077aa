import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { type ConformanceHarness, conformanceCases, ofWholeMachines } from '@berth/runtime/conformance';
import { Netlink, cgroupCreate, processIdentity, run, signalProcess } from '@berth/linux';
import type { WorkloadSpec } from '@berth/runtime';
import { VolumePool } from '@berth/storage';
import { HostParts } from './host-parts.js';
import { UidRanges } from './isolation/uid-ranges.js';
import { ContainerLab, patience } from './testing/container-lab.js';
import { guestScripts } from './testing/guest-scripts.js';
import { workloadId } from './workload-record.js';

describe('the container runtime', () => {
  const lab = new ContainerLab();
  beforeAll(() => lab.open());
  afterAll(() => lab.close());

  /** Everything that `prepare` makes and more, and no record. */
  async function debris(spec: WorkloadSpec): Promise<void> {
    const parts = new HostParts(lab.options);
    const id = workloadId(spec);
    if (spec.image.kind !== 'oci') throw new Error('an OCI image is expected');
    const layers = await Promise.all(spec.image.layers.map((layer) => lab.options.layers.ensure(layer)));
    const ranges = new UidRanges(join(lab.options.stateDir, 'uid-ranges.json'));
    await parts.realise(spec, layers, await ranges.ensure(spec.rootVolume.id));
    const { bundle, cgroup, monitorCgroup, scratch } = parts.paths(spec);
    for (const group of [cgroup, monitorCgroup]) await cgroupCreate(group);
    const { runDir, stateDir, logDir } = lab.options;
    for (const directory of [bundle, scratch, join(runDir, 'monitor', 'persist', id)])
      mkdirSync(directory, { recursive: true });
    mkdirSync(join(stateDir, 'workloads'), { recursive: true });
    writeFileSync(join(stateDir, 'workloads', `.${id}.json.0123456789ab.tmp`), '{"ver');
    writeFileSync(join(logDir, `${id}.log`), '');
  }

  const harness: ConformanceHarness = {
    stepMs: 20_000 * patience,
    runtime: () => Promise.resolve(lab.runtime()),
    spec: (kind) => {
      if (kind === 'rebooter' || kind === 'unattended')
        throw new Error('a container has no machine that could boot');
      const spec = lab.spec(guestScripts[kind], kind === 'echo' ? { process: { stdin: true } } : {});
      return Promise.resolve(kind === 'badImage' ? { ...spec, image: lab.badImage } : spec);
    },
    briefEnd: { reason: 'exited', code: 7 },
    crash: (_, pid) => {
      const identity = processIdentity(pid ?? 0);
      if (identity !== null) signalProcess(identity, 'SIGKILL');
      return Promise.resolve();
    },
    leftovers: (key) => Promise.resolve(lab.leftovers(key)),
    debris,
    media: () => Promise.reject(new Error('a container has no drives')),
    mediaOf: () => Promise.resolve([]),
    endTpm: () => Promise.reject(new Error('a container has no TPM')),
    macs: (_, pid) => {
      const links = Netlink.with(`/proc/${pid}/ns/net`, (netlink) => netlink.links());
      return Promise.resolve(links.filter((l) => l.name.startsWith('eth')).map((l) => l.mac ?? ''));
    },
    exitsWith: (code) => ['sh', '-c', `exit ${code}`],
    volumes: () => lab.volumes(),
    fullPool: () => {
      const volumes = new VolumePool({ dir: join(lab.root, 'volumes'), reserveMiB: 2 ** 30 });
      return Promise.resolve(lab.runtime({ volumes }));
    },
    // Its room is that of its own disk: what its pool has beyond that is not its concern.
    smallPool: () => {
      const runtime = lab.runtime();
      const ballast = 'dd if=/dev/zero of=/ballast bs=1M count=48 2>/dev/null';
      const spec = lab.spec(`${ballast}; ${guestScripts.writer}`, { memoryMiB: 128 });
      return Promise.resolve({
        runtime,
        spec,
        full: (_seen, log) => log.includes('full\n'),
        enlarge: async () => {
          const pid = `${(await runtime.recover()).find((o) => o.instanceId === spec.instanceId)?.pid}`;
          await run('nsenter', ['-t', pid, '-a', '--', '/bin/busybox', 'rm', '/ballast']);
        },
        wroteAll: (log) => log.includes('wrote all\n'),
        end: () => Promise.resolve(),
      });
    },
  };

  for (const one of conformanceCases(...ofWholeMachines)) it(one.name, () => one.run(harness), 60_000);
});
