import { answer, ProblemError } from '@berth/client';
import { queryOptions, type QueryClient } from '@tanstack/react-query';
import { api, csrfSet, type Session } from './client.js';

/** Who is signed in; null when nobody is. */
export const sessionQuery = queryOptions({
  queryKey: ['session'],
  queryFn: async (): Promise<Session | null> => {
    try {
      return kept(await answer(api.rest.GET('/v1/session')));
    } catch (error) {
      if (error instanceof ProblemError && error.code === 'unauthenticated') return kept(null);
      throw error;
    }
  },
});

function kept<T extends Session | null>(session: T): T {
  csrfSet(session?.csrf ?? null);
  return session;
}

/** @throws ProblemError unauthenticated, rateLimited */
export async function signIn(client: QueryClient, secret: string): Promise<void> {
  const session = await answer(api.rest.POST('/v1/session', { body: { secret } }));
  client.setQueryData(sessionQuery.queryKey, kept(session));
}

/** Ends the session and forgets everything that was read with it. */
export async function signOut(client: QueryClient): Promise<void> {
  await answer(api.rest.DELETE('/v1/session')).catch((error: unknown) => {
    if (!(error instanceof ProblemError && error.code === 'unauthenticated')) throw error;
  });
  signedOut(client);
}

/** The session is over, whoever ended it. */
export function signedOut(client: QueryClient): void {
  kept(null);
  client.removeQueries({ predicate: (query) => query.queryKey[0] !== 'session' });
  client.setQueryData(sessionQuery.queryKey, null);
}

const ranks = { viewer: 0, operator: 1, admin: 2 } as const;

/** Whether a role includes another, as the API decides it again. */
export function covers(session: Session | null | undefined, role: Session['role']): boolean {
  return session !== null && session !== undefined && ranks[session.role] >= ranks[role];
}
