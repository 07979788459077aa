import { Duplex } from 'node:stream';
import { expect, it } from 'vitest';
import { LinkError } from './door.js';
import { serveLink } from './session.js';

it('ends although a write to its dead peer never ends', async () => {
  let written = (): void => undefined;
  const writes = new Promise<void>((resolve) => (written = resolve));
  const socket = new Duplex({ read: () => undefined, write: () => written() });
  const reason = await new Promise<Error | null>((resolve) => {
    const session = serveLink(socket, () => Promise.resolve({ status: 204 }), { onClose: resolve });
    void writes.then(() => session.destroy(new LinkError('closed', 'the peer died')));
  });
  expect(socket.destroyed).toBe(true);
  expect(reason).toBeNull();
});
