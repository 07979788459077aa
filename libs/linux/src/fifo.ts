import { c, check } from './libc.js';

/** Makes a named pipe, fifo(7). @throws SystemError EEXIST where the name is taken */
export function mkfifo(path: string, mode: number): void {
  check(c.mkfifo(path, mode), 'mkfifo', path);
}
