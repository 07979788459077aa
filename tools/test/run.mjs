// Every check of the workspace, in order: sample images, lint, types, format, tests. Called by `./berth test`, which has
// installed and built before. The last line counts the tests; the exit code is 0 only when every check passed.
import { spawn } from 'node:child_process';
import { mkdirSync, openSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const state = join(root, '.berth');
const bin = (name) => join(root, 'node_modules/.bin', name);
const env = { ...process.env, NX_DAEMON: 'false', FORCE_COLOR: '0', BERTH_SAMPLES: join(state, 'samples') };
mkdirSync(state, { recursive: true });

/** Runs a check; quiet ones show their output only when they fail. */
function check(name, command, args, { quiet = true } = {}) {
  const begun = Date.now();
  const log = join(state, `test-${name}.log`);
  const fd = quiet ? openSync(log, 'w') : null;
  const child = spawn(command, args, {
    cwd: root,
    env,
    stdio: quiet ? ['ignore', fd, fd] : ['ignore', 'inherit', 'inherit'],
  });
  return new Promise((resolve) => {
    const end = (ok, why) => {
      const seconds = ((Date.now() - begun) / 1000).toFixed(1);
      if (!ok && quiet) process.stdout.write(readFileSync(log, 'utf8').split('\n').slice(-80).join('\n'));
      process.stdout.write(`${name}: ${ok ? 'passed' : `FAILED${why}`} (${seconds} s)\n`);
      resolve(ok);
    };
    child.once('error', (error) => end(false, ` (${error.message})`));
    child.once('exit', (code, signal) => end(code === 0, signal === null ? '' : ` (${signal})`));
  });
}

const kills = process.argv.includes('--kills');
const filters = process.argv.slice(2).filter((word) => word !== '--kills');
const projects = (kills ? ['kills'] : ['rooms', 'whole']).flatMap((name) => ['--project', name]);
const results = join(state, 'test-results.json');
rmSync(results, { force: true });
let passed = await check('samples', join(root, 'tools/samples/build'), [env.BERTH_SAMPLES]);
if (filters.length === 0) {
  const checks = await Promise.all([
    check('lint', bin('eslint'), ['.', '--max-warnings=0']),
    check('types', bin('tsc'), ['-p', 'tsconfig.json']),
    check('format', bin('prettier'), ['--check', '--log-level=warn', '.']),
    check('scripts', 'bash', ['-n', join(root, 'berth')]),
  ]);
  passed = checks.every((ok) => ok) && passed;
}
const vitest = [
  'run',
  ...projects,
  '--reporter=default',
  '--reporter=json',
  `--outputFile.json=${results}`,
  ...filters,
];
passed = (await check('tests', bin('vitest'), vitest, { quiet: false })) && passed;

const counts = { passed: 0, failed: 0, skipped: 0 };
try {
  const report = JSON.parse(readFileSync(results, 'utf8'));
  const files = report.testResults;
  for (const file of files) {
    // A file that could not be loaded has no tests to fail; it counts as one.
    if (file.status === 'failed' && file.assertionResults.every((t) => t.status !== 'failed'))
      counts.failed++;
    for (const test of file.assertionResults) {
      if (test.status === 'passed') counts.passed++;
      else if (test.status === 'failed') counts.failed++;
      else {
        counts.skipped++;
        process.stdout.write(`skipped: ${test.fullName}\n`);
      }
    }
  }
} catch (error) {
  process.stdout.write(`the tests left no results: ${error.message}\n`);
  passed = false;
}
process.stdout.write(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped\n`);
process.exitCode = passed && counts.failed === 0 ? 0 : 1;
