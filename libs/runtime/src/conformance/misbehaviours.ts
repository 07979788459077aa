import type { AttachOpen } from '@berth/model';
import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { setTimeout as wait } from 'node:timers/promises';
import { keyText, type Observation, type Runtime, type Terminal, type WorkloadKey } from '../runtime.js';
import { pngOf } from '../png.js';
import { observationOf, type SimulatedHost } from '../simulated-host.js';
import { changeMisbehaviours } from './change-misbehaviours.js';
import { of, runs, startAgain } from './misbehaviour-steps.js';
import { snapshotMisbehaviours } from './snapshot-misbehaviours.js';

/** Changes an honest runtime object so that it breaks one promise. Called once per object: `known` is its own memory. */
export type Twist = (rt: Runtime, host: SimulatedHost, known: Set<string>) => Partial<Runtime>;

const ended = (host: SimulatedHost, key: WorkloadKey): boolean => (of(host, key)?.exit ?? null) !== null;

/** Every object gives its observations another look. */
const observing = (rt: Runtime, look: (o: Observation) => Observation | null): Pick<Runtime, 'observe'> => ({
  async *observe(signal) {
    for await (const o of rt.observe(signal)) {
      const seen = look(o);
      if (seen !== null) yield seen;
    }
  },
});
const recovering = (rt: Runtime, look: (o: Observation) => Observation | null): Pick<Runtime, 'recover'> => ({
  recover: async () => (await rt.recover()).map(look).filter((o) => o !== null),
});
const exitOf = (o: Observation, change: object): Observation =>
  o.exit === null ? o : { ...o, exit: { ...o.exit, ...change } };

function opened(rt: Runtime, ...args: Parameters<NonNullable<Runtime['console']>>): Promise<Terminal> {
  assert.ok(rt.console);
  return rt.console(...args);
}

/** Whoever attaches asks for something else, and gets a terminal with this change. */
const attaching = (
  rt: Runtime,
  asks: Partial<AttachOpen>,
  change: Partial<Terminal> = {},
): Pick<Runtime, 'attach'> => ({
  attach: async (key, open, signal) => {
    assert.ok(rt.attach);
    return Object.assign(await rt.attach(key, { ...open, ...asks }, signal), change);
  },
});

/** A screen on which nothing is. */
const blank = (): Promise<Uint8Array> => pngOf({ width: 1, height: 1, rgb: Buffer.alloc(3) });

/** Every process that is put into a workload has a terminal with this change. */
const putting = (rt: Runtime, change: Partial<Terminal>): Pick<Runtime, 'exec'> => ({
  exec: async (key, open, signal) => {
    assert.ok(rt.exec);
    return Object.assign(await rt.exec(key, open, signal), change);
  },
});

/** For each promise a way to break it, by the promise's name: the proof that its test can fail. */
export const misbehaviours: Readonly<Record<string, Twist>> = {
  'prepare twice makes one volume and starts nothing': (rt, host, known) => ({
    prepare: async (spec, ctx) => {
      await rt.prepare(spec, ctx);
      if (known.has(keyText(spec))) host.state.disks[`${spec.rootVolume.id}-2`] = 0;
      known.add(keyText(spec));
    },
  }),
  'a bad image is refused and nothing is left': (rt, host) => ({
    prepare: (spec, ctx) => {
      host.state.disks[spec.rootVolume.id] ??= 0;
      return rt.prepare(spec, ctx);
    },
  }),
  'a full pool refuses a new workload with noSpace and nothing is left': (rt, host) => ({
    prepare: (spec, ctx) => {
      host.state.disks[spec.rootVolume.id] ??= 0;
      return rt.prepare(spec, ctx);
    },
  }),
  'a directory of the host that nobody offers is refused, and nothing runs until it is no longer asked for': (
    rt,
  ) => ({
    start: (spec, ctx) => rt.start({ ...spec, hostPaths: [] }, ctx),
  }),
  'a full pool keeps nothing from starting that has its volume': (rt, host) => ({
    prepare: (spec, ctx) => {
      if (ended(host, spec)) delete host.state.disks[spec.rootVolume.id];
      return rt.prepare(spec, ctx);
    },
  }),
  'a start of what was never prepared is refused and leaves nothing': (rt) => ({
    start: async (spec, ctx) => {
      await rt.prepare(spec, ctx);
      await rt.start(spec, ctx);
    },
  }),
  'names made to break out of a text or a path reach nothing': (rt, host) => ({
    prepare: async (spec, ctx) => {
      await rt.prepare(spec, ctx);
      if (spec.name.includes('/')) host.state.disks[spec.name] = 0;
    },
  }),

  'start twice leaves one workload with the same pid': (rt, host) => ({
    start: async (spec, ctx) => {
      if (runs(host, spec)) startAgain(host, of(host, spec));
      else await rt.start(spec, ctx);
    },
  }),
  'two starts at once make one workload': (rt, host) => ({
    start: async (spec, ctx) => {
      const idle = of(host, spec)?.pid === null;
      await wait(1);
      if (idle) startAgain(host, of(host, spec));
      else await rt.start(spec, ctx);
    },
  }),
  'a start that is cut short, at whatever moment, is finished by the same call': (rt, host) => ({
    start: async (spec, ctx) => {
      if (ctx.signal.aborted) delete host.state.workloads[keyText(spec)];
      await rt.start(spec, ctx);
    },
  }),
  'a stop during a start is not lost': (rt) => ({
    start: async (spec, ctx) => {
      await wait(5);
      await rt.start(spec, ctx);
    },
  }),
  'starts and stops at once end in one or the other, and the next call is obeyed': (rt) => {
    let stops = 0;
    return {
      stop: async (key, grace, ctx) => {
        if ((stops += 1) !== 4) await rt.stop(key, grace, ctx);
      },
    };
  },
  'a crashed workload starts again in its epoch with its disk': (rt, host) => ({
    start: async (spec, ctx) => {
      if (of(host, spec)?.exit === null) await rt.start(spec, ctx);
    },
  }),

  'the limits that the host enforces are the ones asked for': (rt) => ({
    limits: async (key) => ({ ...(await rt.limits?.(key)), memoryBytes: 1, cpuMillis: 500, pids: null }),
  }),
  'what runs tells what it uses, and what ended does not': (rt, _host, known) => ({
    usage: async () => {
      const [one] = (await rt.usage?.()) ?? [];
      if (one !== undefined) known.add(JSON.stringify(one));
      return [...known].map((text) => JSON.parse(text) as typeof one).filter((u) => u !== undefined);
    },
  }),
  'pause and resume keep the process, and twice is once': (rt, host) => ({
    pause: async (key, ctx) => {
      startAgain(host, of(host, key));
      await rt.pause?.(key, ctx);
    },
  }),
  'a paused workload stays paused over an agent restart, and can be asked to stop': (rt, host) => ({
    stop: (key, grace, ctx) => rt.stop(key, of(host, key)?.paused === true ? 0 : grace, ctx),
  }),
  'what is suspended has no process, and goes on where it was': (rt, host) => ({
    start: async (spec, ctx) => {
      // The memory is forgotten: it boots.
      if (of(host, spec)?.suspended === true) startAgain(host, of(host, spec));
      await rt.start(spec, ctx);
    },
  }),
  'what is suspended stays so over an agent restart, and the next agent brings it back': (rt, host) => ({
    recover: () => {
      for (const w of Object.values(host.state.workloads)) w.suspended = false;
      return rt.recover();
    },
  }),
  'a paused workload can be suspended, and a suspended one not be paused': (rt, host) => ({
    pause: async (key, ctx) => {
      if (of(host, key)?.suspended !== true) await rt.pause?.(key, ctx);
    },
  }),
  'a stop of what is suspended discards its memory: the next run boots': (rt, host) => ({
    stop: async (key, grace, ctx) => {
      const kept = of(host, key)?.suspended;
      await rt.stop(key, grace, ctx);
      const w = of(host, key);
      if (w !== undefined && kept === true) w.suspended = true;
    },
  }),
  'what is suspended can be removed, and nothing is left': (rt, host) => ({
    remove: async (key, ctx) => {
      if (of(host, key)?.suspended !== true && (of(host, key)?.exit ?? null) === null)
        await rt.remove(key, ctx);
    },
  }),
  'what does not run cannot be suspended': (rt, host) => ({
    suspend: async (spec, ctx) => {
      if (runs(host, spec)) await rt.suspend?.(spec, ctx);
    },
  }),
  'a suspend that is given up can be taken back, or finished': (rt, host) => ({
    suspend: async (spec, ctx) => {
      if (ctx.signal.aborted) host.end(spec, { reason: 'killed' });
      await rt.suspend?.(spec, ctx);
    },
  }),
  ...changeMisbehaviours,
  'a log that is followed gives what comes, and ends with its signal': (rt) => ({
    logs: (key, options) => rt.logs?.(key, options, new AbortController().signal) ?? never(),
  }),
  'changes are observed each at least once and in their order, by every observer': (rt, _host, known) => ({
    observe: (signal) => {
      if (known.has('observer')) return never();
      known.add('observer');
      return rt.observe(signal);
    },
  }),
  'a workload whose disk is full lives on, and writes again once there is room': (rt, host) => ({
    start: async (spec, ctx) => {
      await rt.start(spec, ctx);
      if (of(host, spec)?.log.includes('no space') === true) host.end(spec, { reason: 'exited', code: 1 });
    },
  }),

  'a reset boots the guest anew, in the same run and process': (_rt, host) => ({
    reset: (key) => Promise.resolve(startAgain(host, of(host, key))),
  }),
  'a guest that reboots by itself runs on, in the same run and process': (rt, host) => ({
    start: async (spec, ctx) => {
      await rt.start(spec, ctx);
      if (of(host, spec)?.log.includes('boots=2') === true) host.end(spec, { reason: 'guestShutdown' });
    },
  }),
  'what is paused, suspended or off is not reset': () => ({ reset: () => Promise.resolve() }),

  'a watchdog that expires resets the guest in the same run, and that is told': (rt) =>
    recovering(rt, (o) => ({ ...o, conditions: [] })),
  'a watchdog that turns the guest off ends its run with that reason, also to a later life of the agent': (
    rt,
  ) => recovering(rt, (o) => exitOf(o, { reason: 'hypervisorCrash' })),
  'a watchdog that pauses the guest holds it until it is resumed, or reset': (rt, host) => ({
    start: async (spec, ctx) => {
      await rt.start(spec, ctx);
      await rt.resume?.(of(host, spec)?.spec ?? spec, ctx);
    },
  }),
  'a watchdog that does nothing is told of when it expires': (rt) => ({
    start: (spec, ctx) => rt.start(spec, ctx).then(() => rt.reset?.(spec, ctx)),
  }),

  'a TPM that ends is told of while its workload runs on, also to a later life of the agent, until the next run':
    (rt) => recovering(rt, (o) => ({ ...o, conditions: [] })),
  'a workload whose TPM has ended is refused what it would not outlive, and can be paused, taken without memory and stopped':
    () => ({ reset: () => Promise.resolve() }),

  'a console begins with what was printed before, and carries what is typed, also to a later life of the agent':
    (rt) => ({
      console: (key, open, signal) => opened(rt, key, { ...open, scrollbackBytes: 0 }, signal),
    }),
  'all consoles of a workload show the same, and all but a read-only one take what is typed': (
    rt,
    _host,
    known,
  ) => ({
    console: async (key, open, signal) => {
      const terminal = await opened(rt, key, open, signal);
      if (known.has('console')) return Object.assign(terminal, { write: () => Promise.resolve() });
      known.add('console');
      return terminal;
    },
  }),
  'a console that nobody reads holds nothing up, and ends with the workload after its last words': (rt) => ({
    console: async (key, open, signal) =>
      Object.assign(await opened(rt, key, open, signal), { ended: Promise.resolve(null) }),
  }),
  'who attaches sees what was printed, types to the first process and leaves it running, also for a later life of the agent':
    (rt) => attaching(rt, { scrollbackBytes: 0 }),
  'all who attach see the same, whoever reads nothing holds nothing up, and it ends with the workload after its last words':
    (rt) => attaching(rt, {}, { ended: Promise.resolve(null) }),
  'a first process without an input can be looked at, and is not typed to': (rt) =>
    attaching(rt, { readOnly: true }),
  'all who look at a display see the same screen, and a screenshot shows it': () => ({ screenshot: blank }),
  'keys typed at a display and keys that are sent reach the workload, unless it is paused': (rt) => ({
    sendKeys: (key, presses, signal) =>
      rt.sendKeys?.(key, presses, signal).catch(() => undefined) ?? Promise.resolve(),
  }),
  'a display that nobody reads holds nothing up and ends with the workload, and there is none without it':
    () => ({
      screenshot: blank,
    }),
  'a process put into a workload reads what is typed, and its code is told': (rt) =>
    putting(rt, { ended: Promise.resolve({ reason: 'exited', code: 0 }) }),
  'a process that cannot be put into a workload is told of with the reason': (rt) =>
    putting(rt, { ended: Promise.resolve({ reason: 'exited', code: 127 }) }),
  'a process put into a workload ends with its terminal, and with the workload': (rt) =>
    putting(rt, { close: () => undefined }),

  'stop asks first, then forces a workload that does not listen': () => ({ stop: () => Promise.resolve() }),
  'stop twice is stop once': (rt, host) => ({
    stop: async (key, grace, ctx) => {
      const w = of(host, key);
      if (w !== undefined && w.exit !== null) w.exit = { ...w.exit, reason: 'killed' };
      await rt.stop(key, grace, ctx);
    },
  }),
  'a stop without grace does not ask': (rt) => ({ stop: (key, _grace, ctx) => rt.stop(key, 1, ctx) }),
  'a stop that is cut short while it waits is finished by the next one': (rt, host) => ({
    stop: async (key, grace, ctx) => {
      await rt.stop(key, grace, ctx).catch(() => host.end(key, { reason: 'killed' }));
    },
  }),
  'a workload that ends by itself is told with its reason and code': (rt) =>
    recovering(rt, (o) => exitOf(o, { code: 0 })),
  'a crash is seen as it happens, with its reason': (rt) =>
    observing(rt, (o) => exitOf(o, { reason: 'exited' })),
  'remove twice is remove once': (rt, _host, known) => ({
    remove: async (key, ctx) => {
      if (known.has(keyText(key))) throw new Error('already removed');
      known.add(keyText(key));
      await rt.remove(key, ctx);
    },
  }),
  'remove of what never was is no error': (rt, host) => ({
    remove: async (key, ctx) => {
      if (of(host, key) === undefined) throw new Error('no such workload');
      await rt.remove(key, ctx);
    },
  }),
  'a removal ends what still runs': (rt, host) => ({
    remove: async (key, ctx) => {
      const ran = runs(host, key);
      await rt.remove(key, ctx);
      if (ran) host.state.debris[keyText(key)] = ['process'];
    },
  }),
  'a removal that is cut short, at whatever moment, is finished by the next one': (rt, host) => ({
    remove: async (key, ctx) => {
      const before = host.state.debris[keyText(key)];
      if (ctx.signal.aborted) host.state.debris[keyText(key)] = ['link'];
      await rt.remove(key, ctx);
      if (before !== undefined) host.state.debris[keyText(key)] = before;
    },
  }),
  'the volume of a running workload is not deleted': (_rt, host) => ({
    removeVolume: (id) => {
      delete host.state.disks[id];
      return Promise.resolve();
    },
  }),

  'a lower epoch is refused after a higher one was seen': (rt, host) => ({
    prepare: (spec, ctx) => {
      delete host.state.highestEpoch[spec.instanceId];
      return rt.prepare(spec, ctx);
    },
  }),
  'a stopped instance keeps its disk over a new epoch': (rt, host) => ({
    prepare: (spec, ctx) => {
      if (spec.epoch > 1) delete host.state.disks[spec.rootVolume.id];
      return rt.prepare(spec, ctx);
    },
  }),
  'a second epoch does not start while the first one runs': (rt, host) => ({
    start: async (spec, ctx) => {
      if (spec.epoch > 1) startAgain(host, of(host, spec));
      else await rt.start(spec, ctx);
    },
  }),
  'the late removal of an ended epoch does the next one no harm': (rt, host) => ({
    remove: async (key, ctx) => {
      await rt.remove(key, ctx);
      for (const w of Object.values(host.state.workloads))
        if (w.spec.instanceId === key.instanceId) host.end(w.spec, { reason: 'killed' });
    },
  }),
  "two instances of one image do not see each other's writes": (rt, host) => ({
    prepare: async (spec, ctx) => {
      await rt.prepare(spec, ctx);
      host.state.disks[spec.rootVolume.id] = Math.max(...Object.values(host.state.disks));
    },
  }),
  'two instances on one network have each its own nic, and keep it when the other goes': (rt, host) => ({
    remove: async (key, ctx) => {
      await rt.remove(key, ctx);
      for (const w of Object.values(host.state.workloads)) w.macs = [];
    },
  }),

  'after an agent restart what runs is adopted, and its later end is observed': (rt, _host, known) => ({
    ...remembering(rt, known),
    ...observing(rt, (o) => (known.has(keyText(o)) ? o : null)),
  }),
  'an end that came while no agent lived is seen afterwards, with its reason and code': (
    rt,
    _host,
    known,
  ) => ({
    ...remembering(rt, known),
    ...recovering(rt, (o) => (known.has(keyText(o)) ? o : exitOf(o, { reason: 'lost' }))),
  }),
  'a crash that came while no agent lived is none that the workload wanted': (rt, _host, known) => ({
    ...remembering(rt, known),
    ...recovering(rt, (o) => (known.has(keyText(o)) ? o : exitOf(o, { reason: 'exited' }))),
  }),
  'each step may be taken by another life of the agent': (rt, _host, known) => ({
    ...remembering(rt, known),
    start: async (spec, ctx) => {
      if (!known.has(keyText(spec))) throw new Error('not prepared by me');
      await rt.start(spec, ctx);
    },
  }),
  'a file that was put into a workload is read as it was written, also by another life of the agent': (
    rt,
  ) => ({
    files: {
      readFile: async (...args) => {
        assert.ok(rt.files);
        const { sizeBytes, bytes } = await rt.files.readFile(...args);
        const text = Buffer.concat(await Readable.from(bytes).toArray()).toString();
        return { sizeBytes, bytes: Readable.from([Buffer.from(text)]) };
      },
      writeFile: (...args) => {
        assert.ok(rt.files);
        return rt.files.writeFile(...args);
      },
    },
  }),
  'files of what does not run are not copied': () => ({
    files: {
      readFile: () => Promise.resolve({ sizeBytes: 0, bytes: Readable.from([]) }),
      writeFile: () => Promise.resolve(0),
    },
  }),
  'what is asked of the agent in a guest that has none is refused, with the reason': () => ({
    guest: {
      info: () => Promise.resolve({ agentVersion: '', hostname: null, os: null, interfaces: [] }),
      exec: () => Promise.reject(new Error('no agent')),
      readFile: () => Promise.reject(new Error('no agent')),
      writeFile: () => Promise.resolve(0),
      freeze: () => Promise.resolve(0),
      thaw: () => Promise.resolve(0),
    },
  }),
  ...snapshotMisbehaviours,
  'recover twice is recover once': (_rt, host) => ({
    recover: async () => {
      for (const w of Object.values(host.state.workloads)) if (w.pid === null) startAgain(host, w);
      return Object.values(host.state.workloads).map(observationOf);
    },
  }),
  'limits are told also by a new life of the agent': (rt, _host, known) => ({
    ...remembering(rt, known),
    limits: async (key) => {
      const limits = (await rt.limits?.(key)) ?? { memoryBytes: null, cpuMillis: null, pids: null };
      return known.has(keyText(key)) ? limits : { ...limits, memoryBytes: null };
    },
  }),
  'logs outlive the agent and the run, and their tail can be asked for': (rt, _host, known) => ({
    ...remembering(rt, known),
    logs: (key, options, signal) =>
      (known.has(keyText(key)) ? rt.logs?.(key, options, signal) : undefined) ?? nothing(),
  }),
  'a workload that no journal knows is reported, with its instance and epoch': (rt, _host, known) => ({
    ...remembering(rt, known),
    ...recovering(rt, (o) => (known.has(keyText(o)) ? o : null)),
  }),
  'the inventory holds what runs, what is only prepared and what ended, by instance and epoch': (rt) => ({
    inventory: async () => (await rt.inventory()).filter((one) => one.runs),
  }),
  'what a killed agent left half-made is in the inventory, and a removal takes it away': (rt, host) => ({
    inventory: async () => (await rt.inventory()).filter((one) => of(host, one) !== undefined),
  }),
  'what a killed agent left half-made does not stand in the way of a start': (rt, host) => ({
    prepare: async (spec, ctx) => {
      if (host.state.debris[keyText(spec)] !== undefined) throw new Error('there is something already');
      await rt.prepare(spec, ctx);
    },
  }),
};

/** The object knows what it prepared itself. */
function remembering(rt: Runtime, known: Set<string>): Pick<Runtime, 'prepare'> {
  return {
    prepare: (spec, ctx) => {
      known.add(keyText(spec));
      return rt.prepare(spec, ctx);
    },
  };
}

async function* nothing(): AsyncGenerator<never> {}

async function* never(): AsyncGenerator<never> {
  await new Promise(() => undefined);
}

/** The runtime with one promise broken. */
export function misbehaving(rt: Runtime, host: SimulatedHost, twist: Twist): Runtime {
  return Object.assign(Object.create(rt) as Runtime, twist(rt, host, new Set()));
}
