import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createNetns, deleteNetns, enterNetns, inNetns, Netlink, run } from '@berth/linux';
import { HostNetworkSpec, InstanceId, NicId } from '@berth/model';
import { HostNetwork } from '@berth/network';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Check } from '../../apps/supervisor/src/doctor/check.js';
import { forwardingChecks } from '../../apps/supervisor/src/doctor/forwarding.js';
import { forwardingFindings } from '../../apps/supervisor/src/doctor/probes/forwarding.js';
import { Dockerd } from '../support/docker.js';

/**
 * A machine on which somebody runs Docker: Debian's dockerd, started in network, mount and process namespaces of its own,
 * which are the host here. The doctor must see that guests are cut off, and the command that it names must mend it.
 */
const DOCKER_MS = 60_000;
/** Seconds to wait where silence is the right answer. */
const SILENCE = 1;

describe.each([
  ['nftables', 'iptables-nft'],
  ['the old tables', 'iptables-legacy'],
])('beside a Docker whose iptables speaks to %s', (_, program) => {
  let dir: string;
  let goHome: () => void;
  let network: HostNetwork;
  let docker: Dockerd | null = null;
  const netnsOf = (name: string) => join(dir, 'netns', name);
  const guests: string[] = [];

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'berth-docker-'));
    chmodSync(dir, 0o711);
    createNetns(netnsOf('host'));
    createNetns(netnsOf('uplink'));
    goHome = enterNetns(netnsOf('host'));
    Netlink.with(undefined, (host) => {
      host.setLink('lo', { up: true });
      host.addVeth({ name: 'up0', peer: { name: 'eth0', netns: netnsOf('uplink') } });
      host.addAddress('up0', '192.0.2.1/30');
      host.setLink('up0', { up: true });
      host.addRoute({ destination: '0.0.0.0/0', via: '192.0.2.2' });
    });
    Netlink.with(netnsOf('uplink'), (world) => {
      world.addAddress('eth0', '192.0.2.2/30');
      world.setLink('eth0', { up: true });
    });
    // Docker closes FORWARD when it is the one that turns forwarding on. Bridged packets pass iptables by default.
    writeFileSync('/proc/sys/net/ipv4/ip_forward', '0');
    writeFileSync('/proc/sys/net/bridge/bridge-nf-call-iptables', '1');
    network = new HostNetwork({ stateDir: join(dir, 'state'), runDir: join(dir, 'run') });
  });

  afterEach(async () => {
    await docker?.stop();
    docker = null;
    for (const nic of await network.inventory()) await network.detach(nic);
    for (const { networkId } of await network.networks()) await network.release(networkId);
    goHome();
    for (const guest of guests.splice(0)) deleteNetns(guest);
    for (const name of ['host', 'uplink']) deleteNetns(netnsOf(name));
    rmSync(dir, { recursive: true });
  });

  /** Starts dockerd, and waits until it serves and has made its rules. */
  async function dockerStart(): Promise<void> {
    const bin = join(dir, 'bin');
    mkdirSync(bin, { recursive: true });
    for (const [name, target] of [
      ['iptables', program],
      ['ip6tables', program.replace('ip', 'ip6')],
    ] as const) {
      rmSync(join(bin, name), { force: true });
      symlinkSync(`/usr/sbin/${target}`, join(bin, name));
    }
    docker = await Dockerd.start(dir, [], bin);
  }

  async function guestOf(spec: HostNetworkSpec, name: string): Promise<string> {
    const lease = spec.leases.find((l) => l.name === name)!;
    const netns = netnsOf(`${spec.name}-${name}`);
    createNetns(netns);
    guests.push(netns);
    const owner = { instanceId: InstanceId.parse(randomUUID()), epoch: 1 };
    const nic = { id: NicId.parse(randomUUID()), networkId: spec.id, mac: lease.mac, ipv4: lease.ipv4 };
    await network.attachVeth(owner, nic, { netns, ifname: 'eth0' });
    return netns;
  }

  async function reaches(netns: string, address: string, seconds: number): Promise<boolean> {
    const child = inNetns(netns, () =>
      spawn('busybox', ['ping', '-c', '1', '-W', `${seconds}`, address], { stdio: 'ignore' }),
    );
    return (((await once(child, 'exit')) as [number | null])[0] ?? 1) === 0;
  }

  const doctor = async (): Promise<Check> =>
    forwardingChecks(await forwardingFindings()).find((c) => c.name === 'forwarding')!;

  it(
    'the doctor tells that guests are cut off, and its command mends it, also past a restart of Docker',
    { timeout: 3 * DOCKER_MS },
    async () => {
      await dockerStart();
      expect((await run(program, ['-S', 'FORWARD'])).stdout).toContain('-P FORWARD DROP');
      const [first, second] = [specOf('one', 1, ['a', 'b']), specOf('two', 2, ['c'])];
      for (const spec of [first, second]) await network.ensure(spec);
      const [a, c] = [await guestOf(first, 'a'), await guestOf(second, 'c')];
      await guestOf(first, 'b');
      const neighbour = first.leases[1]!.ipv4;

      expect(await reaches(a, first.gateway, 5)).toBe(true); // the guest itself is well
      expect(await reaches(a, '192.0.2.2', SILENCE)).toBe(false);
      expect(await reaches(c, '192.0.2.2', SILENCE)).toBe(false);
      expect(await reaches(a, neighbour, SILENCE)).toBe(false);
      const ill = await doctor();
      expect(ill).toMatchObject({ verdict: 'warn' });
      expect(ill.found).toBe(
        `${program}: FORWARD drops what guests send out and the answers and what neighbours send each other`,
      );
      expect(ill.remedy).toBe(
        `${program} -I DOCKER-USER -i bb+ -j ACCEPT && ${program} -I DOCKER-USER -o bb+ -j ACCEPT`,
      );

      await run('sh', ['-c', ill.remedy]);
      expect(await doctor()).toMatchObject({ verdict: 'ok' });
      for (const netns of [a, c]) expect(await reaches(netns, '192.0.2.2', 5)).toBe(true);
      expect(await reaches(a, neighbour, 5)).toBe(true);
      // Networks stay apart: Docker's accept does not overrule Berth's own drop.
      expect(await reaches(a, second.leases[0]!.ipv4, SILENCE)).toBe(false);

      await docker!.stop();
      await dockerStart();
      expect(await doctor()).toMatchObject({ verdict: 'ok' });
      expect(await reaches(a, '192.0.2.2', 5)).toBe(true);
    },
  );
});

function specOf(name: string, subnet: number, names: readonly string[]): HostNetworkSpec {
  return HostNetworkSpec.parse({
    ...{ id: randomUUID(), project: 'demo', name },
    ...{ cidr: `10.78.${subnet}.0/24`, gateway: `10.78.${subnet}.1` },
    leases: names.map((n, i) => ({
      ...{ name: n, mac: `02:78:00:00:0${subnet}:0${i + 2}`, ipv4: `10.78.${subnet}.${i + 2}` },
    })),
  });
}
