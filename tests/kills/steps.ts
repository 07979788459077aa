/*
 * Every step of create, stop, start, restart, delete and a change of a medium at which something is killed, by the names of the fault points
 * (ADR 11). Pure.
 */

export const runtimes = ['libvirt', 'qemu', 'oci'] as const;
export type RuntimeName = (typeof runtimes)[number];

/**
 * `kill`: a stop that the workload does not heed. `crash`: it ends by itself and is run again. `medium`: another one is put into its
 * CD-ROM drive while it runs.
 */
export const operations = [
  'create',
  'stop',
  'kill',
  'start',
  'restart',
  'crash',
  'medium',
  'delete',
] as const;
export type Operation = (typeof operations)[number];

/** `workload`: QEMU; of containers the init or, as `conmon`, its monitor. */
export const victims = ['agent', 'api', 'postgres', 'libvirtd', 'workload', 'conmon'] as const;
export type VictimName = (typeof victims)[number];

/**
 * What a step holds up for others while it is held: `scheduler` everywhere, the others on its host. Two steps with a
 * lane in common are never held at the same time.
 */
export type Lane = 'scheduler' | 'list' | 'report' | 'volume';

export interface Step {
  readonly operation: Operation;
  readonly point: string;
  readonly lanes: readonly Lane[];
  /** What the point is armed for; an instance's id unless said. */
  readonly key: 'id' | 'name' | 'volume' | 'tombstone';
  /** Whose process is there to be killed, beside the parts of Berth itself. */
  readonly there: readonly ('workload' | 'conmon')[];
}

type Up = 'down' | 'up';

interface Draft {
  readonly lanes?: readonly Lane[];
  readonly key?: Step['key'];
}

/** Steps of the API and of the link; the same for every runtime. `up`: the workload runs as long as it is held there. */
function controlSteps(operation: Operation): [string, Up, Draft?][] {
  const list: Draft = { lanes: ['list'] };
  const report: Draft = { lanes: ['report'] };
  const removed: Draft = { lanes: ['report'], key: 'tombstone' };
  // A list with tombstones comes after a report, so neither may be held before.
  const tombstones: Draft = { lanes: ['list', 'report'] };
  // Once it is committed, another request's wake-up may carry it out; and a list that was sent is being carried out.
  const request: [string, Up, Draft] = ['api.request.committed', 'down', { key: 'name' }];
  const listUp: [string, Up, Draft?][] = [
    ['api.list.running.offered', 'down', list],
    ['api.list.running.sent', 'down', list],
    ['agent.assignment.journaled', 'down', list],
  ];
  const reportUp: [string, Up, Draft?][] = [
    ['agent.report.running.queued', 'up', report],
    ['api.report.running.received', 'up', report],
    ['api.report.running.committed', 'up', report],
  ];
  const listDown: [string, Up, Draft?][] = [
    ['api.list.stopped.offered', 'up', list],
    ['api.list.stopped.sent', 'down', list],
    ['agent.change.journaled', 'up', list],
  ];
  const reportDown: [string, Up, Draft?][] = [
    ['agent.report.ended.queued', 'down', report],
    ['api.report.ended.received', 'down', report],
    ['api.report.ended.committed', 'down', report],
  ];
  const placement: [string, Up, Draft] = ['api.placement.committed', 'down', { lanes: ['scheduler'] }];
  switch (operation) {
    case 'create':
      return [request, placement, ...listUp, ...reportUp];
    // Nobody asks for a crash; a kill begins as a stop; and a medium comes as any change of a list does.
    case 'kill':
    case 'crash':
    case 'medium':
      return [];
    case 'stop':
      return [request, ...listDown, ...reportDown];
    // The reports of a start are those of a create, and those of a restart are those of a stop and a create.
    case 'start':
      return [request, placement, ...listUp, ...reportUp.slice(-1)];
    case 'restart':
      return [
        request,
        ...listDown,
        ['api.placement.committed', 'down', { lanes: ['scheduler', 'report', 'list'] }],
      ];
    case 'delete':
      return [
        request,
        ['agent.change.journaled', 'up', list],
        ['api.list.removed.offered', 'down', tombstones],
        ['api.list.removed.sent', 'down', tombstones],
        ['agent.tombstone.listed', 'down', tombstones],
        ['agent.report.removed.queued', 'down', removed],
        ['api.report.removed.received', 'down', removed],
        ['api.report.removed.committed', 'down', removed],
      ];
  }
}

const around = (action: string, before: Up, after: Up): [string, Up, Draft?][] => [
  [`agent.${action}.before`, before],
  [`agent.${action}.after`, after],
];

/** What the worker of a placement does. */
function workerSteps(operation: Operation): [string, Up, Draft?][] {
  const upward = [...around('prepare', 'down', 'down'), ...around('start', 'down', 'up')];
  const downward = [...around('stop', 'up', 'down'), ...around('end', 'down', 'down')];
  const cleared = around('clearPredecessors', 'down', 'down');
  switch (operation) {
    case 'create':
      return [...around('fetchImage', 'down', 'down'), ...upward];
    case 'stop':
      return downward;
    case 'kill':
    case 'medium':
      return [];
    case 'crash':
      return around('beginRun', 'down', 'down');
    case 'start':
      return [...cleared, ...upward];
    case 'restart':
      return [...downward, ...cleared, ...upward];
    case 'delete':
      return [
        ...downward,
        ...around('remove', 'down', 'down'),
        ['agent.volume.before', 'down', { lanes: ['volume'] }],
        ['agent.volume.after', 'down', { lanes: ['volume'] }],
      ];
  }
}

const all = (up: Up, ...names: string[]): [string, Up, Draft?][] => names.map((name) => [name, up]);
const volume: Draft = { lanes: ['volume'], key: 'volume' };

const launching: Readonly<Record<RuntimeName, [string, Up, Draft?][]>> = {
  libvirt: [
    ...all('down', 'vm.networks.ensured', 'vm.disk.made', 'vm.prepare.recorded', 'vm.seed.written'),
    ...all('down', 'vm.nics.attached', 'vm.start.recorded', 'libvirt.defined'),
    ...all('up', 'libvirt.created', 'vm.launched', 'vm.started.recorded'),
  ],
  qemu: [
    ...all('down', 'vm.networks.ensured', 'vm.disk.made', 'vm.prepare.recorded', 'vm.seed.written'),
    ...all('down', 'vm.nics.attached', 'vm.start.recorded'),
    ...all('down', 'qemu.files.given', 'qemu.recorded', 'qemu.cgroup.made'),
    ...all('up', 'qemu.spawned', 'qemu.pid.recorded', 'qemu.confined', 'qemu.greeted', 'qemu.continued'),
    ...all('up', 'vm.launched', 'vm.started.recorded'),
  ],
  oci: [
    ...all('down', 'oci.layers.unpacked', 'oci.prepare.recorded', 'oci.namespaces.made', 'oci.nics.attached'),
    ...all('down', 'oci.layer.made', 'oci.root.mounted', 'oci.bundle.written', 'oci.monitor.spawned'),
    ...all('up', 'oci.created', 'oci.run.recorded', 'oci.started'),
  ],
};

const ending: Readonly<Record<RuntimeName, [string, Up, Draft?][]>> = {
  libvirt: [...all('up', 'vm.stop.recorded'), ...all('down', 'vm.end.recorded')],
  qemu: [
    ...all('up', 'vm.stop.recorded'),
    ...all('down', 'vm.end.recorded', 'qemu.ended', 'qemu.cgroup.removed'),
  ],
  oci: [
    ...all('up', 'oci.stop.recorded'),
    ...all('down', 'oci.stop.signalled', 'oci.end.recorded'),
    ...all('down', 'oci.nics.detached', 'oci.root.unmounted', 'oci.stopped'),
  ],
};

const killingVm = [...all('up', 'vm.kill.recorded'), ...all('down', 'vm.destroyed')];
const killing: Readonly<Record<RuntimeName, [string, Up, Draft?][]>> = {
  libvirt: killingVm,
  qemu: killingVm,
  oci: [...all('up', 'oci.kill.recorded'), ...all('down', 'oci.killed')],
};

const clearing: Readonly<Record<RuntimeName, [string, Up, Draft?][]>> = {
  libvirt: all(
    'down',
    'libvirt.destroyed',
    'libvirt.undefined',
    'vm.cleared',
    'vm.nics.detached',
    'vm.log.removed',
  ),
  qemu: all('down', 'vm.cleared', 'vm.nics.detached', 'vm.log.removed'),
  oci: all('down', 'oci.cleared', 'oci.networks.released', 'oci.log.removed', 'oci.record.removed'),
};

/** What the driver does. */
function driverSteps(operation: Operation, runtime: RuntimeName): [string, Up, Draft?][] {
  switch (operation) {
    case 'create':
    case 'start':
      return launching[runtime];
    case 'stop':
      return ending[runtime];
    case 'kill':
      return killing[runtime];
    case 'crash':
      return all('down', runtime === 'oci' ? 'oci.end.recorded' : 'vm.end.recorded');
    case 'medium':
      return runtime === 'oci' ? [] : all('up', 'vm.tray.asked', 'vm.tray.opened', 'vm.medium.changed');
    case 'restart':
      return [...ending[runtime], ...clearing[runtime], ...launching[runtime]];
    case 'delete':
      return [
        ...ending[runtime],
        ...clearing[runtime],
        [runtime === 'oci' ? 'oci.volume.removed' : 'vm.volume.removed', 'down', volume],
      ];
  }
}

/** Steps within a step of the driver's: to all but the agent they are what stands before them. */
const within: Partial<Record<Operation, readonly string[]>> = {
  create: ['oci.volume.opened', 'oci.secrets.laid'],
  delete: ['oci.volume.closed'],
};

/** Of a container both processes are there from `oci.created` on, and conmon alone just before. */
function thereAt(point: string, up: Up, runtime: RuntimeName): Step['there'] {
  if (runtime !== 'oci') return up === 'up' ? ['workload'] : [];
  if (point === 'oci.monitor.spawned') return ['conmon'];
  return up === 'up' ? ['workload', 'conmon'] : [];
}

type Source = 'control' | 'worker' | 'driver' | 'within';

function stepsOf(operation: Operation, runtime: RuntimeName, source: Source): Step[] {
  const drafts = {
    control: controlSteps(operation),
    worker: workerSteps(operation),
    driver: driverSteps(operation, runtime),
    within: runtime === 'oci' ? all('down', ...(within[operation] ?? [])) : [],
  }[source];
  return drafts.map(([point, up, draft = {}]) => ({
    operation,
    point,
    lanes: draft.lanes ?? [],
    key: draft.key ?? 'id',
    there: thereAt(point, up, runtime),
  }));
}

/**
 * Which steps are tried with which victim: all at which it can die. libvirtd takes part in no step of the API, and API and Postgres in
 * none of a medium, for which nothing is recorded but the spec before and the report after.
 */
export function stepsFor(victim: VictimName, runtime: RuntimeName): Step[] {
  const from = (...sources: readonly Source[]): Step[] =>
    sources.flatMap((source) => operations.flatMap((operation) => stepsOf(operation, runtime, source)));
  switch (victim) {
    case 'agent':
      return from('control', 'worker', 'driver', 'within');
    case 'api':
    case 'postgres':
      return from('control', 'worker', 'driver').filter((step) => step.operation !== 'medium');
    case 'libvirtd':
      return runtime === 'libvirt' ? from('worker', 'driver') : [];
    case 'workload':
    case 'conmon':
      return from('control', 'worker', 'driver').filter((step) => step.there.includes(victim));
  }
}
