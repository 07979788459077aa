import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { hasCode } from '@berth/linux';
import { RuntimeError } from '@berth/runtime';

/** open(2); Node has no name for it. */
const O_PATH = 0o10000000;
const CONNECT_MS = 5_000;

/**
 * Connects to the VNC server of a QEMU. Whoever sees its display may send it bytes of any kind, and a QEMU that its guest
 * took over may put something else where its socket was: so what lies there is held first, and must be a socket of
 * QEMU's own account; a symbolic link leads nowhere.
 * @param path where QEMU listens
 * @param head which of its screens it shows, counted from 0
 * @throws RuntimeError unsupported without a display, hostFault
 */
export async function displaySocket(path: string, uid: number, head: number): Promise<Socket> {
  const fd = openedIfThere(path);
  if (fd === null && head > 0)
    throw new RuntimeError('unsupported', `the machine was started without a display ${head}`, {
      remedy: 'Restart the instance: it runs with fewer displays than its spec has.',
    });
  if (fd === null)
    throw new RuntimeError('unsupported', 'the machine was started without a display', {
      remedy: 'Restart the instance: an earlier version, or a QEMU without VNC, has started it.',
    });
  try {
    const found = fstatSync(fd);
    if (!found.isSocket() || found.uid !== uid)
      throw new RuntimeError('hostFault', `${path} is no socket of the machine's account`);
    return await connected(`/proc/self/fd/${fd}`);
  } finally {
    closeSync(fd);
  }
}

function openedIfThere(path: string): number | null {
  try {
    return openSync(path, O_PATH | constants.O_NOFOLLOW);
  } catch (cause) {
    if (hasCode(cause, 'ENOENT')) return null;
    throw cause;
  }
}

function connected(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    const fail = (cause: Error): void => {
      socket.destroy();
      reject(new RuntimeError('hostFault', `the display does not answer: ${cause.message}`, { cause }));
    };
    socket.setTimeout(CONNECT_MS, () => fail(new Error('no answer')));
    socket.once('error', fail);
    socket.once('connect', () => {
      socket.setTimeout(0);
      socket.off('error', fail).on('error', () => undefined);
      resolve(socket);
    });
  });
}
