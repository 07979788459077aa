import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { QgaAgent } from '../qga/agent.js';
import { QgaFiles } from '../qga/files.js';
import { QgaError, QgaTransportError, type QgaTransport } from '../qga/transport.js';
import { guestFileRead, guestFileWrite } from './guest-files.js';

/** A guest in memory: files, open handles, and the three programs that a copy needs. */
class MemoryGuest implements QgaTransport {
  readonly files = new Map<string, { bytes: Buffer; mode: string }>();
  readonly handles = new Map<number, { path: string; at: number }>();
  readonly asked: string[] = [];
  /** Bytes that it takes of each piece that is written. */
  appetite = Infinity;
  /** Called before each command. */
  before: (command: string) => void = () => undefined;
  #next = 1000;
  #last = { exited: true, exitcode: 0, 'err-data': '' };

  send(command: string, args: object = {}): Promise<unknown> {
    return Promise.resolve().then(() => {
      this.asked.push(command);
      this.before(command);
      return this.#answer(command, args as Record<string, never>);
    });
  }

  get guest(): Parameters<typeof guestFileRead>[0] {
    return { agent: new QgaAgent(this), files: new QgaFiles(this) };
  }

  #answer(command: string, args: Record<string, never>): unknown {
    const open = this.handles.get(args['handle'] as unknown as number);
    const held = open === undefined ? undefined : this.files.get(open.path);
    switch (command) {
      case 'guest-file-open':
        return this.#open(String(args['path']), String(args['mode']));
      case 'guest-file-seek':
        if (open !== undefined) open.at = args['whence'] === 'end' ? (held?.bytes.length ?? 0) : 0;
        return { position: open?.at, eof: false };
      case 'guest-file-read': {
        const from = open?.at ?? 0;
        const bytes = held?.bytes.subarray(from, from + Number(args['count'])) ?? Buffer.alloc(0);
        if (open !== undefined) open.at += bytes.length;
        return {
          count: bytes.length,
          'buf-b64': bytes.toString('base64'),
          eof: bytes.length < Number(args['count']),
        };
      }
      case 'guest-file-write': {
        const bytes = Buffer.from(String(args['buf-b64']), 'base64').subarray(0, this.appetite);
        if (held !== undefined) held.bytes = Buffer.concat([held.bytes, bytes]);
        return { count: bytes.length, eof: false };
      }
      case 'guest-file-flush':
        return {};
      case 'guest-file-close':
        this.handles.delete(args['handle'] as unknown as number);
        return {};
      case 'guest-exec':
        this.#last = this.#run(String(args['path']), args['arg'] as unknown as string[]);
        return { pid: 7 };
      case 'guest-exec-status':
        return this.#last;
      default:
        throw new QgaError(`no ${command}`);
    }
  }

  #open(path: string, mode: string): number {
    if (mode === 'r' && !this.files.has(path))
      throw new QgaError(`failed to open file '${path}' (mode: 'r'): No such file or directory`);
    if (mode === 'w') this.files.set(path, { bytes: Buffer.alloc(0), mode: '0666' });
    this.handles.set(++this.#next, { path, at: 0 });
    return this.#next;
  }

  #run(program: string, args: readonly string[]): { exited: boolean; exitcode: number; 'err-data': string } {
    const [first = '', second = '', third = ''] = args;
    if (program === 'chmod') Object.assign(this.files.get(second) ?? {}, { mode: first });
    else if (program === 'mv' && third === '/srv')
      return {
        exited: true,
        exitcode: 1,
        'err-data': Buffer.from('mv: it is a directory').toString('base64'),
      };
    else if (program === 'mv') {
      const moved = this.files.get(second);
      if (moved !== undefined) this.files.set(third, moved);
      this.files.delete(second);
    } else if (program === 'rm') this.files.delete(second);
    return { exited: true, exitcode: 0, 'err-data': '' };
  }
}

const never = new AbortController().signal;
async function* pieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) {
    await Promise.resolve();
    yield bytes.subarray(at, at + size);
  }
}
async function whole(bytes: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const piece of bytes) all.push(piece);
  return Buffer.concat(all);
}
const bytes = randomBytes(1_700_000);
const target = { path: '/etc/app.conf', mode: '0640' };

describe('a file that is read from a guest', () => {
  it('comes whole, with its size, and its handle is closed', async () => {
    const memory = new MemoryGuest();
    memory.files.set('/data', { bytes, mode: '0600' });
    const file = await guestFileRead(memory.guest, '/data', never);
    expect(file.sizeBytes).toBe(bytes.length);
    expect((await whole(file.bytes)).equals(bytes)).toBe(true);
    expect(memory.handles.size).toBe(0);
  });

  it('that is not there is told apart from what the guest refuses', async () => {
    const memory = new MemoryGuest();
    await expect(guestFileRead(memory.guest, '/none', never)).rejects.toMatchObject({ code: 'noSuchFile' });
    memory.files.set('/etc', { bytes, mode: '0755' });
    memory.before = (command) => {
      if (command === 'guest-file-read') throw new QgaError('failed to read file: Is a directory');
    };
    await expect(guestFileRead(memory.guest, '/etc', never)).rejects.toMatchObject({
      code: 'fileRefused',
      message: expect.stringContaining('Is a directory') as string,
    });
    expect(memory.handles.size).toBe(0);
  });

  it('is closed in the guest when nobody reads on', async () => {
    const memory = new MemoryGuest();
    memory.files.set('/data', { bytes, mode: '0600' });
    const gone = new AbortController();
    await guestFileRead(memory.guest, '/data', gone.signal);
    expect(memory.handles.size).toBe(1);
    gone.abort();
    await expect.poll(() => memory.handles.size).toBe(0);
  });

  it('breaks off where the guest answers more than it was asked for', async () => {
    const memory = new MemoryGuest();
    memory.files.set('/data', { bytes, mode: '0600' });
    const lying: QgaTransport = {
      send: async (command, args) =>
        command === 'guest-file-read'
          ? { count: 1, 'buf-b64': Buffer.alloc(1024 * 1024).toString('base64'), eof: false }
          : memory.send(command, args),
    };
    const guest = { agent: new QgaAgent(lying), files: new QgaFiles(lying) };
    await expect(guestFileRead(guest, '/data', never)).rejects.toBeInstanceOf(QgaTransportError);
    expect(memory.handles.size).toBe(0);
  });
});

describe('a file that is written into a guest', () => {
  it.each([[7_000], [524_288], [1_700_000]])(
    'has all bytes and its mode, given in pieces of %i',
    async (size) => {
      const memory = new MemoryGuest();
      memory.appetite = 100_000;
      expect(await guestFileWrite(memory.guest, target, pieces(bytes, size), never)).toBe(bytes.length);
      expect([...memory.files.keys()]).toEqual([target.path]);
      expect(memory.files.get(target.path)?.bytes.equals(bytes)).toBe(true);
      expect(memory.files.get(target.path)?.mode).toBe('0640');
      expect(memory.handles.size).toBe(0);
      // Its mode is its own before there is anything to read.
      expect(memory.asked.indexOf('guest-exec')).toBeLessThan(memory.asked.indexOf('guest-file-write'));
    },
  );

  it.each([
    ['the guest has no room', 'guest-file-write'],
    ['the guest cannot flush it', 'guest-file-flush'],
  ])('leaves what was there as it was, and nothing beside it, where %s', async (_why, at) => {
    const memory = new MemoryGuest();
    const old = { bytes: Buffer.from('old'), mode: '0600' };
    memory.files.set(target.path, old);
    memory.before = (command) => {
      if (command === at) throw new QgaError('No space left on device');
    };
    const writing = guestFileWrite(memory.guest, target, pieces(bytes, 100_000), never);
    await expect(writing).rejects.toMatchObject({ code: 'fileRefused' });
    expect([...memory.files]).toEqual([[target.path, old]]);
    expect(memory.handles.size).toBe(0);
  });

  it('is given up whole when its sender breaks off', async () => {
    const memory = new MemoryGuest();
    async function* broken(): AsyncGenerator<Buffer> {
      yield* pieces(bytes, 600_000);
      throw new Error('the connection broke');
    }
    await expect(guestFileWrite(memory.guest, target, broken(), never)).rejects.toThrow('broke');
    expect([...memory.files]).toEqual([]);
    expect(memory.handles.size).toBe(0);
  });

  it('is refused where a directory has its place, in the words of the guest', async () => {
    const memory = new MemoryGuest();
    const writing = guestFileWrite(memory.guest, { path: '/srv', mode: '0644' }, pieces(bytes, 9_999), never);
    await expect(writing).rejects.toMatchObject({
      code: 'fileRefused',
      message: expect.stringContaining('it is a directory') as string,
    });
    expect(memory.files.size).toBe(0);
  });
});
