import assert from 'node:assert/strict';
import { sizesIn, type Runtime, type WorkloadHas, type WorkloadSpec } from '../runtime.js';
import { of, runs, startAgain } from './misbehaviour-steps.js';
import type { Twist } from './misbehaviours.js';

function updated(rt: Runtime, ...args: Parameters<NonNullable<Runtime['update']>>) {
  assert.ok(rt.update);
  return rt.update(...args);
}

/** What is said of a change that was not made. */
const nothingOf = (spec: WorkloadSpec): WorkloadHas => ({
  volumes: [],
  sizes: sizesIn(spec),
  unsettled: [],
});

/** For each promise about changes of what runs a way to break it. */
export const changeMisbehaviours: Readonly<Record<string, Twist>> = {
  'the processor cap is changed, lifted and set again while the workload runs, and twice is once': (
    rt,
    host,
  ) => ({
    update: async (spec, ctx) => {
      const w = of(host, spec);
      const before = w?.spec.cpuMillis;
      const has = await updated(rt, spec, ctx);
      // A cap that is lifted stays.
      if (w !== undefined && spec.cpuMillis === null) w.spec = { ...w.spec, cpuMillis: before ?? null };
      return has;
    },
  }),
  'a later life of the agent tells the sizes that a workload has': (rt, _host, known) => ({
    update: async (spec, ctx) => {
      const has = await updated(rt, spec, ctx);
      const knew = known.has('first');
      known.add('first');
      return knew ? has : { ...has, sizes: { ...has.sizes, cpuMillis: null } };
    },
  }),
  'a volume is plugged in and taken away again while the workload runs, and twice is once': (rt, host) => ({
    update: async (spec, ctx) => {
      const has = await updated(rt, spec, ctx);
      // What is taken away is thrown away.
      if (spec.volumes.length === 0)
        for (const id of Object.keys(host.state.disks))
          if (id !== spec.rootVolume.id) delete host.state.disks[id];
      return has;
    },
  }),
  'what starts has its volumes, and a later life of the agent sees them': (rt) => ({
    update: async (spec, ctx) => updated(rt, { ...spec, volumes: spec.volumes.slice(1) }, ctx),
  }),
  'a volume and the root disk grow while the workload runs, and while it does not': (rt, _host, known) => ({
    update: async (spec, ctx) => {
      const has = await updated(rt, spec, ctx);
      for (const { id, sizeMiB } of has.volumes) if (!known.has(id)) known.add(id).add(`${id} ${sizeMiB}`);
      return {
        ...has,
        volumes: has.volumes.map((v) => (known.has(`${v.id} ${v.sizeMiB}`) ? v : { ...v, sizeMiB: 1 })),
      };
    },
  }),
  'limits of a volume can be set, changed and lifted while the workload runs': (rt) => ({
    update: async (spec, ctx) => {
      const limited = spec.volumes.some(({ limits }) => Object.keys(limits).length > 0);
      return limited ? nothingOf(spec) : updated(rt, spec, ctx);
    },
  }),
  'a volume goes from one workload to another, and is not deleted while one has it': (_rt, host) => ({
    removeVolume: (id) => {
      delete host.state.disks[id];
      return Promise.resolve();
    },
  }),
  'what is suspended comes back with the volumes it had, whatever is asked for by then': (rt, host) => ({
    start: async (spec, ctx) => {
      const w = of(host, spec);
      if (w?.suspended === true && w.volumes?.length !== spec.volumes.length + 1) startAgain(host, w);
      await rt.start(spec, ctx);
    },
  }),
  'a nic comes to a workload that runs, twice is once, and a later life of the agent sees it': (rt) => ({
    update: (spec, ctx) => updated(rt, { ...spec, nics: spec.nics.slice(0, 1) }, ctx),
  }),
  'a nic that is to go is gone or is told to be there still, and the next start has what is asked for': (
    rt,
    host,
  ) => ({
    update: async (spec, ctx) => {
      const w = of(host, spec);
      const before = w?.macs;
      const has = await updated(rt, spec, ctx);
      if (w !== undefined && before !== undefined) w.macs = before;
      return has;
    },
  }),
  'what is suspended comes back with the nics it had, whatever is asked for by then': (rt, host) => ({
    start: async (spec, ctx) => {
      const w = of(host, spec);
      if (w?.suspended === true) w.macs = spec.nics.map(({ mac }) => mac);
      await rt.start(spec, ctx);
    },
  }),
  'a medium is put into a drive, changed and taken out while the workload runs, twice is once, and a later life of the agent sees it':
    (rt, host) => ({
      update: async (spec, ctx) => {
        const w = of(host, spec);
        const before = w?.media;
        const has = await updated(rt, spec, ctx);
        // What is to be taken out stays.
        if (w !== undefined && spec.cdroms?.every(({ image }) => image === null) === true)
          w.media = before ?? [];
        return has;
      },
    }),
  'a drive comes with the next start, and what is suspended comes back with what was in its drives': (
    rt,
    host,
  ) => ({
    start: async (spec, ctx) => {
      const w = of(host, spec);
      if (w?.suspended === true) w.media = spec.cdroms?.map(({ image }) => image?.digest ?? null) ?? [];
      await rt.start(spec, ctx);
    },
  }),
  'what does not run cannot be changed': (rt, host) => ({
    update: async (spec, ctx) => (runs(host, spec) ? updated(rt, spec, ctx) : nothingOf(spec)),
  }),
};
