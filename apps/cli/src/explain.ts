import type { Schemas } from '@berth/client';
import { tableText } from './output.js';

type Explanation = Schemas['Explanation'];
type Decision = Schemas['Decision'];
type HostVerdict = Decision['best'][number];

const head = ['HOST', 'VERDICT', 'FILTER', 'NEED', 'HAVE', 'SCORE', 'FREE'];

/** A decision for people: the outcome, then every host with its verdict and the numbers behind it. */
export function decisionText(d: Omit<Decision, 'id' | 'instanceId'>): string {
  const hosts = d.verdicts ?? [...d.best, ...d.nearest];
  const rows = [...hosts].sort((a, b) => (b.score ?? -1) - (a.score ?? -1)).map(verdictRow);
  const partial = d.verdicts === null ? `\n(${hosts.length} of ${d.considered} hosts shown)\n` : '\n';
  return `${d.summary}\nas of ${d.at}, ${d.strategy}, ${d.considered} host(s) considered\n${partial}${tableText(head, rows)}${reasonsText(hosts)}`;
}

/** What the numbers of a refused host mean, in its own words. */
function reasonsText(hosts: readonly HostVerdict[]): string {
  const lines = hosts.flatMap((v) => (v.failed === null ? [] : [`${v.host}: ${v.failed.message}\n`]));
  return lines.length === 0 ? '' : `\n${lines.join('')}`;
}

/** A recomputed verdict for people. */
export function explanationText(e: Explanation): string {
  const { host, decision } = e;
  if (host === null) return decisionText({ ...decision, at: e.asOf });
  const summary =
    host.failed === null ? `${host.host} fits` : `${host.host} is refused: ${host.failed.message}`;
  return `${summary}\nas of ${e.asOf}\n\n${tableText(head, [verdictRow(host)])}`;
}

function verdictRow(v: HostVerdict): string[] {
  const free = `${v.free.cpuMillis}m cpu, ${v.free.memoryMiB} MiB, disk ${v.free.diskMiB} MiB`;
  const score = v.score === null ? '-' : v.score.toFixed(3);
  if (v.failed === null) return [v.host, 'fits', '-', '-', '-', score, free];
  return [v.host, 'refused', v.failed.filter, v.failed.need, v.failed.have, score, free];
}
