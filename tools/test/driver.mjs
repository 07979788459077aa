// Vitest inside a test machine: runs files as they are handed in, one after the other, and answers with what came of them.
// Spoken with over the IPC channel: { files } in; { ready } once, then per question { results } out, one for each of its files:
// { counts, skipped, failed, ms, text }.
//
//   usage (by machines.mjs): tools/test/machine node tools/test/driver.mjs [VITEST FLAG...]
import { mkdtempSync } from 'node:fs';
import { Writable } from 'node:stream';
import { createVitest, parseCLI } from 'vitest/node';

let text = '';
const sink = new Writable({ write: (chunk, _, done) => done(void (text += chunk.toString())) });
// Vitest pipes each worker into it, and a pipe ends what it leads to.
sink.end = () => sink;
const { options } = parseCLI(['vitest', 'run', ...process.argv.slice(2)]);
// What vitest compiles is its own; the tests' temporary directory is theirs.
process.env.TMPDIR = mkdtempSync('/.machine/vitest-');
const reporter = { onUserConsoleLog: ({ content }) => void (text += content) };
const vitest = await createVitest(
  'test',
  { ...options, run: true, watch: false, fileParallelism: false, reporters: [reporter] },
  {},
  { stdout: sink, stderr: sink },
);
delete process.env.TMPDIR;

/** What a test module came to. Failures are printed where they belong: under the name of their test or suite. */
function counted(module) {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  const skipped = [];
  const failed = [];
  const print = (name, errors) => {
    text += `\n  ✗ ${name}\n`;
    failed.push({ name, why: errors[0]?.message ?? 'it failed' });
    for (const error of errors) vitest.logger.printError(error, { project: module.project });
  };
  for (const test of module.children.allTests()) {
    const { state, errors } = test.result();
    if (state === 'passed') counts.passed++;
    else if (state === 'failed') {
      counts.failed++;
      print(test.fullName, errors);
    } else {
      counts.skipped++;
      skipped.push(test.fullName);
    }
  }
  // Errors of the file itself or of a hook fail no test; together they count as one.
  const broken = [module, ...module.children.allSuites()].filter((s) => s.errors().length > 0);
  for (const suite of broken)
    print(suite === module ? 'the file itself, or a hook of it' : suite.fullName, suite.errors());
  if (broken.length > 0 || (module.state() === 'failed' && counts.failed === 0)) counts.failed++;
  return { counts, skipped, failed };
}

/** The result of a file of which no test ran. */
const nothing = (why) => ({
  counts: { passed: 0, failed: 1, skipped: 0 },
  skipped: [],
  failed: [{ name: 'the whole file', why }],
});

async function run(files) {
  text = '';
  const begun = Date.now();
  const found = await vitest.globTestSpecifications(files);
  const { testModules, unhandledErrors } = await vitest.runTestSpecifications(
    found.filter((s) => files.includes(s.moduleId)),
  );
  const took = Date.now() - begun;
  const results = files.map((file) => {
    const module = testModules.find((m) => m.moduleId === file);
    const why = 'vitest did not run this file';
    const result = module ? counted(module) : nothing(why);
    if (!module) text += `${why}\n`;
    // With the first of them stands what they all printed.
    const said = text;
    text = '';
    return { ...result, ms: files.length === 1 || !module ? took : durationOf(module), text: said };
  });
  for (const error of unhandledErrors) {
    const [first] = results;
    const name = 'an error that nothing caught';
    text = `\n  ✗ ${name}\n`;
    vitest.logger.printError(error);
    first.counts.failed++;
    first.failed.push({ name, why: error.message });
    first.text += text;
  }
  process.send({ results });
}

/** What a file that shares its worker took, ms. */
function durationOf(module) {
  const { setupDuration, collectDuration, duration } = module.diagnostic();
  return setupDuration + collectDuration + duration;
}

process.on('message', ({ files }) => {
  run(files).catch((error) => {
    const broken = { ...nothing(error.message), ms: 0, text: `${text}${error.stack}\n` };
    process.send({ results: files.map(() => broken) });
  });
});
// The machine ends with this process; whatever else runs in it, too.
process.once('disconnect', () => process.exit());
process.send({ ready: true });
