import { afterAll, beforeAll, expect, it } from 'vitest';
import { Berth } from './berth.js';
import { samples } from './machine.js';

/* The first command of the README, on a Berth that is up already; then once more, as anybody may. */
let berth: Berth;
beforeAll(async () => {
  await samples();
  berth = await Berth.up(1);
}, 300_000);
afterAll(() => berth?.down(), 120_000);

it.each(['once', 'again'])(
  './berth demo runs a VM and a container, %s',
  async (time) => {
    const said = await berth.run(['demo']);
    const boots = time === 'once' ? 1 : 2;
    expect(said).toMatch(new RegExp(`web-vm \\(serial output\\): .* boots=${boots}$`, 'm'));
    expect(said).toMatch(new RegExp(`web-container \\(log\\): .* boots=${boots}$`, 'm'));
    expect(said).toContain(`${berth.base}/ui/`);
    for (const name of ['web-vm', 'web-container'])
      expect(await berth.get(name)).toMatchObject({ status: { state: 'running' } });
  },
  240_000,
);
