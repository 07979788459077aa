import { processesMost, type InstanceProcess, type InstanceProcesses } from '@berth/model';
import { RuntimeError, type GuestFacet, type WorkloadKey } from '@berth/runtime';

/* What runs in a VM: its own `ps` (procps), by the agent in its guest. All of it is the guest's word. */

/** Of its answer, bytes. */
const ANSWER_BYTES = 4 * 1024 * 1024;

const COLUMNS = ['pid', 'ppid', 'euid', 'euser:32', 's', 'nlwp', 'rss', 'cputimes', 'etimes', 'args'];
const LINE =
  /^ *(\d{1,10}) +(\d{1,10}) +(\d{1,10}) +(\S{1,64}) +([A-Za-z]) +(\d{1,7}) +(\d{1,12}) +(\d{1,10}) +(\d{1,10}) (.*)$/;

/** @throws RuntimeError notPrepared, agentAway, unsupported (a guest without such a program) */
export async function guestProcesses(
  guest: Pick<GuestFacet, 'exec'>,
  key: WorkloadKey,
  signal: AbortSignal,
): Promise<InstanceProcesses> {
  const command = ['ps', '-e', '-ww', ...COLUMNS.flatMap((column) => ['-o', `${column}=`])];
  const program = await guest.exec(key, { command, tty: false }, signal);
  program.endInput();
  const output: Uint8Array[] = [];
  let total = 0;
  for await (const { channel, bytes } of program.output)
    if (channel === 'output' && (total += bytes.length) <= ANSWER_BYTES) output.push(bytes);
  const end = await program.ended;
  if (end?.reason === 'exited' && end.code === 0) return psProcesses(Buffer.concat(output).toString('utf8'));
  signal.throwIfAborted();
  throw new RuntimeError('unsupported', 'the guest has no program `ps` that tells what is asked', {
    remedy: 'install procps in it, or look from within: berth exec, berth console',
  });
}

/** Reads what such a `ps` prints; other lines are left out. Pure. */
export function psProcesses(text: string): InstanceProcesses {
  const items = text.split('\n').flatMap((line): InstanceProcess[] => {
    const found = LINE.exec(line);
    if (found === null) return [];
    const [, pid, parent, uid, user = '', state = '', threads, rss, cpu, age, command = ''] = found;
    return [
      {
        ...{ pid: Number(pid), parent: Number(parent), uid: Number(uid), user, state },
        ...{ threads: Number(threads), cpuMicros: Number(cpu) * 1_000_000, memoryBytes: Number(rss) * 1024 },
        ...{ ageSeconds: Number(age), command: command.slice(0, 1024) },
      },
    ];
  });
  return { items: items.slice(0, processesMost), total: items.length };
}
