import type { TerminalNotice } from '@berth/model';
import { beforeEach, describe, expect, it } from 'vitest';
import { TerminalConnection, type Socket } from './connection.js';
import { overOf, type TerminalState } from './state.js';

const problem = {
  type: 'about:blank',
  title: 'Gone',
  status: 410,
  code: 'gone' as const,
  detail: 'The terminal was idle.',
  remedy: 'Connect again.',
};

describe('what is said of a terminal that is over', () => {
  const exit = (end: (TerminalNotice & { type: 'exit' })['end']): TerminalNotice => ({ type: 'exit', end });
  it.each([
    [exit({ reason: 'exited', code: 0 }), 'The program ended with code 0.', false],
    [exit({ reason: 'exited', code: 7 }), 'The program ended with code 7.', true],
    [exit({ reason: 'workloadEnded', exit: null }), 'The instance does not run any more.', false],
    [exit({ reason: 'failed', message: 'ash: not found' }), 'It did not run: ash: not found', true],
    [{ type: 'problem' as const, problem }, 'The terminal was idle.', true],
  ])('%j: %s', (last, text, bad) => {
    expect(overOf(last, true)).toMatchObject({ at: 'over', text, bad });
  });
  it('is what to do, where the API said nothing', () => {
    expect(overOf(null, true)).toMatchObject({ text: 'The connection to Berth broke.', bad: true });
    expect(overOf(null, false)).toMatchObject({ text: 'The terminal could not be opened.', bad: true });
    expect(overOf({ type: 'problem', problem }, true)).toMatchObject({ remedy: 'Connect again.' });
  });
});

describe('a connection', () => {
  type Listener = (event: { data: string | ArrayBuffer }) => void;
  const heard = new Map<string, Listener>();
  let sent: (string | Uint8Array)[] = [];
  let closed = 0;
  const socket = {
    binaryType: 'blob',
    readyState: 1,
    send: (data: string | Uint8Array) => void sent.push(data),
    close: () => void closed++,
    addEventListener: (type: string, listener: Listener) => void heard.set(type, listener),
  };
  const states: TerminalState[] = [];
  const drawn: string[] = [];
  let taken: (() => void)[] = [];
  let connection: TerminalConnection;
  const bytes = (channel: number, text: string): void =>
    heard.get('message')?.({ data: Uint8Array.from([channel, ...new TextEncoder().encode(text)]).buffer });
  const notice = (n: TerminalNotice): void => heard.get('message')?.({ data: JSON.stringify(n) });

  beforeEach(() => {
    sent = [];
    closed = 0;
    states.length = 0;
    drawn.length = 0;
    taken = [];
    connection = new TerminalConnection(socket as unknown as Socket, {
      output: (b, done) => {
        drawn.push(new TextDecoder().decode(b));
        taken.push(done);
      },
      state: (state) => states.push(state),
    });
  });

  it('draws both kinds of output, and tells how it stands', () => {
    notice({ type: 'opened' });
    bytes(1, 'out');
    bytes(2, 'err');
    notice({ type: 'exit', end: { reason: 'exited', code: 3 } });
    heard.get('close')?.({ data: '' });
    expect(drawn).toEqual(['out', 'err']);
    expect(states.map((s) => s.at)).toEqual(['open', 'over']);
  });
  it('sends what is typed and each new size', () => {
    connection.type(new TextEncoder().encode('ls'));
    connection.resize(100, 30);
    expect(sent).toEqual([Uint8Array.from([0, 108, 115]), '{"type":"resize","columns":100,"rows":30}']);
  });
  it('holds the API while more waits than can be drawn, and lets it go on', () => {
    const mebibyte = 'x'.repeat(1024 * 1024);
    bytes(1, mebibyte);
    expect(sent).toEqual([]);
    bytes(1, mebibyte);
    bytes(1, 'x');
    expect(sent).toEqual(['{"type":"hold"}']);
    taken.shift()?.();
    expect(sent).toHaveLength(1);
    taken.shift()?.();
    expect(sent).toEqual(['{"type":"hold"}', '{"type":"goOn"}']);
  });
  it('that was closed here tells nothing any more', () => {
    connection.close();
    bytes(1, 'late');
    heard.get('close')?.({ data: '' });
    expect([drawn, states, closed]).toEqual([[], [], 1]);
  });
});
