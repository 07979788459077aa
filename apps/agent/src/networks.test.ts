import type { HostNetworkSpec, NetworkId } from '@berth/model';
import { expect, it } from 'vitest';
import type { AgentLog } from './log.js';
import { HostNetworks, type NetworkKeeper } from './networks.js';
import { systemClock } from './system-clock.js';

const id = '7f8a2c44-6b1e-4b2a-9d55-0c1d2e3f4a5b' as NetworkId;
const spec = { id, name: 'default' } as HostNetworkSpec;

/** A keeper that writes down what it is told, and takes its time with it. */
function keeperOf(rest: () => Promise<void>) {
  const told: string[] = [];
  const slowly = async (what: string): Promise<void> => {
    await new Promise((resolve) => setImmediate(resolve));
    told.push(what);
  };
  const keeper: NetworkKeeper = {
    ensure: () => slowly('ensure'),
    release: async () => {
      await slowly('release');
      return { released: true };
    },
    rest: async () => {
      told.push('rest');
      await rest();
    },
    networks: () => Promise.resolve([]),
    traffic: () => Promise.resolve([]),
  };
  return { keeper, told };
}

function logOf() {
  const warnings: string[] = [];
  const log = { warn: (_: object, words: string) => warnings.push(words) } as unknown as AgentLog;
  return { log, warnings };
}

it('takes down what nothing runs on when it has done all that it was doing', async () => {
  const { keeper, told } = keeperOf(() => Promise.resolve());
  const { log, warnings } = logOf();
  const networks = new HostNetworks(keeper, systemClock, log);
  networks.want(() => new Map([[id, spec]]), [spec]);
  await expect.poll(() => told.length).toBe(1);
  networks.want(() => new Map(), []);
  await networks.close();
  expect(told).not.toContain('rest');
  await networks.rest(() => true);
  expect(told.at(-1)).toBe('rest');
  expect(told.filter((what) => what === 'rest')).toHaveLength(1);
  expect(warnings).toEqual([]);
});

it('takes a network away when a machine that is slow to do so has let go of its nic there', async () => {
  const { keeper, told } = keeperOf(() => Promise.resolve());
  let asked = 0;
  const release = async (): Promise<{ released: boolean }> => {
    await keeper.release(id, () => false);
    return { released: (asked += 1) > 1 };
  };
  const { log, warnings } = logOf();
  const networks = new HostNetworks({ ...keeper, release }, systemClock, log);
  networks.want(() => new Map([[id, spec]]), [spec]);
  await expect.poll(() => told).toEqual(['ensure']);
  networks.want(() => new Map(), []);
  await expect.poll(() => told, { timeout: 10_000 }).toEqual(['ensure', 'release', 'release']);
  // It is gone: nothing is asked again, and when it comes back it is made again.
  networks.want(() => new Map([[id, spec]]), [spec]);
  await expect.poll(() => told.at(-1)).toBe('ensure');
  await networks.close();
  expect(told).toEqual(['ensure', 'release', 'release', 'ensure']);
  expect(warnings).toEqual([]);
});

it('leaves a network to a placement that came while it was about to be taken away', async () => {
  const { keeper, told } = keeperOf(() => Promise.resolve());
  const used = new Map<NetworkId, HostNetworkSpec>();
  const release = async (networkId: NetworkId, isUsed: () => boolean): Promise<{ released: boolean }> => {
    // Hired and prepared before the list that names it is taken to its end.
    used.set(networkId, spec);
    if (!isUsed()) await keeper.release(networkId, isUsed);
    return { released: !isUsed() };
  };
  const { log, warnings } = logOf();
  const networks = new HostNetworks({ ...keeper, release }, systemClock, log);
  networks.want(() => new Map([[id, spec]]), [spec]);
  await expect.poll(() => told).toEqual(['ensure']);
  networks.want(() => used, []);
  await expect.poll(() => used.size).toBe(1);
  networks.want(() => used, [spec]);
  await networks.close();
  expect(told).toEqual(['ensure']);
  expect(warnings).toEqual([]);
});

it('goes on where that fails, and says so', async () => {
  const { keeper } = keeperOf(() => Promise.reject(new Error('busy')));
  const { log, warnings } = logOf();
  await new HostNetworks(keeper, systemClock, log).rest(() => true);
  expect(warnings).toEqual(['networks that nothing runs on stay on the host']);
  await new HostNetworks(null, systemClock, log).rest(() => true);
});
