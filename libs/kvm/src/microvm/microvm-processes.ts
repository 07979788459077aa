import { processRow, userNames } from '@berth/linux';
import { processesMost, type InstanceProcess, type InstanceProcesses } from '@berth/model';
import { RuntimeError, type Terminal } from '@berth/runtime';
import type { GuestField } from '../guest/guest-fields.js';

/*
 * What runs in a microVM, by its first process: libs/kvm/guest-init/processes.c is the other end and tells the form. The machine
 * belongs to its owner, so what comes is bounded and nothing depends on it.
 */

/** Of a guest's answer, bytes: some ten thousand processes. */
const ANSWER_BYTES = 16 * 1024 * 1024;

/** What asks for it. */
export const processesRequest: readonly GuestField[] = [
  ['list', 'processes'],
  ['user', '0'],
  ['cwd', '/'],
];

/** @throws RuntimeError notPrepared (it ended meanwhile), unsupported (it was started by an earlier version) */
export async function microvmProcesses(
  exec: Pick<Terminal, 'output' | 'ended' | 'close'>,
): Promise<InstanceProcesses> {
  const pieces: Uint8Array[] = [];
  let total = 0;
  for await (const { channel, bytes } of exec.output) {
    if (channel !== 'output') continue;
    pieces.push(bytes);
    total += bytes.length;
    if (total > ANSWER_BYTES) {
      exec.close();
      throw new RuntimeError('hostFault', 'the guest told of more processes than are read');
    }
  }
  const end = await exec.ended;
  if (end?.reason === 'exited' && end.code === 0) return processesOf(Buffer.concat(pieces));
  if (end?.reason === 'failed' && end.message.includes('the request makes no sense'))
    throw new RuntimeError('unsupported', 'its first process is of an earlier version, which lists none', {
      remedy: 'restart the instance',
    });
  throw new RuntimeError('notPrepared', 'it ended before it had told what runs in it');
}

/** Reads the records; what makes no sense is left out. Pure. */
export function processesOf(answer: Buffer): InstanceProcesses {
  let upSeconds = 0;
  let names: ReadonlyMap<number, string> = new Map();
  const items: InstanceProcess[] = [];
  let [stat, status] = ['', ''];
  for (const [name, bytes] of records(answer)) {
    if (name === 'uptime') upSeconds = Number.parseFloat(bytes.toString('latin1'));
    else if (name === 'passwd') names = userNames(bytes.toString('utf8'));
    else if (name === 'stat') stat = bytes.toString('utf8');
    else if (name === 'status') status = bytes.toString('utf8');
    else if (name === 'cmdline') {
      const row = processRow({ stat, status, cmdline: bytes }, upSeconds);
      if (row !== null) items.push({ ...row, user: names.get(row.uid) ?? String(row.uid) });
    }
  }
  items.sort((a, b) => a.pid - b.pid);
  return { items: items.slice(0, processesMost), total: items.length };
}

function* records(answer: Buffer): Generator<[string, Buffer]> {
  for (let at = 0; at < answer.length;) {
    const end = answer.indexOf(10, at);
    const head = /^([a-z]{1,16}) (\d{1,5})$/.exec(end < 0 ? '' : answer.toString('latin1', at, end));
    if (head === null) return;
    const size = Number(head[2]);
    yield [head[1] ?? '', answer.subarray(end + 1, end + 1 + size)];
    at = end + 1 + size;
  }
}
