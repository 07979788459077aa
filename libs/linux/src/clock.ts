import { c } from './libc.js';

/** <sys/timex.h>: the state in which nobody keeps the clock right, and the size of struct timex on 64 bits. */
const TIME_ERROR = 5;
const TIMEX_BYTES = 208;

/** Whether somebody keeps the kernel's clock right, as adjtimex(2) tells; null where it cannot be asked. */
export function clockSynchronised(): boolean | null {
  const state = c.adjtimex(Buffer.alloc(TIMEX_BYTES)); // modes 0: only read
  return state < 0 ? null : state !== TIME_ERROR;
}
