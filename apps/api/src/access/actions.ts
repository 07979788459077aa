import type { Role } from '@berth/model';

/** Least role that may do an action, and whether it touches one project or the whole cluster. */
interface Rule {
  readonly least: Role;
  /** `project`: a token bound to the project is enough. `cluster`: only a token bound to no project. */
  readonly scope: 'project' | 'cluster';
}

const rule = (least: Role, scope: Rule['scope'] = 'project'): Rule => ({ least, scope });

/** The one table of who may do what. A route names one of these, or `public`; anything else fails at boot. */
export const actions = {
  'projects.create': rule('admin', 'cluster'),
  'projects.list': rule('viewer'),
  'projects.get': rule('viewer'),
  'projects.update': rule('admin', 'cluster'),
  'instances.create': rule('operator'),
  'instances.list': rule('viewer'),
  'instances.get': rule('viewer'),
  'instances.update': rule('operator'),
  'instances.act': rule('operator'),
  'instances.diff': rule('viewer'),
  'instances.commit': rule('operator'),
  'instances.delete': rule('operator'),
  'instances.explain': rule('viewer'),
  'instances.logs': rule('viewer'),
  'instances.metrics': rule('viewer'),
  'instances.guest': rule('viewer'),
  'instances.processes': rule('viewer'),
  'instances.cloudInit': rule('viewer'),
  'instances.console': rule('operator'),
  'instances.display': rule('operator'),
  'instances.attach': rule('operator'),
  'instances.screenshot': rule('viewer'),
  'instances.keys': rule('operator'),
  'instances.exec': rule('operator'),
  'instances.fileRead': rule('operator'),
  'instances.fileWrite': rule('operator'),
  'images.import': rule('operator'),
  'images.push': rule('operator'),
  'images.tag': rule('operator'),
  'images.diff': rule('viewer'),
  'images.export': rule('operator'),
  'images.list': rule('viewer'),
  'images.get': rule('viewer'),
  'images.delete': rule('operator'),
  'registries.list': rule('viewer'),
  'registries.get': rule('viewer'),
  'registries.put': rule('operator'),
  'registries.delete': rule('operator'),
  'secrets.list': rule('viewer'),
  'secrets.get': rule('viewer'),
  'secrets.put': rule('operator'),
  'secrets.delete': rule('operator'),
  'networks.list': rule('viewer'),
  'networks.get': rule('viewer'),
  'networks.create': rule('operator'),
  'networks.delete': rule('operator'),
  'securityGroups.list': rule('viewer'),
  'securityGroups.get': rule('viewer'),
  'securityGroups.put': rule('operator'),
  'securityGroups.delete': rule('operator'),
  'volumes.list': rule('viewer'),
  'volumes.get': rule('viewer'),
  'volumes.create': rule('operator'),
  'volumes.update': rule('operator'),
  'volumes.export': rule('operator'),
  'volumes.delete': rule('operator'),
  'snapshots.list': rule('viewer'),
  'snapshots.get': rule('viewer'),
  'snapshots.create': rule('operator'),
  'snapshots.revert': rule('operator'),
  'snapshots.delete': rule('operator'),
  'operations.list': rule('viewer'),
  'operations.get': rule('viewer'),
  'operations.trace': rule('viewer'),
  'decisions.get': rule('viewer'),
  'events.read': rule('viewer'),
  'session.get': rule('viewer'),
  'session.end': rule('viewer'),
  'session.invite': rule('viewer'),
  'metrics.read': rule('viewer', 'cluster'),
  'tokens.create': rule('admin'),
  'tokens.list': rule('admin'),
  'tokens.revoke': rule('admin'),
  'hosts.list': rule('viewer', 'cluster'),
  'hosts.get': rule('viewer', 'cluster'),
  'hosts.baseline': rule('viewer', 'cluster'),
  'hosts.metrics': rule('viewer', 'cluster'),
  'hosts.update': rule('admin', 'cluster'),
  'hosts.delete': rule('admin', 'cluster'),
  'joinTokens.create': rule('admin', 'cluster'),
  'joinTokens.list': rule('admin', 'cluster'),
} as const satisfies Record<string, Rule>;

export type ActionName = keyof typeof actions;

const rank: Readonly<Record<Role, number>> = { viewer: 0, operator: 1, admin: 2 };

/** What a role may do, in the order of the table; for the documentation and the tests. */
export function actionsOf(role: Role): ActionName[] {
  return (Object.keys(actions) as ActionName[]).filter((a) => rank[role] >= rank[actions[a].least]);
}

/** Whether a role includes another (admin includes operator includes viewer). */
export function roleCovers(have: Role, need: Role): boolean {
  return rank[have] >= rank[need];
}
