import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import { controlFrame, type LinkRequest } from '@berth/link';
import type { ImageContent, InstanceId } from '@berth/model';
import { RuntimeError, type Runtime, type Terminal } from '@berth/runtime';
import { expect, test, vi } from 'vitest';
import type { AgentLog } from './log.js';
import type { Placements } from './placements.js';
import { Screens } from './screens.js';
import { Terminals } from './terminals.js';

const id = '6f1d2f7e-2a0b-4c57-9df5-7b7d4a2a1c11' as InstanceId;
const signal = new AbortController().signal;

function placed(runtime: Partial<Runtime>): Pick<Placements, 'newest'> {
  const key = { instanceId: id, epoch: 1 };
  const made = { image: {} as ImageContent, isolation: 'vm' as const, memoryMiB: 64 };
  return { newest: () => ({ key, runtime: { name: 'test', ...runtime } as Runtime, ...made }) };
}

test('a picture and keys are refused as the runtime refuses them, with its remedy', async () => {
  const none = new Screens(placed({}));
  expect(await none.screenshot(id, 0, signal)).toMatchObject({ status: 501, body: { code: 'unsupported' } });
  expect(await none.sendKeys(id, { presses: [['a']] }, signal)).toMatchObject({ status: 501 });
  const paused = new Screens(
    placed({
      sendKeys: () =>
        Promise.reject(new RuntimeError('notPrepared', 'it is paused', { remedy: 'Resume it.' })),
    }),
  );
  expect(await paused.sendKeys(id, { presses: [['a']] }, signal)).toEqual({
    status: 409,
    body: { code: 'notPrepared', message: 'it is paused', remedy: 'Resume it.' },
  });
});

test('so many pictures are taken at a time, and more when one is done', async () => {
  const done: ((png: Uint8Array) => void)[] = [];
  const screens = new Screens(placed({ screenshot: () => new Promise((resolve) => done.push(resolve)) }));
  const taking = Array.from({ length: 8 }, () => screens.screenshot(id, 0, signal));
  expect(await screens.screenshot(id, 0, signal)).toMatchObject({
    status: 429,
    body: { code: 'rateLimited' },
  });
  done[0]?.(Buffer.from('png'));
  expect(await taking[0]).toMatchObject({ status: 200 });
  const next = screens.screenshot(id, 0, signal);
  for (const each of done) each(Buffer.alloc(1));
  await vi.waitFor(() => expect(done.length).toBe(9));
  done[8]?.(Buffer.alloc(1));
  expect(await next).toMatchObject({ status: 200 });
});

test('so many look at one display, and another when one has gone', async () => {
  const display = (): Promise<Terminal> =>
    Promise.resolve({
      output: (async function* () {})(),
      write: () => Promise.resolve(),
      endInput: () => undefined,
      resize: () => undefined,
      ended: Promise.resolve(null),
      close: () => undefined,
    });
  const terminals = new Terminals(placed({ display }), { debug: () => undefined } as unknown as AgentLog);
  const open = async (): Promise<{ stream: PassThrough; status: number }> => {
    const stream = new PassThrough();
    stream.write(controlFrame({ kind: 'display' }));
    const request = { stream, signal } as unknown as LinkRequest;
    return { stream, status: (await terminals.serve(request, id)).status };
  };
  const viewers: Awaited<ReturnType<typeof open>>[] = [];
  for (let i = 0; i < 16; i += 1) viewers.push(await open());
  expect(viewers.map((v) => v.status)).toEqual(Array.from({ length: 16 }, () => 200));
  const turnedAway = await open();
  expect(turnedAway.status).toBe(429);
  turnedAway.stream.destroy();
  const gone = once(viewers[0]?.stream as PassThrough, 'close');
  viewers[0]?.stream.destroy();
  await gone;
  const next = await open();
  expect(next.status).toBe(200);
  for (const { stream } of [...viewers, next]) stream.destroy();
});
