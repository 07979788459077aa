import type { ExecOpen, ExitInfo } from '@berth/model';
import { describe, expect, it } from 'vitest';
import type { GuestExec, GuestExecStatus } from '../qga/agent.js';
import { QgaError, QgaTransportError } from '../qga/transport.js';
import { GuestProcess } from './guest-process.js';

const running: GuestExecStatus = {
  code: null,
  output: Buffer.alloc(0),
  errorOutput: Buffer.alloc(0),
  truncated: false,
};
const done = { ...running, code: 3, output: Buffer.from('out'), errorOutput: Buffer.from('err') };

/** An agent whose program gets as far as the list says, look by look; the last stays. */
function agentOf(...looks: readonly (GuestExecStatus | Error)[]) {
  const asked: GuestExec[] = [];
  let at = 0;
  return {
    asked,
    exec: (program: GuestExec) => Promise.resolve(asked.push(program)),
    execStatus: () => {
      const look = looks[Math.min(at++, looks.length - 1)] ?? running;
      return look instanceof Error ? Promise.reject(look) : Promise.resolve(look);
    },
  };
}

const open: ExecOpen = { command: ['cat', '-n'], tty: false };
const never = new Promise<ExitInfo | null>(() => undefined);
const begin = (agent: ReturnType<typeof agentOf>, more: Partial<ExecOpen> = {}, end = never) =>
  new GuestProcess({ ...open, ...more }, agent, end, new AbortController().signal);

async function textOf(process: GuestProcess): Promise<string[]> {
  const all: string[] = [];
  for await (const { channel, bytes } of process.output)
    if (bytes.length > 0) all.push(`${channel}:${Buffer.from(bytes).toString()}`);
  return all;
}

describe('a program that a guest agent runs', () => {
  it('begins when its input has ended, and tells output, error output and code', async () => {
    const agent = agentOf(running, done);
    const process = begin(agent, { env: { A: 'b' } });
    await process.write(Buffer.from('one '));
    await process.write(Buffer.from('two'));
    expect(agent.asked).toEqual([]);
    process.endInput();
    expect(await textOf(process)).toEqual(['output:out', 'errorOutput:err']);
    expect(await process.ended).toEqual({ reason: 'exited', code: 3 });
    expect(agent.asked).toMatchObject([
      { path: 'cat', args: ['-n'], env: [expect.stringMatching(/^PATH=/), 'A=b'] },
    ]);
    expect(agent.asked[0]?.input.toString()).toBe('one two');
  });

  it('is asked for again while the guest does not answer: it may be paused', async () => {
    const process = begin(agentOf(new QgaTransportError('timeout', 'no answer'), done));
    process.endInput();
    expect(await process.ended).toEqual({ reason: 'exited', code: 3 });
  });

  it.each([
    [new QgaError('PID 7 does not exist'), 'the guest agent: PID 7 does not exist'],
    [new QgaTransportError('protocol', 'a line above 4 MiB'), 'a line above 4 MiB'],
    [{ ...done, truncated: true }, 'kept only a part'],
  ])('fails with the reason where its end cannot be told', async (look, words) => {
    const process = begin(agentOf(look));
    process.endInput();
    expect(await process.ended).toEqual({ reason: 'failed', message: expect.stringContaining(words) });
  });

  it('takes no more input than an agent does', async () => {
    const agent = agentOf(done);
    const process = begin(agent);
    await process.write(Buffer.alloc(1024 * 1024));
    await process.write(Buffer.alloc(1));
    expect(await process.ended).toMatchObject({ reason: 'failed' });
    process.endInput();
    expect(agent.asked).toEqual([]);
  });

  it('ends with the machine', async () => {
    const process = begin(agentOf(running), {}, Promise.resolve(null));
    process.endInput();
    expect(await process.ended).toEqual({ reason: 'workloadEnded', exit: null });
  });

  it('is killed in the guest when its terminal is closed', async () => {
    const agent = agentOf(running);
    const process = begin(agent);
    process.endInput();
    await expect.poll(() => agent.asked.length).toBe(1);
    await new Promise((resolve) => setImmediate(resolve));
    process.close();
    process.close();
    expect(await process.ended).toBeNull();
    await expect.poll(() => agent.asked[1]).toMatchObject({ path: 'kill', args: ['-KILL', '1'] });
  });
});
