import { text } from 'node:stream/consumers';

/** A secret as it comes by standard input, less the end of its line: arguments can be read by every user of a machine. */
export async function secretFromStdin(): Promise<string> {
  return (await text(process.stdin)).replace(/\r?\n$/, '');
}
