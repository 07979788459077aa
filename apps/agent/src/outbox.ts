import { createHash } from 'node:crypto';
import { mkdir, readFile, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { faultPoints } from '@berth/faults';
import { ReportBody } from '@berth/link';
import type { Report } from '@berth/link';
import { writeFileAtomic } from '@berth/linux';
import { z } from 'zod';

/** What a report is about: a newer one about the same thing takes its place. Only repeats of one subject coalesce. */
export function subjectOf(body: ReportBody): string {
  switch (body.kind) {
    case 'placement':
    case 'unclaimed':
    case 'orphan':
    case 'refusedEpoch':
      return `${body.kind}/${body.instanceId}/${body.epoch}`;
    case 'tombstoneDone':
      return `${body.kind}/${body.id}`;
    case 'snapshot':
    case 'clone':
      return `${body.kind}/${body.orderId}`;
    case 'imageWanted':
      return `${body.kind}/${body.digest}`;
    case 'imageHeld':
    case 'imageRemoved':
      return `imageHeld/${body.digest}`;
    case 'host':
    case 'inventory':
      return body.kind;
  }
}

/** A report that is queued and not sent, by the phase it tells of; of a tombstone by the tombstone's id. */
function queuedFaults(body: ReportBody): (readonly [point: string, key: string])[] {
  if (body.kind === 'placement') return [[`agent.report.${body.phase}.queued`, body.instanceId]];
  return body.kind === 'tombstoneDone' ? [['agent.report.removed.queued', body.id]] : [];
}

const Stored = z.strictObject({ order: z.int(), body: ReportBody });

/**
 * Reports not yet acknowledged, newest per subject, in the order they were made. Bounded by its subjects: placements and
 * tombstones the API itself listed, images it named. It survives the agent: files are written behind the sending, which
 * is safe because whatever a crash takes from here is said again from the journal in the next session.
 */
export class Outbox {
  private readonly unsent = new Map<string, Report>();
  private readonly unacked = new Map<string, Report>();
  private seq = 0;
  private session = 0;
  private readonly dirty = new Set<string>();
  private flushing: Promise<void> | null = null;
  private readonly listeners = new Set<() => void>();

  private constructor(
    private readonly dir: string,
    private readonly onFault: (error: unknown) => void,
  ) {}

  static async open(dir: string, onFault: (error: unknown) => void): Promise<Outbox> {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    const outbox = new Outbox(dir, onFault);
    const kept: z.infer<typeof Stored>[] = [];
    for (const name of await readdir(dir)) {
      const path = join(dir, name);
      const parsed = await readFile(path, 'utf8')
        .then((text) => Stored.safeParse(JSON.parse(text)))
        .catch(() => null);
      if (parsed?.success === true) kept.push(parsed.data);
      else await rm(path, { force: true });
    }
    for (const { body } of kept.sort((a, b) => a.order - b.order)) outbox.put(body);
    return outbox;
  }

  get size(): number {
    return this.unsent.size + this.unacked.size;
  }

  put(body: ReportBody): void {
    const subject = subjectOf(body);
    this.unacked.delete(subject);
    this.unsent.delete(subject);
    this.unsent.set(subject, { seq: ++this.seq, body });
    this.touch(subject);
    for (const listener of this.listeners) listener();
  }

  /** Everything not acknowledged is said again, numbered anew from 1. */
  startSession(session: number): void {
    this.session = session;
    const all = [...this.unacked.entries(), ...this.unsent.entries()].sort((a, b) => a[1].seq - b[1].seq);
    this.unacked.clear();
    this.unsent.clear();
    this.seq = 0;
    for (const [subject, { body }] of all) this.unsent.set(subject, { seq: ++this.seq, body });
    for (const listener of this.listeners) listener();
  }

  /** The API has committed everything up to `seq` of this session. */
  acknowledge(session: number, seq: number): void {
    if (session !== this.session) return;
    for (const [subject, report] of this.unacked) {
      if (report.seq > seq) break;
      this.unacked.delete(subject);
      this.touch(subject);
    }
  }

  /** Reports of one session as they are made, until the signal fires or a newer session began. */
  async *stream(session: number, signal: AbortSignal): AsyncGenerator<Report> {
    let wake: () => void = () => undefined;
    const listener = (): void => wake();
    this.listeners.add(listener);
    signal.addEventListener('abort', listener);
    try {
      while (!signal.aborted && session === this.session) {
        const next = this.unsent.entries().next();
        if (next.done === true) {
          await new Promise<void>((resolve) => (wake = resolve));
          continue;
        }
        const [subject, report] = next.value;
        this.unsent.delete(subject);
        this.unacked.set(subject, report);
        await faultPoints(() => queuedFaults(report.body));
        yield report;
      }
    } finally {
      this.listeners.delete(listener);
      signal.removeEventListener('abort', listener);
    }
  }

  /** Resolves when the files agree with what is held. */
  async flushed(): Promise<void> {
    while (this.flushing !== null) await this.flushing;
  }

  private touch(subject: string): void {
    this.dirty.add(subject);
    this.flushOn();
  }

  private flushOn(): void {
    this.flushing ??= this.flush()
      .catch(this.onFault)
      .finally(() => {
        this.flushing = null;
        // Touched after the last look, or left by a fault.
        if (this.dirty.size > 0) this.flushOn();
      });
  }

  private async flush(): Promise<void> {
    await Promise.resolve();
    for (const subject of this.dirty) {
      this.dirty.delete(subject);
      const path = join(this.dir, `${createHash('sha256').update(subject).digest('hex')}.json`);
      const report = this.unacked.get(subject) ?? this.unsent.get(subject);
      if (report === undefined) await rm(path, { force: true });
      else
        await writeFileAtomic(path, JSON.stringify({ order: report.seq, body: report.body }), {
          mode: 0o600,
        });
    }
  }
}
