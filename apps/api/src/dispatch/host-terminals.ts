import type { StatsLine } from '@berth/link';
import {
  BerthError,
  type CloudInitSeed,
  type GuestInfo,
  type Instance,
  type InstanceProcesses,
  type SendKeys,
  type TerminalOpen,
} from '@berth/model';
import type { AgentsDoor } from './agents-door.js';
import type { HostTerminal } from './host-terminal.js';

type Door = Pick<AgentsDoor, 'connected' | 'terminal' | 'guest' | 'processes' | 'stats' | 'seed'>;

/** The host of an instance, on which something is asked of it. @throws BerthError stateConflict, unavailable */
export function hostOf(
  door: Pick<Door, 'connected'>,
  { name, status }: Instance,
): NonNullable<Instance['status']['host']> {
  if (status.host === null)
    throw new BerthError('stateConflict', `${name} is on no host`, {
      remedy: 'Start it first, and wait until its state is running.',
    });
  if (door.connected().includes(status.host.id)) return status.host;
  throw new BerthError(
    'unavailable',
    `the host ${status.host.name} of ${name} is not connected to this API`,
    {
      remedy: 'Look at GET /v1/hosts; its agent connects again by itself when it runs.',
    },
  );
}

/** What a guest says of itself. @throws BerthError stateConflict, unavailable, unsupported */
export async function hostGuest(door: Door, instance: Instance): Promise<GuestInfo> {
  return door.guest(hostOf(door, instance).id, instance.id);
}

/** What runs in it. @throws BerthError stateConflict, unavailable, unsupported */
export async function hostProcesses(door: Door, instance: Instance): Promise<InstanceProcesses> {
  return door.processes(hostOf(door, instance).id, instance.id);
}

/** What it uses, again after each interval. @throws BerthError stateConflict, unavailable, unsupported, rateLimited */
export async function hostStats(
  door: Door,
  instance: Instance,
  everyMs: number,
  signal: AbortSignal,
): Promise<AsyncIterable<StatsLine>> {
  return door.stats(hostOf(door, instance).id, instance.id, everyMs, signal);
}

/** What its cloud-init was given. @throws BerthError stateConflict, unavailable, notFound */
export async function hostSeed(door: Door, instance: Instance): Promise<CloudInitSeed> {
  return door.seed(hostOf(door, instance).id, instance.id);
}

/**
 * Terminals and screens of instances on the hosts whose links this process holds. With several API processes, a ticket is asked for
 * and spent at the one that the host is connected to.
 */
export function hostTerminals(door: Door & Pick<AgentsDoor, 'screenshot' | 'sendKeys'>): {
  refuseAway(instance: Instance): void;
  open(instance: Instance, open: TerminalOpen, signal: AbortSignal): Promise<HostTerminal>;
  screenshot(instance: Instance, head: number, signal: AbortSignal): Promise<Uint8Array>;
  sendKeys(instance: Instance, keys: SendKeys, signal: AbortSignal): Promise<void>;
} {
  return {
    refuseAway: (instance) => void hostOf(door, instance),
    open: async (instance, open, signal) =>
      door.terminal(hostOf(door, instance).id, instance.id, open, signal),
    screenshot: async (instance, head, signal) =>
      door.screenshot(hostOf(door, instance).id, instance.id, head, signal),
    sendKeys: async (instance, keys, signal) =>
      door.sendKeys(hostOf(door, instance).id, instance.id, keys, signal),
  };
}
