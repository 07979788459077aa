import type { LinkAnswer } from '@berth/link';
import { RuntimeError } from '@berth/runtime';

const statuses: Partial<Record<string, number>> = {
  notPrepared: 409,
  agentAway: 409,
  noSuchFile: 404,
  fileRefused: 409,
  unsupported: 501,
  badImage: 400,
};

/** How a runtime's refusal is told to the API. @throws what is no refusal */
export function refusalOf(error: unknown): LinkAnswer {
  if (!(error instanceof RuntimeError)) throw error;
  const { code, message, remedy } = error;
  return { status: statuses[code] ?? 500, body: { code, message, ...(remedy === null ? {} : { remedy }) } };
}
