import type { z } from 'zod';
import { QgaTransportError, type QgaOptions, type QgaTransport } from './transport.js';

/** Asks the agent in a guest, and takes no answer but one of this shape. @throws QgaError, QgaTransportError */
export async function asked<T>(
  transport: QgaTransport,
  command: string,
  schema: z.ZodType<T>,
  args?: object,
  options?: QgaOptions,
): Promise<T> {
  const answer = schema.safeParse(await transport.send(command, args, options));
  if (answer.success) return answer.data;
  const where = answer.error.issues[0]?.path.join('/') ?? '';
  throw new QgaTransportError('protocol', `the guest agent's answer to ${command} is not usable: ${where}`);
}
