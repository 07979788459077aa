import { randomUUID } from 'node:crypto';
import type { Digest, InstanceId, IsoContent, NetworkId, NicId, VolumeId } from '@berth/model';
import { describe, expect, it } from 'vitest';
import {
  behaviours,
  conformanceCases,
  type ConformanceHarness,
  type WorkloadKind,
} from './conformance/behaviours.js';
import { misbehaving, misbehaviours } from './conformance/misbehaviours.js';
import { keyText, type Runtime, type WorkloadSpec } from './runtime.js';
import { SimulatedHost } from './simulated-host.js';
import { SimulatedRuntime } from './simulated.js';

const digest = `sha256:${'a'.repeat(64)}` as Digest;
const args: Readonly<Partial<Record<WorkloadKind, string[]>>> = {
  stubborn: ['sim:stubborn'],
  brief: ['sim:exit=7'],
  rebooter: ['sim:reboots'],
  unattended: ['sim:unattended'],
};

function workload(kind: WorkloadKind): WorkloadSpec {
  const mac = `02:be:${(randomUUID().match(/../g) ?? []).slice(0, 4).join(':')}`;
  const process = args[kind];
  return {
    instanceId: randomUUID() as InstanceId,
    epoch: 1,
    project: 'default',
    name: 'w',
    uuid: randomUUID(),
    isolation: 'container',
    image: {
      kind: 'oci',
      digest,
      configDigest: digest,
      layers: [],
      blobs: [],
      arch: kind === 'badImage' ? 'bad' : 'amd64',
      process: { entrypoint: [], cmd: [], env: [], user: '', workdir: '/' },
    },
    vcpus: 1,
    cpuMillis: 100,
    memoryMiB: 32,
    rootVolume: { id: randomUUID() as VolumeId, sizeMiB: 64 },
    volumes: [],
    nics: [{ id: randomUUID() as NicId, networkId: 'w' as NetworkId, mac, ipv4: '10.0.0.2' }],
    networks: [],
    process: kind === 'echo' ? { stdin: true } : process === undefined ? null : { args: process },
    userData: null,
    restart: { policy: 'never', backoffSeconds: 1, maxBackoffSeconds: 300 },
    accel: 'any',
  };
}

function isoOf(letter: string): IsoContent {
  const of = `sha256:${letter.repeat(64)}` as Digest;
  return {
    kind: 'iso',
    digest: of,
    sizeBytes: 2048,
    bootable: false,
    blobs: [{ digest: of, sizeBytes: 2048 }],
  };
}

/** An honest runtime, or one that breaks the promise of this name. */
function harness(broken?: string): ConformanceHarness {
  const host = new SimulatedHost({ now: () => new Date() });
  const twist = broken === undefined ? undefined : misbehaviours[broken];
  const runtime = (poolFull = false): Promise<Runtime> => {
    const honest = new SimulatedRuntime(host, { poolFull });
    return Promise.resolve(twist === undefined ? honest : misbehaving(honest, host, twist));
  };
  return {
    stepMs: broken === undefined ? 2000 : 150,
    runtime: () => runtime(),
    spec: (kind) => Promise.resolve(workload(kind)),
    briefEnd: { reason: 'exited', code: 7 },
    crash: (key) => Promise.resolve(host.end(key, { reason: 'signalled', signal: 'KILL' })),
    endTpm: (key) => Promise.resolve(host.endTpm(key)),
    leftovers: (key) => {
      const all = [...Object.keys(host.state.workloads), ...Object.keys(host.state.debris)];
      return Promise.resolve(all.filter((k) => k.startsWith(key.instanceId)));
    },
    debris: (spec) => {
      host.state.debris[keyText(spec)] = ['link'];
      return Promise.resolve();
    },
    exitsWith: (code) => ['exit', String(code)],
    media: () => Promise.resolve([isoOf('a'), isoOf('b')] as const),
    mediaOf: (key) =>
      Promise.resolve((host.state.workloads[keyText(key)]?.media ?? []).flatMap((digest) => digest ?? [])),
    macs: (key) => Promise.resolve(host.state.workloads[keyText(key)]?.macs ?? []),
    volumes: () => Promise.resolve(Object.keys(host.state.disks)),
    fullPool: () => runtime(true),
    smallPool: async () => {
      const spec = { ...workload('steady'), process: { args: ['sim:fills'] } };
      return {
        runtime: await runtime(),
        spec,
        full: (_seen, log) => log.includes('no space'),
        enlarge: () => Promise.resolve(host.print(spec, 'wrote all\n')),
        wroteAll: (log) => log.includes('wrote all'),
        end: () => Promise.resolve(),
      };
    },
  };
}

describe('the simulated runtime', () => {
  it.each(conformanceCases().map((c) => [c.name, c] as const))('%s', (_name, c) => c.run(harness()));
});

describe('the conformance suite', () => {
  it('has a way to break each of its promises', () => {
    expect(Object.keys(misbehaviours).sort()).toEqual(behaviours.map((b) => b.name).sort());
    expect(behaviours.length).toBeGreaterThanOrEqual(30);
  });

  it.each(behaviours.map((b) => [b.name, b] as const))('notices when broken: %s', async (name, b) => {
    await expect(b.run(harness(name))).rejects.toThrow();
  });

  it.each([
    'console',
    'exec',
    'hostPaths',
    'suspend',
    'reset',
    'watchdog',
    'update',
    'volumes',
    'nics',
    'cdroms',
    'guest',
    'display',
    'snapshots',
  ] as const)('asks of a runtime without %s that it offers none', async (facet) => {
    const lacking = conformanceCases(facet).at(-1);
    await expect(lacking?.run(harness())).rejects.toThrow();
    const kept = conformanceCases(facet).slice(0, -1);
    expect(kept.length).toBeLessThan(behaviours.length);
  });
});
