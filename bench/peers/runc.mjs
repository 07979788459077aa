// runc alone: an overlay mount, create, start; all namespaces but the user's, the same limits, no bridge.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { run, unmountBelow } from '../programs.mjs';
import { idle } from '../rootfs.mjs';

export const what = 'overlay mount + runc create + runc start';

/**
 * Reads `start ID`, `state ID` and `remove ID`, and answers a line each. A shell that stays: starting a program from Node
 * costs a copy of its page tables, which is not runc's.
 */
const worker = `base=$1 lower=$2
while read -r verb id; do
  b=$base/$id
  case $verb in
    start)
      t0=$EPOCHREALTIME
      mkdir -p $b/upper $b/work $b/rootfs && mount -t overlay overlay -o lowerdir=$lower,upperdir=$b/upper,workdir=$b/work $b/rootfs \\
        && cp $base/config.json $b/ && t1=$EPOCHREALTIME \\
        && runc --root $base/state create -b $b bench-$id </dev/null >$b/out 2>&1 \\
        && runc --root $base/state start bench-$id </dev/null >>$b/out 2>&1 || { echo "failed $(tail -n 1 $b/out 2>/dev/null)"; continue; }
      t2=$EPOCHREALTIME
      echo "\${t0/./} \${t1/./} \${t2/./}" ;;
    state) runc --root $base/state state bench-$id 2>&1 | tr -d '\\n'; echo ;;
    remove) runc --root $base/state delete -f bench-$id >/dev/null 2>&1; umount -l $b/rootfs; rm -rf $b; echo ok ;;
  esac
done`;

export async function start(dir, _rootfsTar, rootfs) {
  const base = join(dir, 'runc');
  mkdirSync(base, { recursive: true });
  const version = (await run('runc', ['--version'])).split(/\s+/)[2];
  await run('runc', ['spec', '--bundle', base]);
  const spec = JSON.parse(readFileSync(join(base, 'config.json'), 'utf8'));
  spec.process.terminal = false;
  spec.process.args = idle;
  spec.root = { path: 'rootfs', readonly: false };
  spec.linux.resources = {
    ...spec.linux.resources,
    memory: { limit: 64 << 20 },
    cpu: { quota: 50_000, period: 100_000 },
    pids: { limit: 4096 },
  };
  writeFileSync(join(base, 'config.json'), JSON.stringify(spec));
  // In a group of its own, or Ctrl-C would end it before its containers.
  const options = { stdio: ['pipe', 'pipe', 'inherit'], detached: true };
  const shell = spawn('bash', ['-c', worker, 'bench', base, rootfs], options);
  const lines = createInterface({ input: shell.stdout })[Symbol.asyncIterator]();
  const ask = async (line) => {
    shell.stdin.write(`${line}\n`);
    return (await lines.next()).value ?? 'failed: the worker ended';
  };
  return {
    name: `runc ${version}`,
    async run(name) {
      const answer = await ask(`start ${name}`);
      if (answer.startsWith('failed')) throw new Error(`runc: ${answer}`);
      const [begun, , ended] = answer.split(' ').map(Number);
      const state = JSON.parse(await ask(`state ${name}`));
      if (state.status !== 'running') throw new Error(`runc: ${name} is ${state.status}`);
      return (ended - begun) / 1000;
    },
    remove: (name) => ask(`remove ${name}`),
    async end() {
      if (shell.exitCode === null && shell.signalCode === null) {
        const gone = new Promise((resolve) => shell.once('exit', resolve));
        shell.stdin.end();
        await gone;
      }
      // What a round that failed left.
      const state = join(base, 'state');
      mkdirSync(state, { recursive: true });
      for (const id of readdirSync(state)) await run('runc', ['--root', state, 'delete', '-f', id]);
      await unmountBelow(base);
      rmSync(base, { recursive: true, force: true });
    },
  };
}
