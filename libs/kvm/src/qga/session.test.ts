import { describe, expect, it } from 'vitest';
import { refusal, synced, TestGuest } from '../testing/guest-agent.js';
import { QgaSession } from './session.js';
import { QgaError } from './transport.js';

const numberIn = (line: { execute: string; arguments?: never }): number | null =>
  line.execute === 'guest-sync-delimited' ? (line.arguments as unknown as { id: number }).id : null;

describe('a conversation with a guest agent', () => {
  it('begins with a number that is said back, and carries one question after the other', async () => {
    const guest = TestGuest.honest({ 'guest-ping': {}, 'guest-info': { version: '7.2' } });
    const session = await QgaSession.open(guest.stream);
    expect(await session.send('guest-ping')).toEqual({});
    expect(await session.send('guest-info')).toEqual({ version: '7.2' });
    expect(guest.heard.map((line) => JSON.parse(line).execute)).toEqual([
      'guest-sync-delimited',
      'guest-ping',
      'guest-info',
    ]);
    session.close();
  });

  it('drops what an earlier conversation left: halves of lines, its answers, its number', async () => {
    const guest = new TestGuest((line) => {
      const id = numberIn(line);
      if (id === null) return { return: 'mine' };
      return Buffer.concat([
        Buffer.from('"half of a line"}\n{"return": "late"}\n'),
        synced(id - 1),
        Buffer.from('{"error": {"class": "GenericError", "desc": "Invalid JSON"}}\n'),
        synced(id),
      ]);
    });
    guest.say('{"return": {"rest of');
    const session = await QgaSession.open(guest.stream);
    expect(await session.send('guest-ping')).toBe('mine');
    session.close();
  });

  it('tells a refusal from silence, and cuts its words', async () => {
    const guest = new TestGuest((line) => {
      const id = numberIn(line);
      return id === null ? refusal('x'.repeat(10_000)) : synced(id);
    });
    const session = await QgaSession.open(guest.stream);
    const error = await session.send('guest-ping').catch((e: unknown) => e);
    expect(error).toBeInstanceOf(QgaError);
    expect((error as Error).message).toHaveLength(500);
    session.close();
  });

  it('is over after a question without an answer: a late one is never taken for the next', async () => {
    const guest = TestGuest.honest({ 'guest-ping': null, 'guest-info': { version: '7.2' } });
    const session = await QgaSession.open(guest.stream);
    await expect(session.send('guest-ping', undefined, { timeoutMs: 20 })).rejects.toMatchObject({
      fault: 'timeout',
    });
    guest.say('{"return": {}}\n');
    await expect(session.send('guest-info')).rejects.toMatchObject({ fault: 'timeout' });
    expect(guest.stream.destroyed).toBe(true);
  });

  it('is given up with its signal, before and during a question', async () => {
    const guest = TestGuest.honest({ 'guest-ping': null });
    const session = await QgaSession.open(guest.stream);
    const giveUp = new AbortController();
    const asked = session.send('guest-ping', undefined, { signal: giveUp.signal });
    giveUp.abort();
    await expect(asked).rejects.toMatchObject({ fault: 'aborted' });
    const late = TestGuest.honest({});
    await expect(QgaSession.open(late.stream, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      fault: 'aborted',
    });
    expect(late.heard).toEqual([]);
  });

  it('ends when the channel does', async () => {
    const guest = TestGuest.honest({ 'guest-ping': null });
    const session = await QgaSession.open(guest.stream);
    const asked = session.send('guest-ping');
    guest.stream.destroy();
    await expect(asked).rejects.toMatchObject({ fault: 'closed' });
  });
});

describe('a hostile guest', () => {
  it('cannot make more be held than one line of the longest kind', async () => {
    const guest = new TestGuest((line) => {
      const id = numberIn(line);
      return id === null ? Buffer.alloc(65, 'x') : synced(id);
    });
    const session = await QgaSession.open(guest.stream, {}, 64);
    await expect(session.send('guest-ping')).rejects.toMatchObject({ fault: 'protocol' });
  });

  it('that floods instead of synchronising is given up after the time', async () => {
    const guest = new TestGuest(() => Buffer.alloc(1024 * 1024, '\n'));
    await expect(QgaSession.open(guest.stream, { timeoutMs: 30 }, 64)).rejects.toMatchObject({
      fault: 'timeout',
    });
  });

  it.each(['null', '[]', '7', '"return"', '{}', '{"error": null}', '{"error": 1}', '{', '\xff\xff'])(
    'that says %j is told so',
    async (words) => {
      const guest = new TestGuest((line) => {
        const id = numberIn(line);
        return id === null ? Buffer.from(`${words}\n`, 'latin1') : synced(id);
      });
      const session = await QgaSession.open(guest.stream);
      await expect(session.send('guest-ping')).rejects.toMatchObject({ fault: 'protocol' });
    },
  );
});
