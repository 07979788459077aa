import type { Span, Trace } from '@berth/model';

/** Traces kept at once, the newest. */
const kept = 1_000;

interface Open {
  readonly operationId: string;
  readonly traceId: string;
  readonly spans: Span[];
  /** When the last part ended, milliseconds of the monotonic clock. */
  last: number;
  over: boolean;
}

/**
 * Where the time of a request went, through all rooms: in memory, for the newest operations on instances. The parts in the
 * API follow each other without gaps, so each is what passed since the one before. Nothing is decided by them.
 */
export class Traces {
  private readonly byOperation = new Map<string, Open>();
  private readonly byInstance = new Map<string, Open>();

  /** @param now monotonic, milliseconds */
  constructor(readonly now: () => number) {}

  /** The request was committed; `begun` is when its transaction began. */
  begin(
    operation: { readonly id: string; readonly traceId: string },
    instanceId: string,
    begun: number,
  ): void {
    const last = this.now();
    const spans = [span('transaction', last - begun)];
    const open: Open = { operationId: operation.id, traceId: operation.traceId, spans, last, over: false };
    this.byOperation.set(operation.id, open);
    this.byInstance.set(instanceId, open);
    for (const [id, oldest] of this.byOperation) {
      if (this.byOperation.size <= kept) break;
      this.byOperation.delete(id);
      for (const [instance, found] of this.byInstance) if (found === oldest) this.byInstance.delete(instance);
    }
  }

  /** From the request to the end of its transaction took `ms`: what came before it was token, body and checks. */
  request(operationId: string, ms: number): void {
    const open = this.byOperation.get(operationId);
    // A replay of the answer is not the request.
    if (open === undefined || open.spans[0]?.name === 'request') return;
    const transaction = open.spans[0]?.ms ?? 0;
    open.spans.unshift(span('request', Math.max(0, ms - transaction)));
  }

  /** The next part of the instance's operation has ended now, for the first time. `last`: it is the last one. */
  mark(instanceId: string, name: string, last = false): void {
    const open = this.byInstance.get(instanceId);
    if (open === undefined || open.over || open.spans.some((s) => s.room === 'api' && s.name === name))
      return;
    const now = this.now();
    open.spans.push(span(name, now - open.last));
    open.last = now;
    open.over = last;
  }

  /** What the host says of its part, which the API's parts around it contain. */
  host(instanceId: string, spans: readonly { readonly name: string; readonly ms: number }[]): void {
    const open = this.byInstance.get(instanceId);
    if (open === undefined || open.over) return;
    for (const { name, ms } of spans) open.spans.push({ room: 'host', name, ms });
  }

  get(operationId: string): Trace | null {
    const open = this.byOperation.get(operationId);
    if (open === undefined) return null;
    const { traceId, spans } = open;
    return { operationId, traceId, spans: [...spans] };
  }
}

const span = (name: string, ms: number): Span => ({ room: 'api', name, ms: Math.round(ms * 100) / 100 });
