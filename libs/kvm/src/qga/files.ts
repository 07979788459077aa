import { z } from 'zod';
import { asked } from './ask.js';
import type { QgaOptions, QgaTransport } from './transport.js';

const Handle = z.int();
const Position = z.object({ position: z.int().min(0) });
const Read = z.object({ 'buf-b64': z.base64(), eof: z.boolean() });
const Written = z.object({ count: z.int().min(0) });

/**
 * Files of a guest, opened by its agent with its rights (QEMU Guest Agent protocol reference, 7.2). A handle is the agent's: it
 * outlives our conversations, and stays until it is closed or the agent ends.
 */
export class QgaFiles {
  constructor(private readonly transport: QgaTransport) {}

  /** What is written to is emptied, or made. */
  open(path: string, mode: 'r' | 'w', options?: QgaOptions): Promise<number> {
    return asked(this.transport, 'guest-file-open', Handle, { path, mode }, options);
  }

  /** Bytes of an open file, which is at its beginning after that. */
  async size(handle: number, options?: QgaOptions): Promise<number> {
    const seek = (whence: 'set' | 'end'): Promise<{ position: number }> =>
      asked(this.transport, 'guest-file-seek', Position, { handle, offset: 0, whence }, options);
    const { position } = await seek('end');
    await seek('set');
    return position;
  }

  async read(
    handle: number,
    count: number,
    options?: QgaOptions,
  ): Promise<{ readonly bytes: Buffer; readonly eof: boolean }> {
    const seen = await asked(this.transport, 'guest-file-read', Read, { handle, count }, options);
    return { bytes: Buffer.from(seen['buf-b64'], 'base64'), eof: seen.eof };
  }

  /** How many of the bytes were written. */
  async write(handle: number, bytes: Buffer, options?: QgaOptions): Promise<number> {
    const args = { handle, 'buf-b64': bytes.toString('base64') };
    return (await asked(this.transport, 'guest-file-write', Written, args, options)).count;
  }

  async flush(handle: number, options?: QgaOptions): Promise<void> {
    await asked(this.transport, 'guest-file-flush', z.unknown(), { handle }, options);
  }

  async close(handle: number, options?: QgaOptions): Promise<void> {
    await asked(this.transport, 'guest-file-close', z.unknown(), { handle }, options);
  }
}
