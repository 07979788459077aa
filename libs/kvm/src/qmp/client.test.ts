import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { QmpClient } from './client.js';
import { QmpTransportError } from './commands.js';
import { LineDecoder, parseMessage } from './messages.js';
import { qmpEventNames } from './schema.gen.js';
import { livePower } from '../qemu/run-state.js';

/** A stream whose other end is the test. */
function scripted(): { stream: Duplex; say: (message: object) => void; heard: string[] } {
  const heard: string[] = [];
  const stream = new Duplex({
    read: () => undefined,
    write: (chunk: Buffer, _encoding, done) => {
      heard.push(...chunk.toString().trim().split('\n'));
      done();
    },
  });
  return { stream, say: (message) => stream.push(`${JSON.stringify(message)}\r\n`), heard };
}

const greeting = {
  QMP: { version: { qemu: { major: 7, minor: 2, micro: 0 }, package: '' }, capabilities: [] },
};

async function opened(options = {}): Promise<ReturnType<typeof scripted> & { client: QmpClient }> {
  const far = scripted();
  const opening = QmpClient.open(far.stream, options);
  far.say(greeting);
  await expect.poll(() => far.heard.length).toBe(1);
  far.say({ return: {}, id: (JSON.parse(far.heard[0] ?? '') as { id: string }).id });
  return { ...far, client: await opening };
}

describe('the QMP client on a scripted stream', () => {
  it('gives each reply to the command with its id, whatever the order', async () => {
    const { client, say } = await opened();
    const first = client.raw('first');
    const second = client.raw('second');
    say({ return: 2, id: 'berth-3' });
    say({ event: 'STOP', data: {}, timestamp: { seconds: 1, microseconds: 2 } });
    say({ error: { class: 'GenericError', desc: 'no' }, id: 'berth-2' });
    expect(await second).toBe(2);
    await expect(first).rejects.toMatchObject({
      name: 'QmpError',
      errorClass: 'GenericError',
      message: 'no',
    });
  });

  it('gives up a late command, drops its reply, and stays usable', async () => {
    const { client, say } = await opened();
    await expect(client.raw('slow', undefined, { timeoutMs: 5 })).rejects.toMatchObject({ fault: 'timeout' });
    const next = client.raw('next');
    say({ return: 'late', id: 'berth-2' });
    say({ return: 'mine', id: 'berth-3' });
    expect(await next).toBe('mine');
  });

  it('closes on a line that is too long or not QMP, and fails what was pending', async () => {
    for (const bytes of ['x'.repeat(200), '[]\n', 'nonsense\n']) {
      const { client, stream } = await opened({ maxLineBytes: 120 });
      const pending = client.raw('any');
      stream.push(bytes);
      await expect(pending).rejects.toMatchObject({ fault: 'protocol' });
    }
  });

  it('never fails on random lines with anything but its own error', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (line) => {
        try {
          parseMessage(line);
        } catch (error) {
          expect(error).toBeInstanceOf(QmpTransportError);
        }
      }),
    );
  });

  it('cuts lines the same however the stream is cut', () => {
    const lines = ['{"a":1}', '{"b":2}', '{"c":"ü"}'];
    const stream = Buffer.from(`${lines.join('\r\n')}\n`);
    for (let size = 1; size <= stream.length; size += 1) {
      const decoder = new LineDecoder(100);
      const got: string[] = [];
      for (let at = 0; at < stream.length; at += size)
        got.push(...decoder.push(stream.subarray(at, at + size)));
      expect(got).toEqual(lines);
    }
  });
});

it('an event is typed by its name, and one without a type is told apart', () => {
  for (const name of livePower) expect(qmpEventNames).toContain(name);
  const timestamp = { seconds: 1, microseconds: 2 };
  const data = { guest: true, reason: 'guest-shutdown' };
  expect(parseMessage(JSON.stringify({ event: 'SHUTDOWN', data, timestamp }))).toEqual({
    kind: 'event',
    event: { event: 'SHUTDOWN', data, timestamp },
  });
  expect(parseMessage(JSON.stringify({ event: 'FROM_TOMORROW', timestamp }))).toEqual({
    kind: 'untypedEvent',
    name: 'FROM_TOMORROW',
  });
});

describe('the QMP client on a real QEMU', () => {
  let dir: string;
  let qemu: ChildProcess;
  let client: QmpClient | undefined;

  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), 'berth-qmp-'));
    const path = join(dir, 'qmp');
    const machine = ['-machine', 'q35,accel=tcg', '-m', '16', '-nodefaults', '-display', 'none', '-S'];
    const disk = ['-drive', 'if=virtio,format=raw,file.driver=null-co,file.size=1048576,file.read-zeroes=on'];
    const args = [...machine, ...disk, '-qmp', `unix:${path},server=on,wait=off`];
    qemu = spawn('qemu-system-x86_64', args, { stdio: 'ignore' });
    await vi.waitUntil(() => existsSync(path), { timeout: 10_000 });
    client = await QmpClient.open(connect(path));
  });
  afterAll(async () => {
    client?.close();
    const gone = once(qemu, 'exit');
    qemu.kill('SIGKILL');
    await gone;
    rmSync(dir, { recursive: true });
  });

  it('answers the typed commands', async () => {
    assert.ok(client);
    expect(client.version).toMatch(/^\d+\.\d+\.\d+$/);
    expect(await client.execute('query-status')).toMatchObject({ running: false, status: 'prelaunch' });
    expect(await client.execute('query-kvm')).toMatchObject({ enabled: false });
    const resumed = once(client, 'event');
    await client.execute('cont');
    expect((await resumed)[0]).toMatchObject({ event: 'RESUME' });
    expect(await client.execute('query-status')).toMatchObject({ running: true, status: 'running' });
    await client.execute('stop');
    expect(await client.execute('query-status')).toMatchObject({ status: 'paused' });
    const [disk] = await client.execute('query-blockstats');
    expect(disk?.stats.wr_bytes).toBe(0);
  });

  it('says what QEMU refused', async () => {
    assert.ok(client);
    await expect(client.raw('no-such-command')).rejects.toMatchObject({ errorClass: 'CommandNotFound' });
  });
});
