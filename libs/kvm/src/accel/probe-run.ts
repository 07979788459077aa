import { spawn } from 'node:child_process';
import { stat } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { option } from '../qemu/options.js';
import type { AccelSample } from './accel-verdict.js';
import { DEBUG_PORT, DONE_STATUS, EXIT_PORT, partTicks } from './probe-payload.js';

const NOBODY = 65_534;
const MAX_WORDS = 4_096;
const MAX_MARKS = 4_096;

/**
 * Runs the payload once, in a QEMU as weak as any machine's. Never throws for what QEMU does.
 * @param enough asked at each part: true ends the run, which is then `late`
 */
export async function probeRun(
  romPath: string,
  how: { readonly accel: 'kvm' | 'tcg'; readonly cpu: string },
  limitMs: number,
  signal: AbortSignal,
  enough: (ticks: readonly number[]) => boolean = () => false,
): Promise<AccelSample> {
  const gid = how.accel === 'kvm' ? (await stat('/dev/kvm')).gid : 0;
  const groups = gid === 0 ? '--clear-groups' : `--groups=${gid}`;
  const weak = ['--no-new-privs', '--inh-caps=-all', '--ambient-caps=-all', '--bounding-set=-all'];
  const child = spawn(
    'setpriv',
    [
      `--reuid=${NOBODY}`,
      `--regid=${NOBODY}`,
      groups,
      // It ends with us, also when we are killed.
      '--pdeathsig=KILL',
      ...weak,
      '--',
      'qemu-system-x86_64',
      ...probeArguments(romPath, how),
    ],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
      cwd: '/',
    },
  );
  // Whoever wants to end need not wait for a measurement.
  child.unref();
  for (const stream of [child.stdout, child.stderr]) (stream as Socket).unref();
  let marks = Buffer.alloc(0);
  let words = '';
  let late = false;
  const end = (): void => {
    late = true;
    child.kill('SIGKILL');
  };
  const timer = setTimeout(end, limitMs).unref();
  signal.addEventListener('abort', end, { once: true });
  if (signal.aborted) end();
  child.stdout.on('data', (chunk: Buffer) => {
    if (marks.length < MAX_MARKS) marks = Buffer.concat([marks, chunk]);
    if (enough(partTicks(marks))) end();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    words = (words + chunk.toString('utf8')).slice(-MAX_WORDS);
  });
  const status = await new Promise<number | null>((resolve) => {
    child.once('error', (error) => {
      words = error.message;
      resolve(null);
    });
    child.once('close', (code) => resolve(code));
  });
  clearTimeout(timer);
  signal.removeEventListener('abort', end);
  const outcome = status === DONE_STATUS ? 'finished' : late ? 'late' : 'failed';
  return { outcome, ticks: partTicks(marks), message: complaint(words) };
}

function probeArguments(romPath: string, how: { readonly accel: string; readonly cpu: string }): string[] {
  const port = (value: number): string => `0x${value.toString(16)}`;
  return [
    '-nodefaults',
    '-no-user-config',
    '-no-reboot',
    ...option('-sandbox', 'on', {
      obsolete: 'deny',
      elevateprivileges: 'deny',
      spawn: 'deny',
      resourcecontrol: 'deny',
    }),
    ...option('-machine', 'q35', { accel: how.accel, usb: false }),
    ...option('-cpu', how.cpu),
    ...option('-m', null, { size: '16M' }),
    ...['-display', 'none', '-bios', romPath],
    ...option('-chardev', 'stdio', { id: 'marks', signal: false }),
    ...option('-device', 'isa-debugcon', { iobase: port(DEBUG_PORT), chardev: 'marks' }),
    ...option('-device', 'isa-debug-exit', { iobase: port(EXIT_PORT), iosize: 1 }),
  ];
}

/** The line that says what went wrong, in one line: errors before warnings. */
function complaint(words: string): string | null {
  const lines = words.split('\n').filter((line) => line.trim() !== '');
  const line =
    lines.find((text) => /error|fail|denied/i.test(text)) ?? lines.find((text) => !/warning/.test(text));
  return (
    line
      ?.replace(/^qemu-system-x86_64: /, '')
      .trim()
      .slice(0, 200) ?? null
  );
}
