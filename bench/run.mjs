// ./berth bench [name…] [--pairs N] [--write]: Berth side by side with its peers. Bounded in time; leaves nothing behind.
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Berth } from './berth.mjs';
import { burst } from './cases/burst.mjs';
import { container } from './cases/container.mjs';
import { crowded } from './cases/crowd.mjs';
import { density } from './cases/density.mjs';
import { get, rate } from './cases/requests.mjs';
import { resume } from './cases/resume.mjs';
import { startup } from './cases/startup.mjs';
import { vmLibvirt, vmMicrovm, vmQemu } from './cases/vm.mjs';
import { endOnInterrupt } from './measure.mjs';
import { run } from './programs.mjs';
import { section, withResults } from './report.mjs';
import { rootfsMake } from './rootfs.mjs';

/** Each with the longest time its rounds may take: 77 minutes together. */
const cases = {
  container: [container, 300],
  'vm-libvirt': [vmLibvirt, 900],
  'vm-qemu': [vmQemu, 900],
  'vm-microvm': [vmMicrovm, 900],
  resume: [resume, 1200],
  density: [density, 120],
  burst: [burst, 120],
  get: [get, 60],
  rate: [rate, 60],
  startup: [startup, 60],
};
/** Only where they are named: what they take is much of the machine, and an hour at most. */
const onDemand = { crowd: [crowded, 3600] };
const known = { ...cases, ...onDemand };

const usage = `usage: berth bench [${Object.keys(known).join('|')} …] [--pairs N] [--count N] [--write]
  only where it is named: ${Object.keys(onDemand).join(', ')}
  --pairs N   rounds of each comparison, 30 when absent; fewer decide nothing
  --count N   containers of crowd, 1000 when absent
  --write     the results go into docs/benchmarks.md as well, in place of those that these benchmarks had there
`;
const home = fileURLToPath(new URL('..', import.meta.url));
const progress = (line) => process.stderr.write(`bench: ${line}\n`);

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      pairs: { type: 'string', default: '30' },
      count: { type: 'string', default: '1000' },
      write: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h' },
    },
  });
  if (values.help) return process.stdout.write(usage);
  const pairs = Number(values.pairs);
  const count = Number(values.count);
  const unknown = positionals.find((name) => known[name] === undefined);
  const wrong = [
    ...(unknown === undefined ? [] : [`there is no benchmark ${unknown}`]),
    ...(within(pairs, 1000) ? [] : ['--pairs is a whole number from 1 to 1000']),
    // A bridge has ports for no more, and one is the first container's.
    ...(within(count, 1022) ? [] : ['--count is a whole number from 1 to 1022']),
  ];
  if (wrong.length > 0) {
    process.stderr.write(`berth bench: ${wrong.join('; ')}\n${usage}`);
    process.exitCode = 2;
    return;
  }
  if (process.getuid() !== 0) throw new Error('the peers and Berth must be started by root: use sudo');
  endOnInterrupt();
  const names = positionals.length === 0 ? Object.keys(cases) : [...new Set(positionals)];
  const options = { date: new Date().toISOString().slice(0, 10), pairs, count };
  await measured(names, options, async (name, result) => {
    const text = section(name, result, options);
    process.stdout.write(`${text}\n\n`);
    if (values.write) await write(name, text);
  });
}

/** As each is measured: a later one may fail. */
async function write(name, text) {
  const file = join(home, 'docs/benchmarks.md');
  writeFileSync(file, withResults(readFileSync(file, 'utf8'), { [name]: text }, Object.keys(known)));
  await run(join(home, 'node_modules/.bin/prettier'), ['--write', '--log-level=warn', file]).catch(
    () => undefined,
  );
}

const within = (n, most) => Number.isInteger(n) && n >= 1 && n <= most;

/** @param told of each as it ends, by its name and with its result */
async function measured(names, { pairs, count }, told) {
  const dir = mkdtempSync(join(tmpdir(), 'berth-bench-'));
  chmodSync(dir, 0o711);
  let berth = null;
  try {
    const samples = join(home, '.berth/samples');
    mkdirSync(samples, { recursive: true });
    const { rootfs, rootfsTar } = await rootfsMake(dir, join(samples, 'busybox.oci.tar'));
    berth = await Berth.make();
    berth.firstUp = await berth.up();
    await berth.image('busybox', 'oci', join(samples, 'busybox.oci.tar'));
    await berth.image('tiny', 'disk', join(samples, 'tiny.qcow2'));
    for (const name of names) {
      progress(name);
      const [measure, seconds] = known[name];
      const result = await measure({
        berth,
        dir,
        rootfs,
        rootfsTar,
        pairs,
        count,
        archive: join(samples, 'busybox.oci.tar'),
        limitMs: seconds * 1000,
        progress,
      });
      await told(name, result);
    }
  } finally {
    await berth?.remove().catch((error) => progress(`${berth.root} is left: ${error.message}`));
    rmSync(dir, { recursive: true, force: true });
  }
}

main().catch((error) => {
  process.stderr.write(
    `berth bench: ${process.env.BERTH_DEBUG === undefined ? error.message : error.stack}\n`,
  );
  process.exitCode = 1;
});
