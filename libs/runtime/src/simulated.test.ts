import { randomUUID } from 'node:crypto';
import type { Digest, InstanceId, VolumeId } from '@berth/model';
import { describe, expect, it } from 'vitest';
import { behaviours, type ConformanceHarness, type WorkloadKind } from './conformance.js';
import type { WorkloadSpec } from './runtime.js';
import { type Misbehaviour, misbehaviours, SimulatedHost, SimulatedRuntime } from './simulated.js';

const digest = `sha256:${'a'.repeat(64)}` as Digest;

function workload(kind: WorkloadKind): WorkloadSpec {
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
    nics: [],
    networks: [],
    process: kind === 'stubborn' ? { args: ['sim:stubborn'] } : null,
    userData: null,
    restart: { policy: 'never', backoffSeconds: 1, maxBackoffSeconds: 300 },
    accel: 'any',
  };
}

function harness(misbehave: readonly Misbehaviour[] = []): ConformanceHarness {
  const host = new SimulatedHost({ now: () => new Date() });
  return {
    stepMs: misbehave.length > 0 ? 150 : 2000,
    runtime: () => Promise.resolve(new SimulatedRuntime(host, new Set(misbehave))),
    spec: (kind) => Promise.resolve(workload(kind)),
    crash: (key) => Promise.resolve(host.end(key, { reason: 'signalled', signal: 'KILL' })),
    leftovers: (key) =>
      Promise.resolve(Object.keys(host.state.workloads).filter((k) => k.startsWith(key.instanceId))),
    volumes: () => Promise.resolve(Object.keys(host.state.disks)),
  };
}

describe('the simulated runtime', () => {
  it.each(behaviours.map((b) => [b.name, b] as const))('%s', (_name, b) => b.run(harness()));
});

describe('the conformance suite notices a runtime that breaks one promise', () => {
  it('has one switch per behaviour', () => {
    expect(Object.values(misbehaviours).sort()).toEqual(behaviours.map((b) => b.name).sort());
  });

  it.each(Object.keys(misbehaviours) as Misbehaviour[])('%s fails exactly its behaviour', async (m) => {
    const failed: string[] = [];
    for (const b of behaviours) await b.run(harness([m])).catch(() => failed.push(b.name));
    expect(failed).toEqual([misbehaviours[m]]);
  });
});
