import { readFileSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  deriveState,
  Desired,
  guestAddresses,
  IllegalTransition,
  InstanceCreate,
  InstanceSpec,
  InstanceState,
  ipv4Number,
  Name,
  NetworkCreate,
  Phase,
  Power,
  resourcesOf,
  transition,
  transitions,
} from './index.js';
import { statesMarkdown } from './state-diagram.js';

const page = new URL('../../../docs/states.md', import.meta.url);

describe('the table of states', () => {
  it('is the page docs/states.md (UPDATE_DOCS=1 writes it)', () => {
    if (process.env['UPDATE_DOCS'] === '1') writeFileSync(page, statesMarkdown());
    expect(readFileSync(page, 'utf8')).toBe(statesMarkdown());
  });

  it('refuses every change that it does not list', () => {
    for (const from of InstanceState.options)
      for (const to of InstanceState.options) {
        if (from === to || transitions[from].includes(to)) expect(transition(from, to)).toBe(to);
        else expect(() => transition(from, to)).toThrow(IllegalTransition);
      }
  });

  it('lets nothing out of deleting', () => expect(transitions.deleting).toEqual([]));

  it('lets every state but deleting be deleted, and become unknown when its host is silent', () => {
    for (const [state, next] of Object.entries(transitions)) {
      if (state === 'deleting') continue;
      expect(next, state).toContain('deleting');
      if (state !== 'unknown') expect(next, state).toContain('unknown');
    }
  });
});

describe('the derived state', () => {
  const inputs = fc.record({
    desired: fc.constantFrom(...Desired.options),
    deleting: fc.boolean(),
    runGeneration: fc.integer({ min: 0, max: 5 }),
    placement: fc.option(
      fc.record({
        phase: fc.constantFrom(...Phase.options),
        power: fc.constantFrom(...Power.options),
        runGeneration: fc.integer({ min: 0, max: 5 }),
        hostSilent: fc.boolean(),
        failed: fc.boolean(),
      }),
    ),
  });

  it('never says running for what is not in phase running, nor for what a silent host has', () => {
    fc.assert(
      fc.property(inputs, (i) => {
        const state = deriveState(i);
        if (state !== 'running') return true;
        return (
          i.placement !== null &&
          i.placement.phase === 'running' &&
          !i.placement.hostSilent &&
          i.desired === 'running' &&
          !i.deleting
        );
      }),
      { numRuns: 2000 },
    );
  });

  it('does not fight a workload that ended by itself', () => {
    const ended = {
      phase: 'ended',
      power: 'off',
      runGeneration: 3,
      hostSilent: false,
      failed: false,
    } as const;
    expect(deriveState({ desired: 'running', deleting: false, runGeneration: 3, placement: ended })).toBe(
      'stopped',
    );
    expect(deriveState({ desired: 'running', deleting: false, runGeneration: 4, placement: ended })).toBe(
      'pending',
    );
  });
});

describe('an instance spec', () => {
  const base = { isolation: 'container', image: 'busybox', memoryMiB: 64 };

  it('fills in every default', () => {
    expect(InstanceSpec.parse(base)).toMatchObject({
      desired: 'running',
      nics: [{ network: 'default' }],
      restart: { policy: 'never' },
      rootDisk: { sizeMiB: 1024, pool: 'default' },
    });
  });

  it('refuses unknown fields, and fields of the other isolation, by name', () => {
    const path = (spec: object): unknown =>
      InstanceSpec.safeParse(spec).error?.issues[0]?.path[0] ??
      InstanceSpec.safeParse(spec).error?.issues[0]?.code;
    expect(path({ ...base, colour: 'red' })).toBe('unrecognized_keys');
    expect(path({ ...base, vcpus: 2 })).toBe('vcpus');
    expect(path({ ...base, maxVcpus: 2 })).toBe('maxVcpus');
    expect(path({ ...base, isolation: 'vm', vcpus: 3, maxVcpus: 2 })).toBe('maxVcpus');
    expect(path({ ...base, isolation: 'vm', vcpus: 2, maxVcpus: 2 })).toBeUndefined();
    expect(path({ ...base, maxMemoryMiB: 128 })).toBe('maxMemoryMiB');
    expect(path({ ...base, isolation: 'vm', maxMemoryMiB: 63 })).toBe('maxMemoryMiB');
    expect(path({ ...base, isolation: 'vm', maxMemoryMiB: 64 })).toBeUndefined();
    expect(path({ ...base, isolation: 'vm', process: { args: ['x'] } })).toBe('process');
    expect(path({ ...base, placement: { accel: 'kvm' } })).toBe('placement');
    expect(path({ ...base, placement: { driver: 'qemu' } })).toBe('placement');
    expect(path({ ...base, isolation: 'vm', placement: { driver: 'xen' } })).toBe('placement');
    expect(path({ ...base, process: { env: { 'A=B': 'x' } } })).toBe('process');
    expect(path({ ...base, process: { args: ['a\0b'] } })).toBe('process');
  });

  it('is one of a microVM by changing one word, and refuses what a microVM cannot do, by name', () => {
    const paths = (change: object): unknown[] =>
      InstanceSpec.safeParse({ ...base, isolation: 'microvm', memoryMiB: 96, ...change }).error?.issues.map(
        (i) => i.path.join('.'),
      ) ?? [];
    expect(
      paths({ cpuMillis: 500, vcpus: 2, process: { args: ['x'] }, placement: { accel: 'kvm' } }),
    ).toEqual([]);
    for (const [change, path] of [
      [{ placement: { driver: 'qemu' } }, 'placement.driver'],
      [{ memoryMiB: 95 }, 'memoryMiB'],
      [{ rootDisk: { sizeMiB: 15 } }, 'rootDisk.sizeMiB'],
      [{ rootDisk: { source: { instance: 'a', snapshot: 'b' } } }, 'rootDisk.source'],
      [{ volumes: [{ name: 'data' }] }, 'volumes'],
      [{ userData: '#cloud-config' }, 'userData'],
      [{ cloudInit: { user: 'me', sshKeys: ['ssh-ed25519 AAAA'] } }, 'cloudInit'],
      [{ watchdog: { action: 'reset' } }, 'watchdog'],
      [{ snapshots: { everyMinutes: 60, keep: 3 } }, 'snapshots'],
    ] as const)
      expect(paths(change)).toContain(path);
  });

  it('is stable: parsing what parsing gave changes nothing', () => {
    const once = InstanceSpec.parse({ ...base, isolation: 'vm', vcpus: 2, userData: '#cloud-config\n' });
    expect(InstanceSpec.parse(once)).toEqual(once);
  });

  it('books whole vCPUs unless they are capped', () => {
    expect(resourcesOf(InstanceSpec.parse({ ...base, isolation: 'vm', vcpus: 4 })).cpuMillis).toBe(4000);
    expect(
      resourcesOf(InstanceSpec.parse({ ...base, isolation: 'vm', vcpus: 4, cpuMillis: 1500 })).cpuMillis,
    ).toBe(1500);
    expect(resourcesOf(InstanceSpec.parse(base)).cpuMillis).toBe(100);
  });

  it('takes only names that can be host names', () => {
    for (const bad of ['', 'A', '1a', '-a', 'a-', 'a_b', 'a.b', 'a'.repeat(64), 'ä', 'a\n', '../x'])
      expect(Name.safeParse(bad).success, bad).toBe(false);
    expect(InstanceCreate.safeParse({ name: 'web-1', spec: base }).success).toBe(true);
  });
});

describe('a network', () => {
  const saidOf = (cidr: string): string[] =>
    NetworkCreate.safeParse({ name: 'n', cidr }).error?.issues.map((i) => i.message) ?? [];

  it('takes private subnets of 16 to 29 bits, and says of others what is wrong', () => {
    for (const cidr of ['10.0.0.0/16', '172.16.0.0/16', '172.31.255.248/29', '192.168.0.0/16'])
      expect(saidOf(cidr), cidr).toEqual([]);
    for (const cidr of ['10.0.0.0/8', '10.0.0.0/15', '10.0.0.0/30', '10.0.0.0/32'])
      expect(saidOf(cidr), cidr).toEqual([expect.stringContaining('16 to 29 bits')]);
    for (const cidr of ['9.255.0.0/16', '11.0.0.0/16', '172.15.0.0/16', '172.32.0.0/24', '192.169.0.0/24'])
      expect(saidOf(cidr), cidr).toEqual([expect.stringContaining('must be private')]);
    expect(saidOf('10.1.2.3/24')).toEqual([expect.stringContaining('no bits beside the prefix')]);
    for (const cidr of [
      '',
      '10.0.0.0',
      '10.0.0/24',
      'fd00::/64',
      '10.0.0.0/24 ',
      '10.0.0.256/24',
      '10.0.0.0/x',
    ])
      expect(saidOf(cidr), cidr).not.toEqual([]);
  });

  it('has all addresses for guests but its own, the first and the last', () => {
    const cidrs = fc
      .tuple(
        fc.integer({ min: 16, max: 29 }),
        fc.integer({ min: 0, max: 255 }),
        fc.integer({ min: 0, max: 255 }),
      )
      .map(([prefix, b, c]) => {
        const free = 32 - prefix;
        const number = 10 * 2 ** 24 + b * 2 ** 16 + c * 2 ** 8;
        const start = number - (number % 2 ** free);
        return { prefix, start, text: [24, 16, 8, 0].map((s) => Math.floor(start / 2 ** s) % 256).join('.') };
      });
    fc.assert(
      fc.property(cidrs, ({ prefix, start, text }) => {
        const cidr = `${text}/${prefix}`;
        expect(NetworkCreate.safeParse({ name: 'n', cidr }).success).toBe(true);
        const { first, last } = guestAddresses(cidr);
        expect(ipv4Number(first)).toBe(start + 2);
        expect(ipv4Number(last)).toBe(start + 2 ** (32 - prefix) - 2);
      }),
    );
  });

  it('has at most one nic of an instance', () => {
    const nics = [{ network: 'a' }, { network: 'b' }, { network: 'a' }];
    const spec = { isolation: 'container', image: 'busybox', memoryMiB: 64, nics };
    expect(InstanceSpec.safeParse(spec).error?.issues).toMatchObject([{ path: ['nics', 2, 'network'] }]);
    expect(InstanceSpec.safeParse({ ...spec, nics: nics.slice(0, 2) }).success).toBe(true);
  });
});
