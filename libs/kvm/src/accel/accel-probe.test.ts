import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { AccelProbe, measureHost } from './accel-probe.js';
import type { AccelSamples } from './accel-verdict.js';
import { deviceFault } from './host-facts.js';
import { PARTS, partTicks, probeRom } from './probe-payload.js';

const dir = mkdtempSync(join(tmpdir(), 'berth-probe-'));
afterAll(() => rmSync(dir, { recursive: true }));

describe('the probe payload', () => {
  it('is a ROM whose last sector is ours, with the reset vector in its place', () => {
    const rom = probeRom();
    expect(rom.length).toBe(64 * 1024);
    expect(rom.subarray(0, -512).every((byte) => byte === 0)).toBe(true);
    expect([...rom.subarray(-16, -11)]).toEqual([0xea, 0x00, 0xfe, 0x00, 0xf0]);
  });

  it('is understood part by part, up to what was cut off', () => {
    const at = (letter: string, time: bigint): Buffer => {
      const mark = Buffer.alloc(9, letter);
      mark.writeBigUInt64LE(time, 1);
      return mark;
    };
    // A time may hold any byte, letters too.
    const begin = 0x6161_6b42n;
    const whole = [
      Buffer.from('A'),
      at('B', begin),
      at('a', begin + 5n),
      Buffer.from('C'),
      at('k', begin + 9n),
    ];
    const marks = Buffer.concat([...whole, Buffer.from('D')]);
    expect(partTicks(marks)).toEqual([5, 9]);
    for (let end = 0; end < marks.length; end += 1)
      expect([5, 9].slice(0, partTicks(marks.subarray(0, end)).length)).toEqual(
        partTicks(marks.subarray(0, end)),
      );
    expect(partTicks(at('a', 7n))).toEqual([]);
  });

  it('outgrows nothing', () => {
    expect(() => probeRom({ arithmetic: 0xffff_ffff, kernel: 0xffff_ffff })).not.toThrow();
  });

  it('runs to its end under emulation, and tells what this host is', async () => {
    const samples = await measureHost(AbortSignal.timeout(40_000));
    if (samples.device !== null) {
      expect(samples).toEqual({ device: await deviceFault(), tcg: null, kvm: null, kvmPlain: null });
      return;
    }
    expect(samples.tcg).toMatchObject({ outcome: 'finished' });
    expect(samples.tcg?.ticks.length).toBe(2 * PARTS);
    expect([...(samples.tcg?.ticks ?? [])].sort((a, b) => a - b)).toEqual(samples.tcg?.ticks);
    expect(samples.kvm).not.toBeNull();
    expect(samples.kvmPlain === null).toBe(samples.kvm?.outcome !== 'failed');
    if (process.env['BERTH_SHOW_SAMPLES']) console.log(JSON.stringify(samples));
  }, 45_000);
});

describe('the verdict of a boot', () => {
  const part = { outcome: 'finished', ticks: [1, 2], message: null } as const;
  const good: AccelSamples = {
    device: null,
    tcg: { ...part, ticks: [10, 20] },
    kvm: part,
    kvmPlain: null,
  };

  it('is measured once for all who ask, and remembered', async () => {
    if ((await deviceFault()) !== null) return;
    const path = join(dir, 'state', 'accel.json');
    let times = 0;
    const measure = (): Promise<AccelSamples> => {
      times += 1;
      return Promise.resolve(good);
    };
    const probe = new AccelProbe(path, measure);
    expect(await probe.known()).toBeNull();
    const [one, two] = await Promise.all([probe.verdict(), probe.verdict()]);
    expect(one).toMatchObject({ verdict: 'usable', factor: 0.1 });
    expect(two).toEqual(one);
    const later = new AccelProbe(path, measure);
    expect(await later.known()).toEqual(one);
    expect(await later.verdict()).toEqual(one);
    expect(times).toBe(1);

    // Another boot, or another QEMU.
    const kept = JSON.parse(readFileSync(path, 'utf8')) as object;
    writeFileSync(path, JSON.stringify({ ...kept, on: 'another boot' }));
    expect(await later.known()).toBeNull();
    writeFileSync(path, '{');
    expect(await later.known()).toBeNull();
    await later.verdict();
    expect(times).toBe(2);
  });

  it('that was given up is not remembered', async () => {
    if ((await deviceFault()) !== null) return;
    const path = join(dir, 'given-up.json');
    const probe = new AccelProbe(path, () => {
      probe.close();
      return Promise.resolve(good);
    });
    expect(await probe.verdict()).toMatchObject({ verdict: 'unmeasured' });
    expect(await probe.known()).toBeNull();
  });
});
