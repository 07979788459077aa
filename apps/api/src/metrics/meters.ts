import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';

/** What is counted as it happens. Names and units follow Prometheus: base units, `_total` on counters. */
export class Meters {
  readonly registry = new Registry();
  private readonly requests = new Counter({
    name: 'berth_http_requests_total',
    help: 'REST requests that were answered.',
    labelNames: ['method', 'route', 'status'] as const,
    registers: [this.registry],
  });
  private readonly requestSeconds = new Histogram({
    name: 'berth_http_request_duration_seconds',
    help: 'Time from the first byte of a request to the last of its answer; event streams, logs and waits are not counted.',
    labelNames: ['method', 'route'] as const,
    buckets: [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10],
    registers: [this.registry],
  });
  private readonly placementSeconds = new Histogram({
    name: 'berth_placement_duration_seconds',
    help: 'Time from the request of a run to the commit of its placement, waiting for capacity included.',
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30, 300, 3600],
    registers: [this.registry],
  });
  private readonly attempts = new Counter({
    name: 'berth_placement_attempts_total',
    help: 'Attempts to place, by outcome: placed, unplaced (no host fits), lost (somebody was faster).',
    labelNames: ['outcome'] as const,
    registers: [this.registry],
  });
  private readonly roundTrip = new Histogram({
    name: 'berth_link_round_trip_seconds',
    help: 'Time from a PING on the link of a host to its answer.',
    buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1, 10],
    registers: [this.registry],
  });

  private readonly streams = new Gauge({
    name: 'berth_event_streams',
    help: 'Event streams that are open.',
    registers: [this.registry],
  });
  private readonly streamsDropped = new Counter({
    name: 'berth_event_streams_dropped_total',
    help: 'Event streams that were dropped because their client took nothing for long.',
    registers: [this.registry],
  });
  private readonly ledgerReads = new Counter({
    name: 'berth_ledger_reads_total',
    help: 'Reads of the ledger for event streams: of its tail for all of them, of the backlog for one that is behind.',
    labelNames: ['part'] as const,
    registers: [this.registry],
  });

  constructor() {
    collectDefaultMetrics({ register: this.registry });
    // Gauges that are named like counters: promtool complains of them, and each has its sum by type beside it.
    for (const what of ['handles', 'requests', 'resources'])
      this.registry.removeSingleMetric(`nodejs_active_${what}_total`);
    for (const outcome of ['placed', 'unplaced', 'lost']) this.attempts.inc({ outcome }, 0);
    for (const part of ['tail', 'backlog']) this.ledgerReads.inc({ part }, 0);
  }

  /** @param route the address as it was declared, never as it was sent: its values have no bound */
  request(method: string, route: string, status: number, seconds: number | null): void {
    this.requests.inc({ method, route, status: String(status) });
    if (seconds !== null) this.requestSeconds.observe({ method, route }, seconds);
  }
  placed(seconds: number): void {
    this.placementSeconds.observe(seconds);
  }
  pass(outcomes: { readonly placed: number; readonly unplaced: number; readonly lost: number }): void {
    for (const outcome of ['placed', 'unplaced', 'lost'] as const)
      this.attempts.inc({ outcome }, outcomes[outcome]);
  }
  eventStreams(open: number): void {
    this.streams.set(open);
  }
  eventStreamDropped(): void {
    this.streamsDropped.inc();
  }
  ledgerRead(part: 'tail' | 'backlog'): void {
    this.ledgerReads.inc({ part });
  }
  pinged(milliseconds: number): void {
    this.roundTrip.observe(milliseconds / 1000);
  }
}
