import { connect, type Socket } from 'node:net';
import { QgaSession } from '../qga/session.js';
import { QgaTransportError, type QgaOptions, type QgaTransport } from '../qga/transport.js';

const CONNECT_MS = 2_000;

/**
 * The agent in a guest behind QEMU's unix socket. Each command is a conversation of its own: QEMU serves one connection at
 * a time, and forgets with it what the guest did not take, so that no question reaches an agent that comes later.
 */
export class AgentSocket implements QgaTransport {
  constructor(private readonly path: string) {}

  async send(command: string, args?: object, options: QgaOptions = {}): Promise<unknown> {
    const session = await QgaSession.open(await connected(this.path), options);
    try {
      return await session.send(command, args, options);
    } finally {
      session.close();
    }
  }
}

function connected(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    const fail = (cause: Error): void => {
      socket.destroy();
      const words = `the socket of the guest agent: ${cause.message}`;
      reject(new QgaTransportError('closed', words, { cause }));
    };
    socket.setTimeout(CONNECT_MS, () => fail(new Error('no answer')));
    socket.once('error', fail);
    socket.once('connect', () => {
      socket.setTimeout(0);
      socket.off('error', fail);
      resolve(socket);
    });
  });
}
