import type { ProjectId, Role } from '@berth/model';
import type { RequestContext } from './context.js';
import type * as rows from './rows.js';

/* Who may do what: the part of the store's door (store.ts) that access goes through. */

export interface AccessStore {
  /** `hash` is the SHA-256 of the bearer token in hex; the token itself never comes here. */
  tokenCreate(
    ctx: RequestContext,
    token: { name: string; hash: string; projectId: ProjectId | null; role: Role; expiresAt: Date | null },
  ): Promise<rows.TokenRow>;
  /** Null when unknown, expired or revoked. */
  tokenFindByHash(hash: string): Promise<rows.TokenRow | null>;
  tokenFindById(id: string): Promise<rows.TokenRow | null>;
  /** Null lists the tokens of all projects. */
  tokenList(projectId: ProjectId | null): Promise<readonly rows.TokenRow[]>;
  /** False when there is no such unrevoked token. */
  tokenRevoke(ctx: RequestContext, id: string): Promise<boolean>;
  roleBindingSet(
    ctx: RequestContext,
    binding: { projectId: ProjectId | null; subject: string; role: Role },
  ): Promise<rows.RoleBindingRow>;
  roleBindingList(subject: string): Promise<readonly rows.RoleBindingRow[]>;
  roleBindingRemove(ctx: RequestContext, id: string): Promise<boolean>;
  joinTokenCreate(
    ctx: RequestContext,
    token: { hash: string; hostName: string | null; labels: Record<string, string>; expiresAt: Date },
  ): Promise<rows.JoinTokenRow>;
  joinTokenList(): Promise<readonly rows.JoinTokenRow[]>;
  joinTokenRevoke(ctx: RequestContext, id: string): Promise<boolean>;
}

export interface BrowserSessionStore {
  /** Hashes as for tokens. Ends with its token, or before. */
  browserSessionCreate(
    ctx: RequestContext,
    session: { hash: string; token: rows.TokenRow; expiresAt: Date },
  ): Promise<rows.BrowserSessionRow>;
  /** Marks it as seen. Null when it is unknown, over, unseen for `idleSeconds`, or its token is revoked or expired. */
  browserSessionSee(hash: string, idleSeconds: number): Promise<rows.BrowserSessionRow | null>;
  browserSessionSeeById(id: string, idleSeconds: number): Promise<rows.BrowserSessionRow | null>;
  /** False when it was over already. */
  browserSessionEnd(ctx: RequestContext, session: rows.BrowserSessionRow): Promise<boolean>;
  signInCodeCreate(
    ctx: RequestContext,
    code: { hash: string; tokenId: string; expiresAt: Date },
  ): Promise<void>;
  /** Uses a code up. Null when it is unknown, used or expired, or its token no longer speaks for anybody. */
  signInCodeConsume(hash: string): Promise<rows.TokenRow | null>;
}

/** Tickets for consoles and exec. `hash` is the SHA-256 of the ticket in hex; the ticket itself never comes here. */
export interface TerminalTicketStore {
  terminalTicketCreate(
    ctx: RequestContext,
    ticket: rows.TerminalTicketRow & { readonly hash: string; readonly expiresAt: Date },
  ): Promise<void>;
  /** Takes a ticket away: null when it is unknown, spent or expired. */
  terminalTicketTake(hash: string): Promise<rows.TerminalTicketRow | null>;
  /** Drops expired tickets; returns how many. */
  terminalTicketsTrim(): Promise<number>;
}
