import { BerthError, type Host, type InstanceSpec, type Isolation } from '@berth/model';
import type { Verb } from '../store/store.js';

/** What this version cannot run at all, with the reason a client reads. */
const noRuntime: Partial<Record<Isolation, string>> = {
  microvm: 'no runtime of this version runs isolation microvm',
};

function refuse(path: string, message: string, remedy: string): BerthError {
  return new BerthError('unsupported', `The request asks for what cannot be done: ${message}.`, {
    remedy,
    errors: [{ path, code: 'unsupported', message, remedy }],
  });
}

/** Refuses at request time what no host could ever do. @throws unsupported */
export function refuseUnsupported(spec: InstanceSpec, hosts: readonly Host[]): void {
  const reason = noRuntime[spec.isolation];
  if (reason !== undefined)
    throw refuse('/spec/isolation', reason, 'Use isolation container for OCI images, or vm for disk images.');
  if (spec.desired === 'suspended')
    throw refuse(
      '/spec/desired',
      'no runtime of this version can suspend',
      'Use paused (kept in memory) or stopped (disk kept).',
    );
  if (spec.desired === 'paused' && !canPause(spec.isolation, hosts))
    throw refuse(
      '/spec/desired',
      `no host can pause isolation ${spec.isolation}`,
      'Use running or stopped; GET /v1/hosts shows the facets of each host.',
    );
}

/** Refuses an action that the instance's host cannot do. @throws unsupported */
export function refuseVerb(verb: Verb, isolation: Isolation, host: Host | null): void {
  if (verb !== 'pause' && verb !== 'resume') return;
  if (host !== null && !canPause(isolation, [host]))
    throw new BerthError('unsupported', `Host ${host.name} cannot ${verb} isolation ${isolation}.`, {
      remedy: 'Stop the instance instead; GET /v1/hosts shows the facets of each host.',
    });
}

function canPause(isolation: Isolation, hosts: readonly Host[]): boolean {
  return hosts.some(
    ({ capabilities: c }) => c !== null && c.isolation[isolation]?.ok === true && c.facets.includes('pause'),
  );
}
