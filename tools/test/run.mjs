// Every check of the workspace: lint, types and format beside sample images and tests. Called by `./berth test`, which has
// installed and built before. The last line counts the tests; the exit code is 0 only when every check passed.
//
//   usage: ./berth test [PART OF A PATH...] [--kvm] [--machines N] [--seed N] [FLAG OF VITEST...]
import { spawn } from 'node:child_process';
import { mkdirSync, openSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { kvmRefusal } from './kvm.mjs';
import { runOnMachines } from './machines.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const state = join(root, '.berth');
const bin = (name) => join(root, 'node_modules/.bin', name);
const env = { ...process.env, NX_DAEMON: 'false', FORCE_COLOR: '0', BERTH_SAMPLES: join(state, 'samples') };
mkdirSync(state, { recursive: true });
const scripts = ['berth', 'tools/test/machine', 'tools/test/machine-init'];

/** Runs a check; its output is shown only when it fails. */
function check(name, command, args) {
  const begun = Date.now();
  const log = join(state, `test-${name}.log`);
  const fd = openSync(log, 'w');
  const child = spawn(command, args, { cwd: root, env, stdio: ['ignore', fd, fd] });
  return new Promise((resolve) => {
    const end = (ok, why) => {
      if (!ok) process.stdout.write(readFileSync(log, 'utf8').split('\n').slice(-80).join('\n'));
      said(name, ok, why, begun);
      resolve(ok);
    };
    child.once('error', (error) => end(false, ` (${error.message})`));
    child.once('exit', (code, signal) => end(code === 0, signal === null ? '' : ` (${signal})`));
  });
}

function said(name, ok, why, begun) {
  const seconds = ((Date.now() - begun) / 1000).toFixed(1);
  process.stdout.write(`${name}: ${ok ? 'passed' : `FAILED${why}`} (${seconds} s)\n`);
}

/** Takes a flag of our own out of the arguments; with a value, that. */
function take(args, flag, valued = false) {
  const at = args.indexOf(flag);
  if (at < 0) return null;
  const [, value] = args.splice(at, valued ? 2 : 1);
  if (!valued) return true;
  if (!/^[1-9]\d{0,8}$/.test(value ?? '')) {
    process.stderr.write(`${flag} takes a number from 1 on, as in ${flag} 2\n`);
    process.exit(2);
  }
  return Number(value);
}

const args = process.argv.slice(2);
const kvm = take(args, '--kvm');
const refusal = kvm ? await kvmRefusal() : null;
if (refusal !== null) {
  process.stderr.write(`${refusal}\n`);
  process.exit(1);
}
const projects = kvm ? ['kvm'] : ['rooms', 'shared', 'whole', 'shared-whole'];
const machines = take(args, '--machines', true);
const seed = take(args, '--seed', true);
const stop = new AbortController();
for (const [signal, code] of Object.entries({ SIGINT: 130, SIGTERM: 143, SIGHUP: 129 }))
  process.once(signal, () => {
    process.exitCode = code;
    stop.abort();
  });

// Made once, and for whoever needs it: it takes a minute or two.
const needsDebian =
  projects.includes('whole') &&
  (args.length === 0 ||
    args.some(
      (part) =>
        !part.startsWith('-') &&
        ['tests/e2e/debian.test.ts', 'tests/e2e/exec.test.ts'].some((file) => file.includes(part)),
    ));
const samplesArgs = [...(needsDebian ? ['--debian'] : []), env.BERTH_SAMPLES];
const looks =
  args.length > 0
    ? []
    : [
        ['lint', bin('eslint'), ['.', '--max-warnings=0']],
        // Several threads cost more processor time, which the tests beside them need.
        ['types', bin('tsc'), ['--singleThreaded', '-p', 'tsconfig.json']],
        ['types-dashboard', bin('tsc'), ['--singleThreaded', '-p', 'apps/dashboard/tsconfig.json']],
        ['format', bin('prettier'), ['--check', '--log-level=warn', '.']],
        ...scripts.map((path) => [`script-${basename(path)}`, 'bash', ['-n', join(root, path)]]),
      ];
// In what samples and tests leave of the processors.
const looked = Promise.all(
  looks.map(([name, command, its]) => check(name, 'nice', ['-n', '15', command, ...its])),
);
let passed = await check('samples', join(root, 'tools/samples/build'), samplesArgs);
const begun = Date.now();
const vitestArgs = [...projects.flatMap((name) => ['--project', name]), ...args];
const total = await runOnMachines({ args: vitestArgs, machines, seed, env, signal: stop.signal });
if (total.files === 0) process.stdout.write(`no test file has ${args.join(' or ')} in its path\n`);
passed = (await looked).every((ok) => ok) && passed;
const interrupted = stop.signal.aborted;
// Again where the output ends: hundreds of lines may stand between a failure and here.
for (const failure of total.failures) process.stdout.write(`failed: ${failure}\n`);
const tested = total.failed === 0 && total.files > 0 && !interrupted;
said('tests', tested, interrupted ? ' (interrupted)' : '', begun);
passed &&= tested;
process.stdout.write(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped\n`);
process.exitCode ??= passed ? 0 : 1;
