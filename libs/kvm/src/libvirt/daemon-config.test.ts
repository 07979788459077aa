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
