/** What proc(5) tells of one process. */
export interface ProcessText {
  readonly stat: string;
  readonly status: string;
  /** Arguments, each ended by NUL; nothing of a thread of the kernel or a zombie. */
  readonly cmdline: Uint8Array;
}

export interface ProcessRow {
  /** In its own pid namespace. */
  readonly pid: number;
  /** Pid of its parent in the namespace of whoever read it; 0 where that is not seen there. */
  readonly parent: number;
  /** Effective, in the user namespace of whoever read it. */
  readonly uid: number;
  /** One letter, as proc(5) has it: R runs, S sleeps, D waits for a disk, Z has ended, T is stopped. */
  readonly state: string;
  readonly threads: number;
  /** Processor time that it has used, in user and kernel. */
  readonly cpuMicros: number;
  /** Resident memory, also what it shares. */
  readonly memoryBytes: number;
  /** From its start until now. */
  readonly ageSeconds: number;
  /** Its arguments, joined by spaces; `[name]` where it has none. At most {@link commandMost} characters. */
  readonly command: string;
}

export const commandMost = 1024;

/** Clock ticks of proc(5) in a second: USER_HZ is part of the kernel's interface and 100 on everything we run on. */
const TICKS = 100;

/**
 * Reads one process. Its name and arguments are its own words and may be anything.
 * @param upSeconds how long the machine runs, the first number of /proc/uptime
 * @returns null where the text makes no sense
 */
export function processRow({ stat, status, cmdline }: ProcessText, upSeconds: number): ProcessRow | null {
  const [open, end] = [stat.indexOf('('), stat.lastIndexOf(')')];
  if (open < 0 || end < open) return null;
  const fields = stat.slice(end + 2).split(' ');
  const number = (index: number): number => Number(fields[index - 3]); // as proc(5) counts them
  const of = new Map(status.split('\n').map((line) => line.split(':\t', 2) as [string, string | undefined]));
  const pid = Number((of.get('NSpid') ?? of.get('Pid'))?.trim().split(/\s+/).at(-1));
  const uid = Number(of.get('Uid')?.split('\t')[1]);
  const args = Buffer.from(cmdline).toString('utf8').replace(/\0+$/, '').replaceAll('\0', ' ');
  const row: ProcessRow = {
    pid,
    parent: number(4),
    uid,
    state: fields[0] ?? '',
    threads: number(20),
    cpuMicros: (number(14) + number(15)) * (1_000_000 / TICKS),
    memoryBytes: Number(of.get('VmRSS')?.trim().split(' ')[0] ?? 0) * 1024,
    ageSeconds: Math.max(0, Math.round(upSeconds - number(22) / TICKS)),
    command: (args.trim() === '' ? `[${stat.slice(open + 1, end)}]` : args).slice(0, commandMost),
  };
  const whole = [row.pid, row.parent, row.uid, row.threads, row.cpuMicros, row.memoryBytes, row.ageSeconds];
  return whole.every((n) => Number.isSafeInteger(n) && n >= 0) && /^[A-Za-z]$/.test(row.state) ? row : null;
}

/** Names of users by their ids, of a passwd(5); the first of an id counts. */
export function userNames(passwd: string): ReadonlyMap<number, string> {
  const names = new Map<number, string>();
  for (const line of passwd.split('\n')) {
    const [name = '', , id = ''] = line.split(':');
    if (/^\d{1,10}$/.test(id) && /^[\w.@-]{1,64}\$?$/.test(name) && !names.has(Number(id)))
      names.set(Number(id), name);
  }
  return names;
}
