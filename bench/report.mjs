// The results as one page of Markdown.
import { readFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';

const ms = (n) => (n < 10 ? n.toFixed(2) : n.toFixed(1));
const table = (head, rows) =>
  [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');

/** The page with the results in place of those it had. */
export const withResults = (page, results) => `${page.split(/^## Results$/m)[0]}${results}`;

export function report(results, { date, pairs }) {
  const sections = [heading(date, pairs)];
  const comparisons = results.flatMap((r) => r.comparisons ?? []);
  if (comparisons.length > 0) sections.push(sideBySide(comparisons));
  const notes = results.flatMap((r) => r.notes ?? []);
  if (notes.length > 0) sections.push(notes.join('\n\n'));
  const facts = results.flatMap((r) => r.facts ?? []);
  if (facts.length > 0) sections.push(`### On their own\n\n${table(['what', 'measured'], facts)}`);
  for (const { density } of results) if (density !== undefined) sections.push(perInstance(density));
  const traces = results.flatMap((r) => r.trace ?? []);
  if (traces.length > 0) sections.push(whereTheTimeGoes(traces));
  return `${sections.join('\n\n')}\n`;
}

function heading(date, pairs) {
  const model = cpus()[0]?.model.trim() ?? 'unknown';
  const kvm = readFileSync('/proc/cpuinfo', 'utf8').match(/\b(vmx|svm)\b/) === null ? 'without' : 'with';
  const load = readFileSync('/proc/loadavg', 'utf8').split(' ')[0];
  return `## Results

${date}: ${cpus().length} × ${model}, ${Math.round(totalmem() / 1024 ** 3)} GiB, Linux ${release()}, Node.js ${process.version}, ${kvm} hardware
virtualisation, load ${load} at the end, ${pairs} rounds wanted.`;
}

function sideBySide(comparisons) {
  const rows = comparisons.map((c) => [
    c.what,
    c.peer,
    String(c.pairs),
    `${ms(c.ours.p50)} (${ms(c.ours.p95)})`,
    `${ms(c.theirs.p50)} (${ms(c.theirs.p95)})`,
    `**${c.ratio.median.toFixed(3)}** [${c.ratio.low.toFixed(3)}, ${c.ratio.high.toFixed(3)}]`,
    c.aim === null ? '-' : `≤ ${c.aim}: ${c.verdict}`,
  ]);
  const head = ['what', 'against', 'pairs', 'ours, ms: p50 (p95)', 'theirs, ms: p50 (p95)', 'ratio', 'aim'];
  const missed = comparisons.filter((c) => c.verdict === 'missed');
  const why =
    missed.length === 0
      ? ''
      : `\n\nMissed: ${missed.map((c) => c.what).join('; ')}. The parts below say where the time goes.`;
  return `### Side by side\n\n${table(head, rows)}${why}`;
}

function perInstance({ more, rows }) {
  const cells = rows.map((r) => [r.what, ms(r.startMs), r.memoryMiB.toFixed(1), r.diskKiB.toFixed(0)]);
  return `### One way or the other

The same programs as a container and as a machine with a kernel of its own. Memory and disk: growth of the whole machine over ${more}
more instances, for each of them. Each has a tenth of a processor.

${table(['as', 'POST to running, ms p50', 'memory, MiB each', 'disk, KiB each'], cells)}`;
}

const whereTheTimeGoes = (traces) => `### Where the time goes

Medians, milliseconds. Parts of the API follow each other. Those of the host lie within \`api: host\`, some within each other. What no
part names is the way to the client and, to a ready line, the boot of the guest.

${traces.map(traced).join('\n\n')}`;

/** Parts on the host lie within the API's part \`host\`; what neither names is the wait for a turn, and the way to the client. */
function traced({ title, total, parts }) {
  const rows = parts.map(([name, part]) => [
    name.replace('.', ': '),
    ms(part),
    `${Math.round((part / total) * 100)} %`,
  ]);
  const api = parts.filter(([name]) => name.startsWith('api.')).reduce((sum, [, part]) => sum + part, 0);
  rows.push([
    'not in any part of the API',
    ms(Math.max(0, total - api)),
    `${Math.round((Math.max(0, total - api) / total) * 100)} %`,
  ]);
  return `${title}: ${ms(total)} ms p50\n\n${table(['part', 'ms p50', 'of all'], rows)}`;
}
