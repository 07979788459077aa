import fc from 'fast-check';
import { expect, it } from 'vitest';
import { RuntimeError } from '@berth/runtime';
import { bundleConfig } from './config.js';
import { noInit } from './init-process.js';
import { limitsOf } from './limits.js';
import { processPlan } from '@berth/runtime';

const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 30 }),
  fc.string({
    unit: fc.constantFrom('\0', '\n', '"', '\\', '$(id)', ';', '/', '..', '=', 'A', '\u2028', '\ud800'),
    maxLength: 12,
  }),
);
const texts = fc.array(text, { maxLength: 4 });
const image = fc.record({
  entrypoint: texts,
  cmd: texts,
  env: texts,
  user: fc.constant(''),
  workdir: fc.oneof(
    text,
    text.map((t) => `/${t}`),
  ),
});

it('10,000 commands, environments and directories come back from the OCI configuration as they are, or are refused', () => {
  let taken = 0;
  fc.assert(
    fc.property(image, fc.dictionary(text, text, { maxKeys: 3 }), (process, env) => {
      let plan;
      try {
        plan = processPlan(process, { env }, 'host');
      } catch (error) {
        expect(error).toBeInstanceOf(RuntimeError);
        expect(error).toMatchObject({ code: 'badImage' });
        return;
      }
      taken += 1;
      const config = bundleConfig({
        input: 'none',
        ...{ instanceId: 'i', epoch: 1, hostname: 'host', rootfs: '/r', process: plan, base: 0x1000_0000 },
        user: { uid: 0, gid: 0, additionalGids: [] },
        namespaces: { user: '/u', network: '/n' },
        cgroup: 'c',
        limits: limitsOf({ memoryMiB: 64, cpuMillis: null }, { swapAccounting: true }),
        filesOver: [],
        devices: [],
        init: noInit,
        system: false,
        seccomp: { defaultAction: 'SCMP_ACT_ERRNO', architectures: [], syscalls: [] },
        bounds: { files: 1024, rlimits: {}, oomScoreAdj: 0 },
        security: {},
      });
      const written = JSON.parse(JSON.stringify(config)) as typeof config;
      expect(written.process.args).toEqual([...process.entrypoint, ...process.cmd]);
      expect(written.process.cwd).toMatch(/^\/(?!(proc|sys|dev)(\/|$))/);
      const names = written.process.env.map((entry) => entry.slice(0, entry.indexOf('=')));
      expect(new Set(names).size).toBe(names.length);
      expect(written.process.env.every((entry) => !entry.includes('\0') && entry.indexOf('=') > 0)).toBe(
        true,
      );
      expect(written.root.path).toBe('/r');
      expect(written.process.noNewPrivileges).toBe(true);
    }),
    { numRuns: 10_000 },
  );
  expect(taken).toBeGreaterThan(500);
});
