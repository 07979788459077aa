import { BerthError, Name, Role } from '@berth/model';
import { Body, Controller, Delete, Get, Inject, Post, Req, Res } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { cookieOf, cookieSet, csrfOf, originScheme } from '../access/browser.js';
import { SignInFailures } from '../access/failures.js';
import { principalOf, type Principal } from '../access/principal.js';
import { bearerOf, hashSecret, makeSecret } from '../access/secret.js';
import { makeSignInCode, signInCodeHash } from '../access/sign-in-code.js';
import type { TokenRow } from '../store/store.js';
import { Action } from './action.js';
import { HTTP_DEPS, type HttpDeps } from './deps.js';
import { Asking, traceIdOf, type Caller } from './gate.js';
import { answering } from './idempotency.js';

const SignIn = z
  .strictObject({
    secret: z.string().min(1).max(256).describe('A token, or a sign-in code as POST /v1/sign-in-codes gives'),
  })
  .meta({ id: 'SignIn' });
const Session = z
  .strictObject({
    actor: z.string().describe('Name that operations and events carry'),
    role: Role,
    project: Name.nullable().describe('null: every project and the cluster'),
    via: z.enum(['session', 'token']),
    expiresAt: z.iso.datetime().nullable(),
    idleSeconds: z.int().nullable().describe('The session ends when nothing of it is heard for so long'),
    csrf: z
      .string()
      .nullable()
      .describe('Send as x-berth-csrf with every mutation by cookie; null with a token'),
  })
  .meta({ id: 'Session' });
type Session = z.infer<typeof Session>;
const SignInCode = z
  .strictObject({
    secret: z.string().nullable().describe('Works once; null when the answer is a replay'),
    expiresAt: z.iso.datetime(),
  })
  .meta({ id: 'SignInCode' });

/** How long a code may wait for whoever pastes it, seconds. */
const codeSeconds = 300;

const withToken = { remedy: 'Send "Authorization: Bearer <token>".' };

/** How a browser signs in, who it is, and how it leaves. */
@Controller('v1/session')
export class SessionController {
  private readonly failures: SignInFailures;

  constructor(@Inject(HTTP_DEPS) private readonly deps: HttpDeps) {
    this.failures = new SignInFailures(deps.clock);
  }

  @Post()
  @Action('public', {
    summary: 'Sign a browser in with a token or a sign-in code; the answer sets an HttpOnly cookie',
    answers: {
      201: { description: 'The session', schema: Session, headers: { 'set-cookie': 'The session' } },
    },
  })
  async open(
    @Req() request: FastifyRequest,
    @Body({ schema: SignIn }) body: z.infer<typeof SignIn>,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Session> {
    const { origin, host } = request.headers;
    const scheme = origin === undefined ? 'http:' : originScheme(origin, host);
    if (scheme === null)
      throw new BerthError('forbidden', 'The request does not come from a page of this API.', {
        remedy: 'Sign in at /ui/ of this API. A proxy in front must pass the Host header on.',
      });
    const token = await this.tokenOf(body.secret, request.ip, reply);
    const { seconds } = this.deps.config.session;
    const { plain, hash } = makeSecret('berthsession_');
    const expiresAt = new Date(this.deps.clock.now().getTime() + seconds * 1000);
    const context = { actor: principalOf(token, null).actor, traceId: traceIdOf(request) };
    const session = await this.deps.store.browserSessionCreate(context, { hash, token, expiresAt });
    this.deps.wake.ledger();
    void reply.header('set-cookie', cookieSet(scheme, plain, seconds)).header('cache-control', 'no-store');
    return this.shown(principalOf(token, session), plain);
  }

  @Get()
  @Action('session.get', {
    summary: 'Who asks: the session of a browser, or a token',
    answers: { 200: { description: 'Role, project and end', schema: Session } },
  })
  get(
    @Asking() { principal }: Caller,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Session {
    void reply.header('cache-control', 'no-store');
    const cookie = principal.session === null ? null : cookieOf(request.headers.cookie);
    return this.shown(principal, cookie?.secret ?? null);
  }

  @Delete()
  @Action('session.end', {
    summary: 'Sign out',
    answers: { 204: { description: 'The cookie is worth nothing any more' } },
  })
  async end(
    @Asking() { principal, context }: Caller,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<void> {
    const cookie = cookieOf(request.headers.cookie);
    if (principal.session === null || cookie === null)
      throw new BerthError('stateConflict', 'A token has no session that could end.', {
        remedy: 'Revoke the token with DELETE /v1/tokens/{id} if it should no longer work.',
      });
    await this.deps.store.browserSessionEnd(context, principal.session);
    this.deps.wake.ledger();
    void reply.header('set-cookie', cookieSet(cookie.scheme, '', 0));
  }

  /** The token behind what was pasted. @throws rateLimited, unauthenticated */
  private async tokenOf(secret: string, address: string, reply: FastifyReply): Promise<TokenRow> {
    const wait = this.failures.waitSeconds(address);
    if (wait > 0) {
      void reply.header('retry-after', String(wait));
      throw new BerthError('rateLimited', 'There were too many failed sign-ins.', {
        remedy: `Try again in ${wait} seconds.`,
      });
    }
    const pasted = secret.trim();
    const plain = bearerOf(`Bearer ${pasted}`);
    const code = plain === null ? signInCodeHash(pasted) : null;
    const token =
      plain !== null
        ? await this.deps.store.tokenFindByHash(hashSecret(plain))
        : code !== null
          ? await this.deps.store.signInCodeConsume(code)
          : null;
    if (token !== null) return token;
    this.failures.failed(address);
    throw new BerthError('unauthenticated', 'This is no token and no sign-in code that works.', {
      remedy: 'Run ./berth sign-in for a code; each works once, for five minutes.',
    });
  }

  private shown(principal: Principal, secret: string | null): Session {
    const { actor, role, project, session } = principal;
    return {
      actor,
      role,
      project: project as Session['project'],
      via: session === null ? 'token' : 'session',
      expiresAt: session?.expiresAt.toISOString() ?? null,
      idleSeconds: session === null ? null : this.deps.config.session.idleSeconds,
      csrf: secret === null ? null : csrfOf(secret),
    };
  }
}

@Controller('v1/sign-in-codes')
export class SignInCodesController {
  constructor(@Inject(HTTP_DEPS) private readonly deps: HttpDeps) {}

  @Post()
  @Action('session.invite', {
    summary: 'Make a code that signs one browser in as this token, once, within five minutes',
    answers: { 201: { description: 'The code', schema: SignInCode } },
  })
  async create(
    @Asking() { principal, context }: Caller,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<z.infer<typeof SignInCode>> {
    // Else a session could outlive its end by one code after the other.
    if (principal.session !== null)
      throw new BerthError('forbidden', 'A session cannot make sign-in codes; its token can.', withToken);
    const { plain, hash } = makeSignInCode();
    const expiresAt = new Date(this.deps.clock.now().getTime() + codeSeconds * 1000);
    const answer = { secret: plain, expiresAt: expiresAt.toISOString() };
    const code = { hash, tokenId: principal.tokenId, expiresAt };
    await this.deps.store.signInCodeCreate(
      answering(reply, context, () => answer),
      code,
    );
    this.deps.wake.ledger();
    void reply.header('cache-control', 'no-store');
    return answer;
  }
}
