// Runs test files on several test machines side by side. Each machine takes the next file when it has done one, the
// slowest first, so that all end at about the same time whatever the files cost. A machine on which a file failed is not
// used again: what that file left there must not fail the next one.
import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createVitest, parseCLI } from 'vitest/node';

const here = fileURLToPath(new URL('.', import.meta.url));
const root = fileURLToPath(new URL('../..', import.meta.url));
/** No file takes that long; one that does hangs where no time-out of its own reaches. */
const FILE_MS = 20 * 60_000;
const GIB = 2 ** 30;

/** One machine more than processors, so that the waits of one are the others' time; at most four, each with 3 GiB of memory. */
const machineCount = () =>
  Math.max(1, Math.min(4, availableParallelism() + 1, Math.floor(totalmem() / (3 * GIB))));

/** Files that share a worker, at most; with more of them the last machine would be busy for long when the others are done. */
const TOGETHER = 12;
/** Seconds after which no further file joins them, for the same reason. */
const TOGETHER_S = 60;

/** Files of one project that share a worker, in order: several groups of them. */
function shareWorkers(files, durations) {
  const groups = [];
  for (const file of files.sort()) {
    const last = groups.at(-1);
    if (last !== undefined && last.length < TOGETHER && durations.of(last) < TOGETHER_S) last.push(file);
    else groups.push([file]);
  }
  return groups;
}

/**
 * Absolute paths of the test files that vitest's arguments select, those together that share a worker, and whether they select
 * tests inside files too.
 */
async function select(args, durations) {
  const { filter, options } = parseCLI(['vitest', 'run', ...args]);
  const vitest = await createVitest('test', { ...options, run: true, watch: false, reporters: [{}] });
  try {
    const found = await vitest.globTestSpecifications(filter);
    const projects = [...new Set(found.map((s) => s.project))];
    const groups = projects.flatMap((project) => {
      const files = [...new Set(found.filter((s) => s.project === project).map((s) => s.moduleId))];
      return project.config.isolate ? files.sort().map((file) => [file]) : shareWorkers(files, durations);
    });
    return { groups, whole: options.testNamePattern === undefined };
  } finally {
    await vitest.close();
  }
}

/** Seconds that a file may take which has not run here yet: the larger rooms first. */
function guess(path) {
  if (/^tests\/(e2e|kills)\//.test(path)) return 600;
  if (/conformance|^tests\/(streams|dashboard|cli)\//.test(path)) return 60;
  if (/^libs\/kvm\/src\/driver\/|^libs\/containers\/src\/attack|packets/.test(path)) return 30;
  return path.startsWith('tests/') ? 5 : 1;
}

/** How long files took when they last ran here, in a file beside the build. */
class Durations {
  #path = join(root, '.berth/test-durations.json');
  #seconds = {};
  constructor() {
    try {
      this.#seconds = JSON.parse(readFileSync(this.#path, 'utf8'));
    } catch {
      // None yet.
    }
  }
  of = (files) => files.reduce((sum, file) => sum + this.#of(relative(root, file)), 0);
  #of = (path) => this.#seconds[path] ?? guess(path);
  set(file, ms) {
    this.#seconds[relative(root, file)] = Math.round(ms / 100) / 10;
    writeFileSync(this.#path, `${JSON.stringify(this.#seconds, null, 1)}\n`);
  }
}

/** The same order for the same seed: xorshift32, then sorting by it. */
function shuffled(groups, seed) {
  let x = seed >>> 0 || 1;
  const next = () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return x >>> 0;
  };
  return groups
    .map((files) => [next(), files])
    .sort(([a], [b]) => a - b)
    .map(([, files]) => files);
}

/** One machine with its vitest; see driver.mjs for what is said. */
class Machine {
  #child;
  #noise = '';
  #answer = null;
  ended;

  constructor(args, env) {
    const driver = [join(here, 'machine'), process.execPath, join(here, 'driver.mjs'), ...args];
    // In a session of its own: Ctrl-C reaches this process, which ends its machines in order. When this process is
    // killed, the machine's script hears of it and cleans up.
    this.#child = spawn('setpriv', ['--pdeathsig', 'TERM', ...driver], {
      cwd: root,
      env,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    for (const stream of [this.#child.stdout, this.#child.stderr])
      stream.on('data', (chunk) => (this.#noise = (this.#noise + chunk).slice(-20_000)));
    this.#child.on('message', (message) => {
      this.#answer?.resolve(message);
      this.#answer = null;
    });
    this.ended = new Promise((resolve) => {
      this.#child.once('error', (error) => resolve(`it did not start: ${error.message}`));
      this.#child.once('close', (code, signal) => resolve(`it ended (${signal ?? code})`));
    });
    this.ready = this.#next();
  }

  /** The next message. @throws Error when the machine ends first. */
  async #next() {
    const message = new Promise((resolve) => (this.#answer = { resolve }));
    const end = this.ended.then((why) => {
      throw new Error(`the test machine is gone: ${why}\n${this.#noise}`);
    });
    return Promise.race([message, end]);
  }

  /** Runs files and tells what came of each; a machine that dies or hangs over them is a failure of all. */
  async run(files) {
    const begun = Date.now();
    let late = null;
    try {
      await this.ready;
      this.#noise = '';
      const done = this.#next();
      this.#child.send({ files });
      late = setTimeout(() => this.end(), FILE_MS);
      const { results } = await done;
      results[0].text += this.#noise;
      return results;
    } catch (error) {
      const counts = { passed: 0, failed: 1, skipped: 0 };
      const failed = [{ name: 'the whole file', why: error.message }];
      const ms = Date.now() - begun;
      return files.map(() => ({ counts, skipped: [], failed, ms, text: `${error.message}\n` }));
    } finally {
      clearTimeout(late);
    }
  }

  /** Ends it with everything in it. */
  async end() {
    this.#child.kill('SIGTERM');
    await this.ended;
  }
}

/** The first lines of a message; the whole of it stands with its file. */
const shortened = (why) => why.trim().split('\n').slice(0, 3).join('\n    ').slice(0, 600);

/** One line a file, and below it what there is to say: failures, and what its tests printed. */
function report(file, { counts, skipped, ms, text }, whole) {
  const ran = counts.passed + counts.failed;
  // With -t most files have nothing to run.
  if (!whole && ran === 0) return;
  const left = whole && counts.skipped > 0 ? `, ${counts.skipped} skipped` : '';
  const said = text.trim() === '' ? '' : `${text.trim().replace(/^/gm, '    ')}\n`;
  process.stdout.write(
    `${counts.failed > 0 ? 'FAILED' : 'passed'} ${relative(root, file)} (${ran} tests${left}, ${(ms / 1000).toFixed(1)} s)\n${said}`,
  );
  if (whole) for (const name of skipped) process.stdout.write(`  skipped: ${name}\n`);
}

/**
 * Runs the files that vitest's arguments select, printing each as it ends. Resolves to what they all came to.
 *
 * @param options args: of vitest; machines: how many, null lets this machine say; seed: shuffles the files, null takes the
 *   slowest first; env: of the tests; signal: ends everything
 */
export async function runOnMachines({ args, machines, seed, env, signal }) {
  const lanes = machines ?? machineCount();
  const durations = new Durations();
  const { groups, whole } = await select(args, durations);
  const queue =
    seed === null ? groups.sort((a, b) => durations.of(b) - durations.of(a)) : shuffled(groups, seed);
  const total = { passed: 0, failed: 0, skipped: 0, files: queue.flat().length, failures: [] };
  const running = new Set();
  signal.addEventListener('abort', () => running.forEach((machine) => machine.end()));

  // What stands beside the code waits more than it works, and what is in tests/ works more than it waits: of three machines
  // one begins with the former, and each goes on with what is left.
  const next = (beside) => {
    const at = queue.findIndex(([file]) => relative(root, file).startsWith('tests/') !== beside);
    return queue.splice(Math.max(0, at), 1)[0];
  };
  const lane = async (_, i) => {
    const beside = i % 3 === 2;
    let machine = null;
    const end = async () => {
      await machine?.end();
      running.delete(machine);
      machine = null;
    };
    for (let files = next(beside); files !== undefined && !signal.aborted; files = next(beside)) {
      if (machine === null) running.add((machine = new Machine(args, env)));
      const results = await machine.run(files);
      if (signal.aborted) break;
      for (const [i, file] of files.entries()) {
        const result = results[i];
        report(file, result, whole);
        for (const key of ['passed', 'failed', 'skipped']) total[key] += result.counts[key];
        for (const { name, why } of result.failed)
          total.failures.push(`${relative(root, file)} > ${name}: ${shortened(why)}`);
        if (result.counts.failed === 0 && whole) durations.set(file, result.ms);
      }
      if (results.some(({ counts }) => counts.failed > 0)) await end();
    }
    await end();
  };
  await Promise.all(Array.from({ length: Math.min(lanes, queue.length) }, lane));
  return total;
}
