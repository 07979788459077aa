import { type Instance, Name, type ProjectId } from '@berth/model';
import { missing, type Principal } from '../access/principal.js';
import type { Store } from '../store/store.js';

/** The project of a request's address. The gate has already refused projects this token may not see. @throws notFound */
export async function projectOf(store: Store, principal: Principal, name: string): Promise<ProjectId> {
  if (principal.projectId !== null && principal.project === name) return principal.projectId;
  const project = await store.projectGet(name);
  if (project === null) throw missing('project', name);
  return project.id;
}

/**
 * Projects a list may cover: the token's own, or the one the query names, or all (null). A foreign project in the query
 * is `notFound`. @throws notFound
 */
export async function projectFilter(
  store: Store,
  principal: Principal,
  asked: string | undefined,
): Promise<ProjectId | null> {
  if (asked === undefined) return principal.projectId;
  if (principal.project !== null && principal.project !== asked) throw missing('project', asked);
  return projectOf(store, principal, asked);
}

/** What was found, or the one answer for what is not there. @throws notFound */
export function found<T>(noun: string, name: string, value: T | null): T {
  if (value === null) throw missing(noun, name);
  return value;
}

/** The instance of a request's address, and its project. @throws notFound */
export async function instanceOf(
  store: Store,
  principal: Principal,
  project: string,
  name: string,
): Promise<{ readonly projectId: ProjectId; readonly instance: Instance }> {
  const projectId = await projectOf(store, principal, project);
  const stored = await store.instanceGet(projectId, addressName('instance', name));
  return { projectId, instance: found('instance', name, stored) };
}

/** A name in an address that no object can have is not looked up. @throws notFound */
export function addressName(noun: string, value: string): string {
  if (!Name.safeParse(value).success) throw missing(noun, value);
  return value;
}

/** An id in an address, likewise. @throws notFound */
export function addressId<T>(
  noun: string,
  schema: { safeParse(v: unknown): { success: boolean; data?: T } },
  value: string,
): T {
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw missing(noun, value);
  return parsed.data as T;
}
