import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { guestReport, reportedExit } from './guest-report.js';

const exit = (text: string, asked = false) => {
  const report = guestReport(text);
  return report === null ? null : reportedExit(report, asked);
};

describe('what a guest says of the end of its entry point', () => {
  it.each([
    ['exited 0\n', { reason: 'exited', code: 0 }],
    ['exited 7\n', { reason: 'exited', code: 7 }],
    ['exited 143\n', { reason: 'signalled', signal: 'SIGTERM' }],
    ['exited 255\n', { reason: 'exited', code: 255 }],
    ['signalled 9\n', { reason: 'signalled', signal: 'SIGKILL' }],
    ['oomKilled 9\n', { reason: 'oomKilled', signal: 'SIGKILL', message: expect.any(String) }],
    ['failed cannot run x\u001b[2J\n', { reason: 'startFailed', message: 'cannot run x?[2J' }],
  ])('%j is %j', (text, wanted) => expect(exit(text)).toEqual(wanted));

  it('is an end that was asked for, where one was', () => {
    expect(exit('exited 0\n', true)).toEqual({ reason: 'stopped', code: 0 });
    expect(exit('signalled 15\n', true)).toEqual({ reason: 'stopped', signal: 'SIGTERM' });
  });

  it('is nothing where it makes no sense, whatever it holds', () => {
    for (const text of ['', '\n', 'exited', 'exited x', 'exited 256', 'exited 0x7', 'signalled -1', 'lost 3'])
      expect(guestReport(text)).toBeNull();
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => void exit(text)));
  });
});
