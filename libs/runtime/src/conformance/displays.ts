import assert from 'node:assert/strict';
import type { Picture } from '../png.js';
import { RfbViewer } from '../rfb-viewer.js';
import type { Runtime, Terminal, WorkloadKey } from '../runtime.js';
import type { Behaviour, ConformanceHarness } from './harness.js';
import { pictureOf } from './png-picture.js';
import { context, eventually, gone, logText, refused, upAndHeard } from './steps.js';

/** Screen, keyboard and pointer of a virtual machine. */
export const displays: readonly Behaviour[] = [
  {
    name: 'all who look at a display see the same screen, and a screenshot shows it',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      await upAndHeard(h, rt, spec);
      const [one, two] = [await look(h, rt, spec), await look(h, rt, spec)];
      await eventually(h, 'the same picture, three times', async () => {
        const seen = [await one.viewer.picture(), await two.viewer.picture()];
        const shot = pictureOf(await screenshot(h, rt, spec));
        return seen.every((picture) => alike(picture, shot)) && colours(shot) > 1 ? true : undefined;
      });
      one.terminal.close();
      assert.equal(await one.terminal.ended, null, 'it was closed');
      assert.ok(colours(await two.viewer.picture()) > 1, 'the other one goes on');
      two.terminal.close();
      await gone(h, rt, spec);
    },
  },
  {
    name: 'keys typed at a display and keys that are sent reach the workload, unless it is paused',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      await upAndHeard(h, rt, spec);
      const { viewer, terminal } = await look(h, rt, spec);
      await viewer.press('k'.charCodeAt(0));
      await logged(h, rt, spec, 'k');
      const { sendKeys } = rt;
      assert.ok(sendKeys && rt.pause && rt.resume, 'the runtime has the facets sendKeys and pause');
      const send = (...keys: ('e' | 'y' | 's')[]): Promise<void> =>
        sendKeys.call(
          rt,
          spec,
          keys.map((key) => [key]),
          AbortSignal.timeout(h.stepMs),
        );
      await send('e', 'y');
      await logged(h, rt, spec, 'key');
      await rt.pause(spec, context(h));
      await refused('a key for what is paused', ['notPrepared'], () => send('s'));
      assert.ok(pictureOf(await screenshot(h, rt, spec)).width > 0, 'what is paused can be looked at');
      await rt.resume(spec, context(h));
      await send('s');
      await logged(h, rt, spec, 'keys');
      terminal.close();
      await gone(h, rt, spec);
    },
  },
  {
    name: 'a display that nobody reads holds nothing up and ends with the workload, and there is none without it',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      await nothingToSee(h, rt, spec, 'before the start');
      await upAndHeard(h, rt, spec);
      assert.ok(rt.display, 'the runtime has the display facet');
      const unread = await rt.display(spec, AbortSignal.timeout(4 * h.stepMs));
      const { viewer, terminal } = await look(h, rt, spec);
      await viewer.picture();
      await rt.stop(spec, 0, context(h));
      for (const one of [unread, terminal]) {
        const end = await one.ended;
        assert.ok(end?.reason === 'workloadEnded' && end.exit?.reason === 'killed', JSON.stringify(end));
      }
      await nothingToSee(h, rt, spec, 'after the end');
      await gone(h, rt, spec);
    },
  },
];

async function nothingToSee(
  h: ConformanceHarness,
  rt: Runtime,
  key: WorkloadKey,
  when: string,
): Promise<void> {
  await refused(`a display ${when}`, ['notPrepared'], async () => void (await look(h, rt, key)));
  await refused(`a screenshot ${when}`, ['notPrepared'], async () => void (await screenshot(h, rt, key)));
  await refused(`a key ${when}`, ['notPrepared'], async () => {
    await rt.sendKeys?.(key, [['a']], AbortSignal.timeout(h.stepMs));
  });
}

async function look(
  h: ConformanceHarness,
  rt: Runtime,
  key: WorkloadKey,
): Promise<{ viewer: RfbViewer; terminal: Terminal }> {
  assert.ok(rt.display, 'the runtime has the display facet');
  const terminal = await rt.display(key, AbortSignal.timeout(4 * h.stepMs));
  const viewer = await RfbViewer.connect({ output: bytesOf(terminal), write: (b) => terminal.write(b) });
  return { viewer, terminal };
}

async function* bytesOf(terminal: Terminal): AsyncGenerator<Uint8Array> {
  for await (const { bytes } of terminal.output) yield bytes;
}

async function screenshot(h: ConformanceHarness, rt: Runtime, key: WorkloadKey): Promise<Uint8Array> {
  assert.ok(rt.screenshot, 'the runtime has the screenshot facet');
  return rt.screenshot(key, AbortSignal.timeout(h.stepMs));
}

async function logged(h: ConformanceHarness, rt: Runtime, key: WorkloadKey, end: string): Promise<void> {
  await eventually(h, `${JSON.stringify(end)} at the end of the log`, async () =>
    (await logText(rt, key)).endsWith(end) ? true : undefined,
  );
}

/** Whether two pictures show the same: a cursor may have blinked between them. */
export function alike(a: Picture, b: Picture): boolean {
  if (a.width !== b.width || a.height !== b.height) return false;
  let different = 0;
  for (let i = 0; i < a.rgb.length; i += 3)
    if (a.rgb[i] !== b.rgb[i] || a.rgb[i + 1] !== b.rgb[i + 1] || a.rgb[i + 2] !== b.rgb[i + 2])
      different += 1;
  return different <= (a.width * a.height) / 1000;
}

function colours({ rgb }: Picture): number {
  const seen = new Set<string>();
  for (let i = 0; i < rgb.length; i += 3) seen.add(rgb.subarray(i, i + 3).join());
  return seen.size;
}
