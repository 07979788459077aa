import type { Decision, HostVerdict } from '@berth/model';
import { tableText } from './output.js';

/** A decision for people: the outcome, then every host with its verdict and the numbers behind it. */
export function decisionText(d: Decision): string {
  const hosts = d.verdicts ?? [...d.best, ...d.nearest];
  const rows = [...hosts].sort((a, b) => (b.score ?? -1) - (a.score ?? -1)).map(verdictRow);
  const head = ['HOST', 'VERDICT', 'FILTER', 'NEED', 'HAVE', 'SCORE', 'FREE'];
  const partial = d.verdicts === null ? `\n(${hosts.length} of ${d.considered} hosts shown)\n` : '\n';
  return `${d.summary}\nas of ${d.at}, ${d.strategy}, ${d.considered} host(s) considered\n${partial}${tableText(head, rows)}`;
}

/** What the scheduler would say now. */
export interface Explanation {
  readonly asOf: string;
  readonly summary: string;
  readonly verdicts: readonly HostVerdict[];
}

/** A recomputed verdict for people. */
export function explanationText(e: Explanation): string {
  const head = ['HOST', 'VERDICT', 'FILTER', 'NEED', 'HAVE', 'SCORE', 'FREE'];
  const messages = e.verdicts.flatMap((v) => (v.failed === null ? [] : [`${v.host}: ${v.failed.message}`]));
  return `${e.summary}\nas of ${e.asOf}\n\n${tableText(head, e.verdicts.map(verdictRow))}${messages.join('\n')}${messages.length > 0 ? '\n' : ''}`;
}

function verdictRow(v: HostVerdict): string[] {
  const free = `${v.free.cpuMillis}m cpu, ${v.free.memoryMiB} MiB, disk ${v.free.diskMiB} MiB`;
  const score = v.score === null ? '-' : v.score.toFixed(3);
  if (v.failed === null) return [v.host, 'fits', '-', '-', '-', score, free];
  return [v.host, 'refused', v.failed.filter, v.failed.need, v.failed.have, score, free];
}
