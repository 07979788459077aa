import fc from 'fast-check';
import { expect, it } from 'vitest';
import { memoryPlug, plugRequest } from './machine-spec.js';

const mib = fc.integer({ min: 4, max: 2 ** 20 });

it('a guest is asked for what it is to have or less than a block less, and its device holds all of it', () => {
  fc.assert(
    fc.property(mib, mib, mib, (...sizes) => {
      const [boot, now, max] = sizes.sort((a, b) => a - b) as [number, number, number];
      const plug = memoryPlug(boot, now, max);
      if (max === boot) return expect(plug).toBeNull();
      const { sizeMiB, requestedMiB } = plug ?? expect.fail();
      expect(sizeMiB % 128).toBe(0);
      expect(sizeMiB - (max - boot)).toBeGreaterThanOrEqual(0);
      expect(sizeMiB - (max - boot)).toBeLessThan(128);
      expect(requestedMiB).toBe(plugRequest(boot, now));
      expect([0, 1]).toContain(now - boot - requestedMiB);
      expect(requestedMiB).toBeLessThanOrEqual(sizeMiB);
    }),
  );
});
