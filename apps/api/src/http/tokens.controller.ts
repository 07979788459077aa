import { BerthError, Name, Role } from '@berth/model';
import { Body, Controller, Delete, Get, Inject, Param, Post, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import { missing } from '../access/principal.js';
import { makeSecret } from '../access/secret.js';
import type { TokenRow } from '../store/store.js';
import { Action } from './action.js';
import { HTTP_DEPS, type HttpDeps } from './deps.js';
import { Asking, type Caller } from './gate.js';
import { answering } from './idempotency.js';
import { addressId, projectFilter } from './project-scope.js';
import { listOf } from './query.js';

const Token = z
  .strictObject({
    id: z.uuid(),
    name: z.string(),
    project: Name.nullable().describe('null: every project and the cluster'),
    role: Role,
    createdAt: z.iso.datetime(),
    expiresAt: z.iso.datetime().nullable(),
    revokedAt: z.iso.datetime().nullable(),
  })
  .meta({ id: 'Token' });
const TokenCreate = z
  .strictObject({
    name: Name.describe('Appears as the actor of operations and events'),
    project: Name.nullable().default(null),
    role: Role,
    expiresInSeconds: z
      .int()
      .min(60)
      .max(10 * 365 * 86_400)
      .nullable()
      .default(90 * 86_400)
      .describe('null: never'),
  })
  .meta({ id: 'TokenCreate' });
const TokenCreated = z
  .strictObject({
    ...Token.shape,
    secret: z.string().nullable().describe('Shown this once; null when the answer is a replay'),
  })
  .meta({ id: 'TokenCreated' });
const Tokens = listOf(Token);

@Controller('v1/tokens')
export class TokensController {
  constructor(@Inject(HTTP_DEPS) private readonly deps: HttpDeps) {}

  @Post()
  @Action('tokens.create', {
    summary: 'Create an API token; its secret is shown once',
    answers: { 201: { description: 'The token and its secret', schema: TokenCreated } },
  })
  async create(
    @Asking() { principal, context }: Caller,
    @Body({ schema: TokenCreate }) body: z.infer<typeof TokenCreate>,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<z.infer<typeof TokenCreated>> {
    if (principal.project !== null && body.project === null)
      throw new BerthError(
        'forbidden',
        'A token bound to a project cannot create one for the whole cluster.',
        {
          remedy: `Name the project "${principal.project}".`,
        },
      );
    const projectId =
      body.project === null ? null : await projectFilter(this.deps.store, principal, body.project);
    const { plain, hash } = makeSecret('berth_');
    const expiresAt = later(this.deps.clock.now(), body.expiresInSeconds);
    const token = { name: body.name, hash, projectId, role: body.role, expiresAt };
    const answer = (row: TokenRow): z.infer<typeof TokenCreated> => ({ ...shown(row), secret: plain });
    const row = await this.deps.store.tokenCreate(answering(reply, context, answer), token);
    this.deps.wake.ledger();
    void reply.header('cache-control', 'no-store');
    return answer(row);
  }

  @Get()
  @Action('tokens.list', {
    summary: 'List tokens without their secrets',
    answers: { 200: { description: 'Tokens', schema: Tokens } },
  })
  async list(@Asking() { principal }: Caller): Promise<z.infer<typeof Tokens>> {
    return { items: (await this.deps.store.tokenList(principal.projectId)).map(shown), nextCursor: null };
  }

  @Delete(':id')
  @Action('tokens.revoke', {
    summary: 'Revoke a token',
    answers: { 204: { description: 'Refused from now on' } },
  })
  async revoke(@Asking() { principal, context }: Caller, @Param('id') id: string): Promise<void> {
    const tokenId = addressId('token', z.uuid(), id);
    const own = await this.deps.store.tokenList(principal.projectId);
    const mine = own.some((t) => t.id === tokenId);
    if (!mine || !(await this.deps.store.tokenRevoke(context, tokenId))) throw missing('token', id);
    this.deps.wake.ledger();
  }
}

function shown(row: TokenRow): z.infer<typeof Token> {
  return {
    id: row.id,
    name: row.name,
    project: row.project,
    role: row.role,
    createdAt: row.createdAt.toISOString(),
    expiresAt: row.expiresAt?.toISOString() ?? null,
    revokedAt: row.revokedAt?.toISOString() ?? null,
  };
}

/** A time so many seconds after another; null for never. */
export function later(now: Date, seconds: number | null): Date | null {
  return seconds === null ? null : new Date(now.getTime() + seconds * 1000);
}
