import { expect, test } from 'vitest';
import { clockSynchronised, run } from './index.js';

test('whether somebody keeps the clock right is what adjtimex(2) says to another program', async () => {
  const number = process.arch === 'arm64' ? 171 : 159;
  const { stdout } = await run('perl', ['-e', `my $timex = "\\0" x 208; print syscall(${number}, $timex)`]);
  expect(clockSynchronised()).toBe(Number(stdout) !== 5);
});
