// The results as one page of Markdown.
import { readFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';

const ms = (n) => (n < 10 ? n.toFixed(2) : n.toFixed(1));
const table = (head, rows) =>
  [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');

/** Where the results begin on the page, and those of a case. */
const HEAD = '## Results';
const ofCase = (name) => `### \`${name}\``;

/**
 * The page with these results in place of those it had of the same cases; what other cases measured before stays.
 *
 * @param sections text of each case by its name
 * @param names of all cases, in the order in which they stand on the page
 */
export function withResults(page, sections, names) {
  const [before, had = ''] = page.split(new RegExp(`^${HEAD}$`, 'm'));
  const kept = names.map((name) => sections[name] ?? sectionOf(had, name));
  return `${[before.trimEnd(), HEAD, ...kept.filter((section) => section !== null)].join('\n\n')}\n`;
}

function sectionOf(results, name) {
  const at = results.indexOf(`${ofCase(name)}\n`);
  if (at < 0) return null;
  const next = results.indexOf('\n### ', at + 1);
  return results.slice(at, next < 0 ? undefined : next).trim();
}

/** What one case measured, as a section of the page. */
export function section(name, result, { date, pairs }) {
  const { comparisons = [], notes = [], facts = [], density, trace } = result;
  return [
    ofCase(name),
    machine(date, comparisons.length > 0 ? pairs : null),
    ...(comparisons.length > 0 ? [sideBySide(comparisons)] : []),
    ...notes,
    ...(facts.length > 0 ? [table(['what', 'measured'], facts)] : []),
    ...(density === undefined ? [] : [perInstance(density)]),
    ...(trace === undefined ? [] : [whereTheTimeGoes(trace)]),
  ].join('\n\n');
}

function machine(date, pairs) {
  const model = cpus()[0]?.model.trim() ?? 'unknown';
  const kvm = readFileSync('/proc/cpuinfo', 'utf8').match(/\b(vmx|svm)\b/) === null ? 'without' : 'with';
  const load = readFileSync('/proc/loadavg', 'utf8').split(' ')[0];
  const rounds = pairs === null ? '' : `, ${pairs} rounds wanted`;
  return `${date}: ${cpus().length} × ${model}, ${Math.round(totalmem() / 1024 ** 3)} GiB, Linux ${release()}, Node.js ${process.version}, ${kvm} hardware
virtualisation, load ${load} at the end${rounds}.`;
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
  return `${table(head, rows)}${why}`;
}

function perInstance({ more, rows }) {
  const cells = rows.map((r) => [r.what, ms(r.startMs), r.memoryMiB.toFixed(1), r.diskKiB.toFixed(0)]);
  return `The same programs as a container and as a machine with a kernel of its own. Memory and disk: growth of the whole machine over ${more}
more instances, for each of them. Each has a tenth of a processor.

${table(['as', 'POST to running, ms p50', 'memory, MiB each', 'disk, KiB each'], cells)}`;
}

const whereTheTimeGoes = (
  trace,
) => `Where the time goes, in medians, milliseconds: parts of the API follow each other; those of the host lie within \`api: host\`, some within each other. What no
part names is the way to the client and, to a ready line, the boot of the guest.

${traced(trace)}`;

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
