import fc from 'fast-check';
import { expect, it } from 'vitest';
import { qemuConfig, renderConfig } from './daemon-config.js';

it('writes strings, numbers, booleans and lists', () => {
  expect(
    renderConfig({ user: 'a b', max_core: 0, seccomp_sandbox: true, namespaces: ['mount'], none: [] }),
  ).toBe('user = "a b"\nmax_core = 0\nseccomp_sandbox = 1\nnamespaces = [ "mount" ]\nnone = [  ]\n');
});

it.each([{ user: 'a"b' }, { user: 'a\nb = 1' }, { 'bad key': 1 }, { max_core: 1.5 }, { list: ['a\0'] }])(
  'refuses what the format cannot carry: %j',
  (config) => {
    expect(() => renderConfig(config)).toThrow(TypeError);
  },
);

it('keeps QEMU unprivileged and sandboxed', () => {
  expect(qemuConfig()).toMatchObject({
    user: 'libvirt-qemu',
    seccomp_sandbox: true,
    clear_emulator_capabilities: true,
  });
});

it('has libvirt ask for the features of a processor in one command (ADR 72)', () => {
  expect(qemuConfig()).toMatchObject({ capability_filters: ['cpu-unavailable-features'] });
});

const hostile = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string({ unit: fc.constantFrom('"', '\\', '\n', '\r', '\0', '#', ' = ', ']', ',', 'user', ' ', '/') }),
);

it('10,000 strings stand whole between the quotes of their own line, or are refused', () => {
  fc.assert(
    fc.property(hostile, hostile, (text, other) => {
      let written: string;
      try {
        written = renderConfig({ path: text, list: [other, text], last: 1 });
      } catch (error) {
        expect(error).toBeInstanceOf(TypeError);
        return;
      }
      // libvirt's grammar: a string is all between two double quotes, and knows no escape.
      const lines = written.split('\n');
      expect(lines).toHaveLength(4);
      expect(/^path = "([^"]*)"$/u.exec(lines[0] ?? '')?.[1]).toBe(text);
      expect(/^list = \[ "([^"]*)", "([^"]*)" \]$/u.exec(lines[1] ?? '')?.slice(1)).toEqual([other, text]);
      expect(lines.slice(2)).toEqual(['last = 1', '']);
    }),
    { numRuns: 10_000 },
  );
});
