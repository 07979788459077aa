import { readdirSync, readFileSync } from 'node:fs';

/** A process that cannot be mistaken for a later one of the same number. */
export interface Process {
  readonly pid: number;
  /** Clock ticks since boot at which it began. */
  readonly startTime: number;
}

/** SIGKILL; false when it was gone already. */
export function killed(pid: number): boolean {
  try {
    process.kill(pid, 'SIGKILL');
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw error;
  }
}

/** A file of /proc/<pid>; empty when the process is gone. */
export function procText(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return '';
  }
}

/** Fields of /proc/<pid>/stat after the name, which may hold blanks: state, parent, … (proc(5), from field 3). */
const stat = (pid: number): string[] => procText(pid, 'stat').split(') ').at(-1)?.split(' ') ?? [];

/** Whether it runs; a zombie does not. */
export function living(pid: number): boolean {
  return !['', 'Z', 'X'].includes(stat(pid)[0] ?? '');
}

export function parentOf(pid: number): number | null {
  const parent = Number(stat(pid)[1]);
  return parent > 1 ? parent : null;
}

/** Every process that is no zombie. */
export function processes(): Process[] {
  return readdirSync('/proc')
    .filter((n) => /^\d+$/.test(n))
    .map(Number)
    .filter(living)
    .map((pid) => ({ pid, startTime: Number(stat(pid)[19]) }));
}

export function childNamed(parent: number, name: string): number | null {
  const child = processes().find(
    (p) => parentOf(p.pid) === parent && procText(p.pid, 'comm').trim() === name,
  );
  return child?.pid ?? null;
}
