import { BerthError, type ProjectId, type Role } from '@berth/model';
import type { BrowserSessionRow, TokenRow } from '../store/rows.js';
import { actions, roleCovers, type ActionName } from './actions.js';

/** Who a request speaks for, as the store knows its token. */
export interface Principal {
  /** Name that operations and events carry, for example `token:ci`. */
  readonly actor: string;
  readonly tokenId: string;
  /** The one project the token is bound to, or null for all. */
  readonly project: string | null;
  readonly projectId: ProjectId | null;
  readonly role: Role;
  /** The browser session it came by, or null for a bearer token. */
  readonly session: BrowserSessionRow | null;
}

export function principalOf(token: TokenRow, session: BrowserSessionRow | null): Principal {
  const { id: tokenId, project, projectId, role } = token;
  return { actor: `token:${token.name}`, tokenId, project, projectId, role, session };
}

/** The problem of everything that is not there, or not for this token to see: one text for both. */
export function missing(noun: string, name: string): BerthError {
  return new BerthError('notFound', `there is no ${noun} "${name}"`);
}

/** Whether a token may know of a project at all. */
export function seesProject(principal: Principal, project: string): boolean {
  return principal.project === null || principal.project === project;
}

/** Whether it may do what touches all projects and hosts. */
export const administersCluster = (principal: Principal): boolean =>
  principal.project === null && roleCovers(principal.role, 'admin');

/**
 * Decides one request before anything of its body is read or looked up. A foreign project is `notFound`, whether it
 * exists or not, because nothing was looked up. @throws BerthError notFound, forbidden
 */
export function authorise(principal: Principal, action: ActionName, project: string | undefined): void {
  if (project !== undefined && !seesProject(principal, project)) throw missing('project', project);
  const { least, scope } = actions[action];
  if (scope === 'cluster' && principal.project !== null)
    throw new BerthError(
      'forbidden',
      `${action} concerns the whole cluster; this token is bound to one project.`,
      {
        remedy: 'Use a token that is bound to no project.',
      },
    );
  if (!roleCovers(principal.role, least))
    throw new BerthError(
      'forbidden',
      `${action} needs the role ${least}; this token has ${principal.role}.`,
      {
        remedy: `Ask an administrator for a token with the role ${least}.`,
      },
    );
}
