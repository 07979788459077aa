import { TerminalOpen, type InstanceId } from '@berth/model';
import { hashSecret, makeSecret } from '../access/secret.js';
import type { FastifyReply } from 'fastify';
import type { HttpDeps } from './deps.js';
import type { Caller } from './gate.js';
import { answering } from './idempotency.js';

/** A ticket is for whoever goes on at once. */
const ticketSeconds = 30;

/** A ticket that was taken: what it opens, and for whom. */
export interface TerminalTicketTaken {
  readonly tokenId: string;
  /** The browser session that asked; null for a token. */
  readonly sessionId: string | null;
  readonly instanceId: InstanceId;
  readonly opens: TerminalOpen;
}

type Deps = Pick<HttpDeps, 'store' | 'clock' | 'masterKey'>;

/** An envelope of one ticket opens no other. */
const purpose = (hash: string): string => `terminal ticket ${hash}`;

/** Keeps a ticket for half a minute, what it opens in an envelope: commands and environments carry secrets. */
export async function terminalTicketMake(
  { store, clock, masterKey }: Deps,
  { principal: { tokenId, session }, context }: Pick<Caller, 'principal' | 'context'>,
  reply: FastifyReply,
  instanceId: InstanceId,
  opens: TerminalOpen,
): Promise<{ readonly secret: string; readonly expiresAt: string }> {
  const { plain, hash } = makeSecret('berthticket_');
  const expiresAt = new Date(clock.now().getTime() + ticketSeconds * 1000);
  const envelope = masterKey.seal(JSON.stringify(opens), purpose(hash));
  const sessionId = session?.id ?? null;
  const body = { secret: plain, expiresAt: expiresAt.toISOString() };
  const ticket = { hash, tokenId, sessionId, instanceId, envelope, expiresAt };
  await store.terminalTicketCreate(
    answering(reply, context, () => body),
    ticket,
  );
  return body;
}

/** Takes a ticket away. Null when it is unknown, spent or expired, or was enveloped with another master key. */
export async function terminalTicketTake(
  { store, masterKey }: Pick<Deps, 'store' | 'masterKey'>,
  secret: string,
): Promise<TerminalTicketTaken | null> {
  const hash = hashSecret(secret);
  const row = await store.terminalTicketTake(hash);
  if (row === null) return null;
  const { envelope, ...ticket } = row;
  try {
    return { ...ticket, opens: TerminalOpen.parse(JSON.parse(masterKey.open(envelope, purpose(hash)))) };
  } catch {
    return null;
  }
}
