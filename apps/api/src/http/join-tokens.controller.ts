import { formatJoinToken } from '@berth/link';
import { Labels, Name } from '@berth/model';
import { Body, Controller, Get, Inject, Post, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import { makeSecret } from '../access/secret.js';
import type { JoinTokenRow } from '../store/store.js';
import { Action } from './action.js';
import { HTTP_DEPS, type HttpDeps } from './deps.js';
import { Asking, type Caller } from './gate.js';
import { answering } from './idempotency.js';
import { listOf } from './query.js';

const JoinToken = z
  .strictObject({
    id: z.uuid(),
    hostName: Name.nullable().describe('The one host name it admits; null: any new one'),
    labels: Labels,
    createdAt: z.iso.datetime(),
    expiresAt: z.iso.datetime(),
    consumedAt: z.iso.datetime().nullable(),
  })
  .meta({ id: 'JoinToken' });
const JoinTokenCreate = z
  .strictObject({
    hostName: Name.nullable().default(null),
    labels: Labels.default({}).describe('Labels the host starts with'),
    expiresInSeconds: z.int().min(30).max(86_400).default(900),
  })
  .meta({ id: 'JoinTokenCreate' });
const JoinTokenCreated = z
  .strictObject({
    ...JoinToken.shape,
    secret: z
      .string()
      .nullable()
      .describe(
        'For the agent, with the fingerprint of the CA it must meet; shown this once; null when the answer is a replay',
      ),
  })
  .meta({ id: 'JoinTokenCreated' });
const JoinTokens = listOf(JoinToken);

@Controller('v1/join-tokens')
export class JoinTokensController {
  constructor(@Inject(HTTP_DEPS) private readonly deps: HttpDeps) {}

  @Post()
  @Action('joinTokens.create', {
    summary: 'Create a single-use token with which one host joins',
    answers: { 201: { description: 'The token and its secret', schema: JoinTokenCreated } },
  })
  async create(
    @Asking() { context }: Caller,
    @Body({ schema: JoinTokenCreate }) body: z.infer<typeof JoinTokenCreate>,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<z.infer<typeof JoinTokenCreated>> {
    const { plain, hash } = makeSecret('berthjoin_');
    const expiresAt = new Date(this.deps.clock.now().getTime() + body.expiresInSeconds * 1000);
    const { hostName, labels } = body;
    const { caFingerprint } = this.deps;
    const secret = formatJoinToken({ secret: plain, caFingerprint });
    const answer = (row: JoinTokenRow): z.infer<typeof JoinTokenCreated> => ({ ...shown(row), secret });
    const token = { hash, hostName, labels, expiresAt };
    const row = await this.deps.store.joinTokenCreate(answering(reply, context, answer), token);
    this.deps.wake.ledger();
    void reply.header('cache-control', 'no-store');
    return answer(row);
  }

  @Get()
  @Action('joinTokens.list', {
    summary: 'List join tokens without their secrets',
    answers: { 200: { description: 'Join tokens', schema: JoinTokens } },
  })
  async list(): Promise<z.infer<typeof JoinTokens>> {
    return { items: (await this.deps.store.joinTokenList()).map(shown), nextCursor: null };
  }
}

function shown(row: JoinTokenRow): z.infer<typeof JoinToken> {
  return {
    id: row.id,
    hostName: row.hostName,
    labels: { ...row.labels },
    createdAt: row.createdAt.toISOString(),
    expiresAt: row.expiresAt.toISOString(),
    consumedAt: row.consumedAt?.toISOString() ?? null,
  };
}
