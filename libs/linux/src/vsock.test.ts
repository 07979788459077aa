import { expect, it } from 'vitest';
import { isVsockFree, vsockRefusal } from './vsock.js';

it('what only has the name of the device is told from one that works', () => {
  expect(vsockRefusal('/dev/null')).toBe('VHOST_GET_FEATURES /dev/null: ENOTTY');
  expect(vsockRefusal('/dev/no-such-device')).toContain('ENOENT');
  expect(() => isVsockFree(65_536, '/dev/no-such-device')).toThrow('ENOENT');
  expect(() => isVsockFree(65_536, '/dev/null')).toThrow('VHOST_VSOCK_SET_GUEST_CID 65536: ENOTTY');
});
