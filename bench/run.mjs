// ./berth bench [name…] [--pairs N] [--write]: Berth side by side with its peers. Bounded in time; leaves nothing behind.
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Berth } from './berth.mjs';
import { burst } from './cases/burst.mjs';
import { container } from './cases/container.mjs';
import { density } from './cases/density.mjs';
import { get, rate } from './cases/requests.mjs';
import { resume } from './cases/resume.mjs';
import { startup } from './cases/startup.mjs';
import { vmLibvirt, vmMicrovm, vmQemu } from './cases/vm.mjs';
import { endOnInterrupt } from './measure.mjs';
import { run } from './programs.mjs';
import { report, withResults } from './report.mjs';
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

const usage = `usage: berth bench [${Object.keys(cases).join('|')} …] [--pairs N] [--write]
  --pairs N   rounds of each comparison, 30 when absent; fewer decide nothing
  --write     the results go into docs/benchmarks.md as well, below "Results"
`;
const home = fileURLToPath(new URL('..', import.meta.url));
const progress = (line) => process.stderr.write(`bench: ${line}\n`);

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      pairs: { type: 'string', default: '30' },
      write: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h' },
    },
  });
  if (values.help) return process.stdout.write(usage);
  const pairs = Number(values.pairs);
  const unknown = positionals.find((name) => cases[name] === undefined);
  if (unknown !== undefined || !Number.isInteger(pairs) || pairs < 1 || pairs > 1000) {
    process.stderr.write(
      `berth bench: ${unknown === undefined ? '--pairs is a whole number from 1 to 1000' : `there is no benchmark ${unknown}`}\n${usage}`,
    );
    process.exitCode = 2;
    return;
  }
  if (process.getuid() !== 0) throw new Error('the peers and Berth must be started by root: use sudo');
  endOnInterrupt();
  const page = await measured(positionals.length === 0 ? Object.keys(cases) : positionals, pairs);
  process.stdout.write(page);
  if (!values.write) return;
  const file = join(home, 'docs/benchmarks.md');
  writeFileSync(file, withResults(readFileSync(file, 'utf8'), page));
  await run(join(home, 'node_modules/.bin/prettier'), ['--write', '--log-level=warn', file]).catch(
    () => undefined,
  );
}

async function measured(names, pairs) {
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
    const results = [];
    for (const name of names) {
      progress(name);
      const [measure, seconds] = cases[name];
      results.push(
        await measure({
          berth,
          dir,
          rootfs,
          rootfsTar,
          pairs,
          limitMs: seconds * 1000,
          progress,
        }),
      );
    }
    return report(results, { date: new Date().toISOString().slice(0, 10), pairs });
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
