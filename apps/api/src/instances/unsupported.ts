import { BerthError, type Host, type InstanceSpec, type Isolation, resourcesRefusal } from '@berth/model';
import type { Verb } from '../store/store.js';

function refuse(path: string, message: string, remedy: string): BerthError {
  return new BerthError('unsupported', `The request asks for what cannot be done: ${message}.`, {
    remedy,
    errors: [{ path, code: 'unsupported', message, remedy }],
  });
}

/** Refuses at request time what no host could ever do. @throws unsupported */
export function refuseUnsupported(spec: InstanceSpec, hosts: readonly Host[]): void {
  if (spec.desired === 'suspended')
    throw refuse(
      '/spec/desired',
      'nothing can be suspended before it ran',
      'Use running, and the action suspend later; or stopped.',
    );
  if (spec.desired === 'paused' && !canOn(spec.isolation, 'pause', hosts))
    throw refuse(
      '/spec/desired',
      `no host can pause isolation ${spec.isolation}`,
      'Use running or stopped; GET /v1/hosts shows the facets of each host.',
    );
  refuseResources(spec, hosts);
}

/** Where there is no host yet, nobody knows what the first will have. */
function refuseResources(spec: InstanceSpec, hosts: readonly Host[]): void {
  const can = hosts.flatMap(({ name, capabilities: c }) =>
    c?.isolation.container?.ok === true ? [{ name, no: resourcesRefusal(spec, c) }] : [],
  );
  const [first] = can;
  const no = first?.no ?? null;
  if (first === undefined || no === null || can.some((one) => one.no === null)) return;
  const { field, message, remedy } = no;
  const whose = can.length === 1 ? `host ${first.name}` : `each of ${can.length} hosts, as ${first.name}`;
  throw refuse(`/spec/${field.replaceAll('.', '/')}`, `${whose}: ${message}`, remedy);
}

/** Refuses an action that the instance's host cannot do. @throws unsupported */
export function refuseVerb(verb: Verb, isolation: Isolation, host: Host | null): void {
  if (verb === 'suspend' && isolation !== 'vm')
    throw new BerthError('unsupported', notSuspended[isolation], {
      remedy: 'Pause it, which keeps its memory and uses no processor, or stop it.',
    });
  const facet = facets[verb];
  if (facet !== undefined && host !== null && !canOn(isolation, facet, [host]))
    throw new BerthError('unsupported', `Host ${host.name} cannot ${verb} isolation ${isolation}.`, {
      remedy: 'Stop the instance instead; GET /v1/hosts shows the facets of each host.',
    });
}

const notSuspended = {
  container: "A container cannot be suspended: its memory is the kernel's.",
  microvm: 'A microVM cannot be suspended: its memory is not kept.',
} as const;

/** What a host must be able to do for a verb. */
const facets: Partial<Record<Verb, string>> = { pause: 'pause', resume: 'pause', suspend: 'suspend' };

function canOn(isolation: Isolation, facet: string, hosts: readonly Host[]): boolean {
  return hosts.some(
    ({ capabilities: c }) => c !== null && c.isolation[isolation]?.ok === true && c.facets.includes(facet),
  );
}
