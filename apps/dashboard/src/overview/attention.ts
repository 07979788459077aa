import { clockTrouble, troublesOf } from '@berth/model';
import type { Host, Instance } from '../api/client.js';

/** Something an operator should look at, with what to do. */
export interface Trouble {
  readonly kind: 'host' | 'instance';
  readonly name: string;
  readonly state: string;
  readonly message: string;
  readonly remedy: string | null;
}

const remedies: Readonly<Record<string, string>> = {
  error: 'Read what it printed and its events, correct the spec or the image, then start it again.',
  unknown: 'Bring its host or the agent there back; what runs is taken over as it is.',
  pending: 'It starts by itself as soon as a host fits. Its decision shows what each host lacks.',
};

/** What is wrong with an instance, or null when nothing is. Pure. */
export function instanceTrouble({ name, status }: Instance): Trouble | null {
  const [condition] = troublesOf(status.conditions);
  const { state } = status;
  const asks = state === 'error' || state === 'unknown' || (state === 'pending' && status.reason !== null);
  if (condition !== undefined)
    return {
      kind: 'instance',
      name,
      state,
      message: condition.message,
      remedy: condition.remedy ?? remedies[state] ?? null,
    };
  if (!asks) return null;
  const ended = status.lastExit;
  const message = status.reason ?? ended?.message ?? ended?.reason ?? `is ${state}`;
  return { kind: 'instance', name, state, message, remedy: remedies[state] ?? null };
}

/** What is wrong with a host: silent, never there, unable to run something, or closed to new instances. Pure. */
export function hostTrouble(host: Host): Trouble[] {
  const { name, state } = host;
  const trouble = (message: string, remedy: string): Trouble => ({
    kind: 'host',
    name,
    state,
    message,
    remedy,
  });
  if (state === 'silent')
    return [
      trouble(
        host.reason ?? 'Nothing is heard of it.',
        'Run ./berth up there, and look at agent.log. Its instances are not started elsewhere meanwhile.',
      ),
    ];
  if (state === 'new')
    return [trouble('It joined and never connected.', 'Start its agent; its log is agent.log.')];
  const clock = clockTrouble(host);
  const wrong = clock === null ? [] : [trouble(`Its ${clock.message}.`, clock.remedy)];
  const lacks = Object.entries(host.capabilities?.isolation ?? {})
    .filter(([, can]) => !can.ok)
    .map(([isolation, can]) =>
      trouble(
        `It cannot run isolation ${isolation}: ${can.reason ?? 'no reason given'}`,
        'Run ./berth doctor there.',
      ),
    );
  return host.schedulable
    ? [...wrong, ...lacks]
    : [
        ...wrong,
        ...lacks,
        trouble('It is closed to new instances.', 'Open it again on its page when you are done.'),
      ];
}

interface Amounts {
  readonly cpuMillis: number;
  readonly memoryMiB: number;
  readonly diskMiB: number;
}

/** What the ready hosts have and have booked. Pure. */
export function capacitySum(hosts: readonly Host[]): { used: Amounts; capacity: Amounts } {
  const none: Amounts = { cpuMillis: 0, memoryMiB: 0, diskMiB: 0 };
  const add = (a: Amounts, b: Amounts): Amounts => ({
    cpuMillis: a.cpuMillis + b.cpuMillis,
    memoryMiB: a.memoryMiB + b.memoryMiB,
    diskMiB: a.diskMiB + b.diskMiB,
  });
  return hosts
    .filter((h) => h.state === 'ready' && h.capacity !== null)
    .reduce((sum, h) => ({ used: add(sum.used, h.used), capacity: add(sum.capacity, h.capacity ?? none) }), {
      used: none,
      capacity: none,
    });
}
