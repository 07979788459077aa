import { expect, it } from 'vitest';
import { TestGuest } from '../testing/guest-agent.js';
import { QgaAgent } from './agent.js';
import { QgaSession } from './session.js';

async function agentOf(table: Readonly<Record<string, unknown>>): Promise<QgaAgent> {
  return new QgaAgent(await QgaSession.open(TestGuest.honest(table).stream));
}

const debian = {
  'guest-info': { version: '7.2.0', supported_commands: [{ name: 'guest-ping', enabled: true }] },
  'guest-get-host-name': { 'host-name': 'inside' },
  'guest-get-osinfo': {
    id: 'debian',
    'pretty-name': 'Debian GNU/Linux 12 (bookworm)',
    'version-id': '12',
    'kernel-release': '6.1.0',
    machine: 'x86_64',
  },
  'guest-network-get-interfaces': [
    {
      name: 'eth0',
      'hardware-address': '52:54:00:01:02:03',
      'ip-addresses': [{ 'ip-address': '10.0.0.2', 'ip-address-type': 'ipv4', prefix: 24 }],
      statistics: { 'rx-bytes': 1 },
    },
    { name: 'sit0' },
  ],
};

it('tells what the guest says of itself', async () => {
  expect(await (await agentOf(debian)).info()).toEqual({
    agentVersion: '7.2.0',
    hostname: 'inside',
    os: {
      id: 'debian',
      name: 'Debian GNU/Linux 12 (bookworm)',
      version: '12',
      kernel: '6.1.0',
      machine: 'x86_64',
    },
    interfaces: [
      {
        name: 'eth0',
        mac: '52:54:00:01:02:03',
        addresses: [{ family: 'ipv4', address: '10.0.0.2', prefixLength: 24 }],
      },
      { name: 'sit0', mac: null, addresses: [] },
    ],
  });
});

it('leaves out what an agent does not know', async () => {
  expect(await (await agentOf({ 'guest-info': { version: '1.0' } })).info()).toEqual({
    agentVersion: '1.0',
    hostname: null,
    os: null,
    interfaces: [],
  });
});

it.each([
  ['guest-info', { version: 'x'.repeat(257) }],
  ['guest-info', null],
  ['guest-get-host-name', { 'host-name': { a: 1 } }],
  ['guest-get-osinfo', { id: 'x'.repeat(257) }],
  ['guest-network-get-interfaces', Array.from({ length: 65 }, () => ({ name: 'e' }))],
  ['guest-network-get-interfaces', [{ name: 'e', 'ip-addresses': [{ 'ip-address': 1 }] }]],
] as const)('does not take everything for %s', async (command, value) => {
  const agent = await agentOf({ ...debian, [command]: value === null ? () => null : value });
  await expect(agent.info()).rejects.toMatchObject({ fault: 'protocol' });
});

it('runs a program: its arguments, environment and input go as they are, its output comes as bytes', async () => {
  let asked: unknown;
  const agent = await agentOf({
    'guest-exec': (args: unknown) => {
      asked = args;
      return { pid: 7 };
    },
    'guest-exec-status': { exited: true, exitcode: 3, 'out-data': 'AP8=', 'err-data': '' },
  });
  const input = Buffer.from([0, 255]);
  expect(await agent.exec({ path: 'sh', args: ['-c', '$x'], env: ['A=b c'], input })).toBe(7);
  expect(asked).toEqual({
    path: 'sh',
    arg: ['-c', '$x'],
    env: ['A=b c'],
    'input-data': 'AP8=',
    'capture-output': true,
  });
  expect(await agent.execStatus(7)).toEqual({
    code: 3,
    output: input,
    errorOutput: Buffer.alloc(0),
    truncated: false,
  });
});

it.each([
  [{ exited: false }, null],
  [{ exited: true, signal: 9 }, 137],
  [{ exited: true, exitcode: 0 }, 0],
] as const)('reads %j as the exit code %s', async (status, code) => {
  expect(await (await agentOf({ 'guest-exec-status': status })).execStatus(1)).toMatchObject({ code });
});

it('brings the processors online that are not, and asks for nothing where all are', async () => {
  let asked: unknown = null;
  const vcpu = (id: number, online: boolean) => ({ 'logical-id': id, online, 'can-offline': id > 0 });
  const table = (...vcpus: object[]) => ({
    'guest-get-vcpus': vcpus,
    'guest-set-vcpus': (args: unknown) => {
      asked = args;
      return 1;
    },
  });
  expect(await (await agentOf(table(vcpu(0, true), vcpu(1, true)))).bringOnline()).toBe(2);
  expect(asked).toBeNull();
  expect(await (await agentOf(table(vcpu(0, true), vcpu(1, false), vcpu(2, true)))).bringOnline()).toBe(3);
  expect(asked).toEqual({ vcpus: [{ 'logical-id': 1, online: true }] });
});

it('takes the silence after a shutdown for a yes', async () => {
  await (await agentOf({ 'guest-shutdown': null })).shutdown({ timeoutMs: 10 });
});
