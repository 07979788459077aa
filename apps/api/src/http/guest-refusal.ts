import { agentConnectedType, BerthError, type ExecOpen, type Host, type Instance } from '@berth/model';
import type { Store } from '../store/store.js';

/** What runs an OCI image, for people. */
export function kindOf({ spec }: Pick<Instance, 'spec'>): string {
  return spec.isolation === 'container' ? 'a container' : 'a microVM';
}

/** Refuses what the agent in a guest is asked where there is none. @throws BerthError unsupported, stateConflict */
export function refuseGuest(instance: Instance): void {
  const { name, spec, status } = instance;
  if (spec.isolation !== 'vm')
    throw new BerthError('unsupported', `${name} is ${kindOf(instance)} and has no guest agent.`, {
      remedy: 'Run a program in it instead: POST …/exec.',
    });
  refuseStopped(instance);
  if (!status.conditions.some((c) => c.type === agentConnectedType))
    throw new BerthError('stateConflict', `No guest agent answers in ${name}.`, {
      remedy:
        'Install qemu-guest-agent in it and start it, and wait for its condition AgentConnected; its serial console needs none: POST …/console.',
    });
}

/** Refuses what a guest agent can do for no program. @throws BerthError unsupported */
export function refuseGuestExec({ tty, user, workdir }: ExecOpen): void {
  const wishes: readonly [string, boolean, string, string][] = [
    ['/tty', tty, 'a terminal', 'Leave it out, or use the serial console: POST …/console.'],
    ['/user', user !== undefined, 'another user', 'Leave it out, and run `runuser -u NAME -- …`.'],
    ['/workdir', workdir !== undefined, 'a directory to start in', 'Leave it out, and run `env -C DIR …`.'],
  ];
  const errors = wishes
    .filter(([, wished]) => wished)
    .map(([path, , what, remedy]) => {
      return { path, code: 'unsupported', message: `no guest agent gives a program ${what}`, remedy };
    });
  const [first] = errors;
  if (first === undefined) return;
  const words = 'A program in a virtual machine is run by its guest agent, which cannot do that.';
  throw new BerthError('unsupported', words, { remedy: first.remedy, errors });
}

/** The instance's host, where it said what it can do, and this is not among it. */
export async function hostWithout(
  store: Pick<Store, 'hostById'>,
  { status }: Instance,
  facet: string,
): Promise<Host | null> {
  const host = status.host === null ? null : await store.hostById(status.host.id);
  return host?.capabilities?.facets.includes(facet) === false ? host : null;
}

/** @throws BerthError stateConflict */
export function refuseStopped({ name, status }: Instance): void {
  if (status.state !== 'running' && status.state !== 'paused')
    throw new BerthError('stateConflict', `${name} is ${status.state} and not running.`, {
      remedy: 'Start it first, and wait until its state is running.',
    });
}

/** What stands still does nothing, until somebody lets it go on. @throws BerthError stateConflict */
export function refusePaused({ name, status }: Instance): void {
  if (status.state === 'paused')
    throw new BerthError('stateConflict', `${name} is paused.`, {
      remedy: 'Resume it first: POST …/actions/resume.',
    });
}
