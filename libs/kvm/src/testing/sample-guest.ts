import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Runtime, Terminal, WorkloadSpec } from '@berth/runtime';
import { eventually, serialText } from './host.js';

/* The sample guest: Debian's cloud kernel, and a shell on its serial line. */

const exec = promisify(execFile);
const repository = new URL('../../../../', import.meta.url).pathname;

/** Its disk, raw; made when it is not there yet, which takes a minute. */
export async function sampleDisk(): Promise<Buffer> {
  const dir = await mkdtemp(join(tmpdir(), 'berth-sample-'));
  const samples = join(repository, '.berth/samples');
  await exec(join(repository, 'tools/samples/build'), [samples], { timeout: 240_000 });
  const raw = join(dir, 'tiny.raw');
  await exec('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', join(samples, 'tiny.qcow2'), raw]);
  const disk = await readFile(raw);
  await rm(dir, { recursive: true });
  return disk;
}

type WithSerial = Required<Pick<Runtime, 'logs' | 'console'>>;

/** Waits until its serial line has said that. */
export function serialSays(
  runtime: Pick<WithSerial, 'logs'>,
  spec: WorkloadSpec,
  line: RegExp,
  ms = 120_000,
): Promise<RegExpExecArray> {
  return eventually(`${line}`, async () => line.exec(await serialText(runtime, spec)) ?? undefined, ms);
}

let asked = 0;

/** What a command in its shell prints, which is of this form (a regular expression) and has no full stop. */
export async function shellSays(
  runtime: WithSerial,
  spec: WorkloadSpec,
  command: string,
  form: string,
): Promise<string> {
  const mark = `asked-${(asked += 1)}`;
  const open = { scrollbackBytes: 0, readOnly: false } as never;
  const line: Terminal = await runtime.console(spec, open, AbortSignal.timeout(120_000));
  const answer = new RegExp(`${mark}=(${form})\\.`);
  // Its shell may begin after it said that it is ready, and drops what was typed before.
  const heard = async (): Promise<RegExpExecArray | undefined> => {
    await line.write(Buffer.from(`echo ${mark}=$(${command}).\n`));
    return serialSays(runtime, spec, answer, 5_000).catch(() => undefined);
  };
  const found = await eventually(mark, heard, 120_000);
  line.close();
  return found[1] ?? '';
}
