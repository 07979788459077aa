import { constants } from 'node:os';

const names = new Map<number, string>();
for (const [name, value] of Object.entries(constants.errno)) if (!names.has(value)) names.set(value, name);

/** The symbolic name of a Linux error number, such as `ENOENT`; `E<number>` for one that Node does not know. */
export function errnoName(errno: number): string {
  return names.get(errno) ?? `E${errno}`;
}

/** A system call or a netlink request that the kernel refused. `code` is the symbolic errno. */
export class SystemError extends Error {
  readonly code: string;
  constructor(
    /** The call or request, such as `mount` or `RTM_NEWLINK`. */
    readonly syscall: string,
    readonly errno: number,
    /** What the call was about: a path, an interface. */
    subject: string,
    /** The kernel's own words, where it gave any (netlink extended acknowledgement). */
    readonly detail: string | null = null,
  ) {
    const code = errnoName(errno);
    super(`${syscall} ${subject}: ${code}${detail === null ? '' : ` (${detail})`}`);
    this.name = 'SystemError';
    this.code = code;
  }
}

/** Whether an error (of ours or of Node) carries one of these errno names. */
export function hasCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && codes.includes(String((error as NodeJS.ErrnoException).code));
}
