import { agentConnectedType, type GuestInfo, type Instance, type InstanceMetrics } from '@berth/model';
import { expect } from 'vitest';
import { patience, until, type Berth } from './berth.js';

/** An emulated processor takes most of a minute for a boot. */
export const bootMs = patience(300_000);

/** What tests ask of guests with an agent. */
export interface Guests {
  /** The instance once the agent in its guest answers. */
  answering(name: string): Promise<Instance>;
  /** What its agent tells of the guest. */
  guest(name: string): Promise<GuestInfo>;
  /** What a program in the guest printed, and how it ended. */
  exec(name: string, ...command: string[]): Promise<{ code: number; out: string; err: string }>;
  /** Has a shell in the guest do something that must succeed. */
  done(name: string, line: string): Promise<void>;
  /** What its balloon told, by way of its host and the API, is what its own kernel says; a little later, so about. */
  tellsItsMemory(name: string): Promise<void>;
}

/** @param up the Berth that they belong to, once it is up */
export function guestsOf(up: () => Berth): Guests {
  async function answering(name: string): Promise<Instance> {
    return until(`the agent in ${name} answers`, bootMs, async () => {
      // On a machine that emulates two processors the database may be late, and the API say so.
      const instance = await up()
        .get(name)
        .catch(() => undefined);
      return instance?.status.conditions.some((c) => c.type === agentConnectedType) ? instance : undefined;
    }).catch(async (error: Error) => {
      throw new Error(`${error.message}\n${(await up().logs(name)).slice(-4_000)}`);
    });
  }

  const guest = (name: string): Promise<GuestInfo> => up().ok('GET', `${up().instances}/${name}/guest`);

  function exec(name: string, ...command: string[]): Promise<{ code: number; out: string; err: string }> {
    return up().try(['exec', name, '--', ...command]);
  }

  async function done(name: string, line: string): Promise<void> {
    expect(await exec(name, 'sh', '-c', line)).toMatchObject({ code: 0 });
  }

  async function tellsItsMemory(name: string): Promise<void> {
    const told = await until('its balloon tells', patience(120_000), async () => {
      const path = `${up().instances}/${name}/metrics?window=2m&step=15s`;
      const { guestMemoryBytes } = await up().ok<InstanceMetrics>('GET', path);
      return guestMemoryBytes.findLast((bytes) => bytes !== null) ?? undefined;
    });
    const { out } = await exec(name, 'cat', '/proc/meminfo');
    const bytes = (key: string) => Number(new RegExp(`^${key}: +(\\d+) kB$`, 'm').exec(out)?.[1]) * 1024;
    const size = bytes('MemTotal');
    expect(size).toBeGreaterThan(300 * 2 ** 20);
    expect(Math.abs(told - (size - bytes('MemAvailable')))).toBeLessThan(size / 8);
  }
  return { answering, guest, exec, done, tellsItsMemory };
}
