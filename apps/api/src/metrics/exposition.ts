import { staleGuestMs } from '@berth/model';
import type { DiskUsage, GuestMemory, Host, HostId, InstanceUsage, NicUsage } from '@berth/model';
import { Counter, Gauge, Registry } from 'prom-client';
import type { Figures, Store } from '../store/store.js';
import type { Meters } from './meters.js';
import type { UsageHistory } from './usage-history.js';

export interface ExpositionPorts {
  readonly meters: Meters;
  readonly store: Pick<Store, 'figuresRead' | 'hostList'>;
  readonly usage: Pick<UsageHistory, 'latest' | 'latestHosts'>;
  readonly link: () => { readonly hosts: number; readonly receivedBytes: number; readonly sentBytes: number };
  /** Instances that have lines of their own; the rest is counted only. */
  readonly instances: number;
}

const mebi = 1024 * 1024;

/**
 * All figures in Prometheus' text format (version 0.0.4). What is counted as it happens comes from {@link Meters}; the rest
 * is looked at for each scrape, and scrapes that come at once share one look.
 */
export class Exposition {
  private looking: Promise<string> | null = null;

  constructor(private readonly ports: ExpositionPorts) {}

  get contentType(): string {
    return this.ports.meters.registry.contentType;
  }

  text(): Promise<string> {
    this.looking ??= this.look().finally(() => (this.looking = null));
    return this.looking;
  }

  private async look(): Promise<string> {
    const { store, meters, instances } = this.ports;
    const [figures, hosts] = await Promise.all([store.figuresRead(instances), store.hostList()]);
    const now = new Sheet();
    this.storeSheet(now, figures);
    this.linkSheet(now);
    this.hostSheet(now, hosts);
    this.instanceSheet(now, figures, new Map(hosts.map((h) => [h.id, h.name])));
    return (await meters.registry.metrics()) + (await now.registry.metrics());
  }

  private storeSheet(now: Sheet, { instances, pending, operations, ledger, pool }: Figures): void {
    const states = now.gauge('berth_instances', 'Instances by state and isolation.', ['state', 'isolation']);
    for (const { count, ...labels } of instances) states.set(labels, count);
    const waiting = now.gauge(
      'berth_instances_pending',
      'Instances that wait for a host, by the filter that refused the most hosts.',
      ['reason'],
    );
    for (const { reason, count } of pending) waiting.set({ reason }, count);
    const open = now.gauge('berth_operations_open', 'Operations under way.', ['kind']);
    for (const { kind, count } of operations) open.set({ kind }, count);
    now
      .gauge('berth_ledger_unnumbered_events', 'Committed events without a position.')
      .set(ledger.unnumbered);
    now.gauge('berth_ledger_lag_seconds', 'Age of the oldest of them.').set(ledger.lagSeconds);
    const connections = now.gauge('berth_store_connections', 'Connections to Postgres.', ['use']);
    connections.set({ use: 'idle' }, pool.idle);
    connections.set({ use: 'busy' }, pool.open - pool.idle);
    now.gauge('berth_store_waiting', 'Statements that wait for a connection.').set(pool.waiting);
  }

  private linkSheet(now: Sheet): void {
    const { hosts, receivedBytes, sentBytes } = this.ports.link();
    now.gauge('berth_link_hosts_connected', 'Hosts connected to this API process.').set(hosts);
    now.counter('berth_link_received_bytes_total', 'Bytes from agents, TLS included.').inc(receivedBytes);
    now.counter('berth_link_sent_bytes_total', 'Bytes to agents, TLS included.').inc(sentBytes);
  }

  private hostSheet(now: Sheet, hosts: readonly Host[]): void {
    const up = now.gauge('berth_host_up', 'Whether the host reports.', ['host']);
    const cpus = now.gauge('berth_host_capacity_cpus', 'Processors that may be booked.', ['host']);
    const booked = now.gauge('berth_host_booked_cpus', 'Processors that are booked.', ['host']);
    const memory = now.gauge('berth_host_capacity_memory_bytes', 'Memory that may be booked.', ['host']);
    const bookedMemory = now.gauge('berth_host_booked_memory_bytes', 'Memory that is booked.', ['host']);
    const clock = now.gauge(
      'berth_host_clock_ahead_seconds',
      "Its clock against this API's; behind below zero.",
      ['host'],
    );
    for (const { name: host, state, capacity, used, clockAheadMs } of hosts) {
      if (clockAheadMs !== null) clock.set({ host }, clockAheadMs / 1000);
      up.set({ host }, state === 'ready' ? 1 : 0);
      cpus.set({ host }, (capacity?.cpuMillis ?? 0) / 1000);
      booked.set({ host }, used.cpuMillis / 1000);
      memory.set({ host }, (capacity?.memoryMiB ?? 0) * mebi);
      bookedMemory.set({ host }, used.memoryMiB * mebi);
    }
    const names = new Map(hosts.map((h) => [h.id, h.name]));
    const seconds = now.counter('berth_host_cpu_seconds_total', 'Processor time since the host booted.', [
      'host',
    ]);
    const inUse = now.gauge('berth_host_memory_used_bytes', 'Memory not available to new processes.', [
      'host',
    ]);
    const disk = now.gauge('berth_host_disk_used_bytes', 'Used on the file system of the pool.', ['host']);
    for (const { hostId, usage } of this.ports.usage.latestHosts()) {
      const host = names.get(hostId);
      if (host === undefined) continue;
      seconds.inc({ host }, usage.cpuMicros / 1e6);
      inUse.set({ host }, usage.memoryBytes);
      disk.set({ host }, usage.diskBytes);
    }
  }

  private instanceSheet(now: Sheet, figures: Figures, hosts: ReadonlyMap<HostId, string>): void {
    const { running, instances } = figures;
    const known = new Map(running.map((r) => [r.id, r]));
    const own = familyOf(now, [...instanceColumns, ...guestColumns], instanceLabels);
    const disks = familyOf(now, diskColumns, [...instanceLabels, 'volume']);
    const nics = familyOf(now, nicColumns, [...instanceLabels, 'network', 'mac']);
    // What a host says of others' volumes and nics makes no line.
    const rootNames = new Map(figures.volumes.flatMap((v) => (v.root ? [[v.instanceId, v.name]] : [])));
    const volumeNames = new Map(figures.volumes.map((v) => [`${v.instanceId} ${v.id}`, v.name]));
    const nicNames = new Map(figures.nics.map((n) => [`${n.instanceId} ${n.id}`, n]));
    let shown = 0;
    for (const { hostId, usage } of this.ports.usage.latest()) {
      const found = known.get(usage.instanceId);
      const host = hosts.get(hostId);
      if (found === undefined || host === undefined) continue;
      shown += 1;
      const { id, project, name: instance, isolation } = found;
      const labels = { project, instance, host, isolation };
      own(labels, usage);
      for (const disk of usage.disks ?? []) {
        const { volumeId } = disk;
        const volume = volumeId === null ? rootNames.get(id) : volumeNames.get(`${id} ${volumeId}`);
        if (volume !== undefined) disks({ ...labels, volume }, disk);
      }
      for (const nic of usage.nics ?? []) {
        const name = nicNames.get(`${id} ${nic.nicId}`);
        if (name !== undefined) nics({ ...labels, network: name.network, mac: name.mac }, nic);
      }
    }
    const all = instances.reduce((sum, { state, count }) => sum + (state === 'running' ? count : 0), 0);
    now
      .gauge(
        'berth_instances_without_lines',
        'Running instances without lines of their own: above metricsInstances, or not measured yet.',
      )
      .set(Math.max(0, all - shown));
  }
}

const instanceLabels = ['project', 'instance', 'host', 'isolation'];

interface Column<T> {
  readonly name: string;
  readonly help: string;
  readonly kind: 'counter' | 'gauge';
  /** Null and undefined make no line. */
  readonly of: (usage: T) => number | null | undefined;
}

/** Makes the metrics of these columns; what it gives adds their lines for one thing that was measured. */
function familyOf<T>(
  now: Sheet,
  columns: readonly Column<T>[],
  labels: readonly string[],
): (values: Readonly<Record<string, string>>, usage: T) => void {
  const made = columns.map(({ name, help, kind, of }) => ({
    of,
    metric: now[kind](`berth_instance_${name}`, help, labels),
  }));
  return (values, usage) => {
    for (const { of, metric } of made) {
      const value = of(usage);
      if (value !== null && value !== undefined) metric.inc(values, value);
    }
  };
}

const column = <T>(kind: Column<T>['kind'], name: string, help: string, of: Column<T>['of']): Column<T> => ({
  kind,
  name,
  help,
  of,
});

const instanceColumns: readonly Column<InstanceUsage>[] = [
  column('counter', 'cpu_seconds_total', 'Processor time since the run began.', (u) => u.cpuMicros / 1e6),
  column('gauge', 'memory_bytes', 'Memory of the cgroup, or resident in QEMU.', (u) => u.memoryBytes),
  column(
    'counter',
    'oom_kills_total',
    'Processes of a container that were killed for want of memory.',
    (u) => u.oomKills,
  ),
  column('counter', 'block_read_bytes_total', 'Read from disks.', (u) => u.blockReadBytes),
  column('counter', 'block_written_bytes_total', 'Written to disks.', (u) => u.blockWriteBytes),
  column('counter', 'network_receive_bytes_total', 'Received by the guest.', (u) => u.receivedBytes),
  column('counter', 'network_transmit_bytes_total', 'Sent by the guest.', (u) => u.sentBytes),
];

/** Of what its guest told lately only. */
const told =
  (of: (guest: GuestMemory) => number | undefined) =>
  ({ guest }: InstanceUsage): number | undefined =>
    guest === undefined || guest.ageMs > staleGuestMs ? undefined : of(guest);

const guestColumns: readonly Column<InstanceUsage>[] = [
  column('gauge', 'guest_memory_age_seconds', "Age of its guest's last word on its memory.", ({ guest }) =>
    guest === undefined ? undefined : guest.ageMs / 1000,
  ),
  column(
    'gauge',
    'guest_memory_size_bytes',
    'All that its guest manages.',
    told((g) => g.sizeBytes),
  ),
  column(
    'gauge',
    'guest_memory_free_bytes',
    'Used by nothing in its guest.',
    told((g) => g.freeBytes),
  ),
  column(
    'gauge',
    'guest_memory_available_bytes',
    'What its guest could give to new programs.',
    told((g) => g.availableBytes),
  ),
  column(
    'gauge',
    'guest_memory_cache_bytes',
    "Of files, in its guest's cache.",
    told((g) => g.cacheBytes),
  ),
  column(
    'counter',
    'guest_swap_in_bytes_total',
    'Read from its swap.',
    told((g) => g.swapInBytes),
  ),
  column(
    'counter',
    'guest_swap_out_bytes_total',
    'Written to its swap.',
    told((g) => g.swapOutBytes),
  ),
  column(
    'counter',
    'guest_major_faults_total',
    'That needed a disk.',
    told((g) => g.majorFaults),
  ),
  column(
    'counter',
    'guest_minor_faults_total',
    'That needed none.',
    told((g) => g.minorFaults),
  ),
];

const seconds = (micros: number): number => micros / 1e6;

const diskColumns: readonly Column<DiskUsage>[] = [
  column('counter', 'disk_read_bytes_total', 'Read by the guest.', (d) => d.readBytes),
  column('counter', 'disk_written_bytes_total', 'Written by the guest.', (d) => d.writtenBytes),
  column('counter', 'disk_reads_total', 'Reads that were completed.', (d) => d.reads),
  column('counter', 'disk_writes_total', 'Writes that were completed.', (d) => d.writes),
  column('counter', 'disk_flushes_total', 'Flushes that were completed.', (d) => d.flushes),
  column('counter', 'disk_read_time_seconds_total', 'Time of all reads together.', (d) =>
    seconds(d.readMicros),
  ),
  column('counter', 'disk_write_time_seconds_total', 'Time of all writes together.', (d) =>
    seconds(d.writeMicros),
  ),
  column('counter', 'disk_flush_time_seconds_total', 'Time of all flushes together.', (d) =>
    seconds(d.flushMicros),
  ),
  column('counter', 'disk_read_errors_total', 'Reads that failed.', (d) => d.failedReads),
  column('counter', 'disk_write_errors_total', 'Writes that failed.', (d) => d.failedWrites),
  column('counter', 'disk_flush_errors_total', 'Flushes that failed.', (d) => d.failedFlushes),
];

const nicColumns: readonly Column<NicUsage>[] = [
  column('counter', 'nic_receive_bytes_total', 'Received by the guest.', (n) => n.receivedBytes),
  column('counter', 'nic_transmit_bytes_total', 'Sent by the guest.', (n) => n.sentBytes),
  column('counter', 'nic_receive_packets_total', 'Received by the guest.', (n) => n.receivedPackets),
  column('counter', 'nic_transmit_packets_total', 'Sent by the guest.', (n) => n.sentPackets),
  column('counter', 'nic_receive_errors_total', 'Errors on the way to the guest.', (n) => n.receiveErrors),
  column('counter', 'nic_transmit_errors_total', 'Errors on the way from the guest.', (n) => n.sendErrors),
  column(
    'counter',
    'nic_receive_drops_total',
    'For the guest, which did not take them in time.',
    (n) => n.receiveDrops,
  ),
  column('counter', 'nic_transmit_drops_total', 'From the guest, not taken by its host.', (n) => n.sendDrops),
];

/** Figures of one moment: nothing of what was a scrape ago stays. */
class Sheet {
  readonly registry = new Registry();
  gauge(name: string, help: string, labelNames: readonly string[] = []): Gauge {
    return new Gauge({ name, help, labelNames, registers: [this.registry] });
  }
  counter(name: string, help: string, labelNames: readonly string[] = []): Counter {
    return new Counter({ name, help, labelNames, registers: [this.registry] });
  }
}
