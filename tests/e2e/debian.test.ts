import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { agentConnectedType, type GuestInfo, type Instance, type VmDriver } from '@berth/model';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Berth, output, patience, until } from './berth.js';

/*
 * A Debian with systemd, cloud-init, a guest agent and sshd, as a user has it: the same disk under one driver and then the
 * other, one boot each. An emulated processor takes most of a minute for a boot.
 */
const disk = join(
  process.env['BERTH_SAMPLES'] ?? fileURLToPath(new URL('../../.berth/samples', import.meta.url)),
  'debian.qcow2',
);
const bootMs = patience(300_000);
const userData = '#cloud-config\nwrite_files: [{ path: /etc/greeting, content: hello from its user data }]\n';
let berth: Berth;
let dir: string;
let keyFile: string;
let publicKey: string;

beforeAll(async () => {
  if (!existsSync(disk)) throw new Error(`${disk} is missing: tools/samples/build --debian .berth/samples`);
  dir = mkdtempSync(join(tmpdir(), 'berth-key-'));
  keyFile = join(dir, 'key');
  await output('ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', 'dev@laptop', '-f', keyFile);
  publicKey = readFileSync(`${keyFile}.pub`, 'utf8').trim();
  berth = await Berth.up(1);
  await berth.image('debian', 'disk', disk);
}, 300_000);
afterAll(async () => {
  await berth?.down();
  rmSync(dir, { recursive: true, force: true });
}, 120_000);

const machine = (driver: VmDriver): object => ({
  isolation: 'vm',
  image: 'debian',
  vcpus: 2,
  memoryMiB: 512,
  rootDisk: { sizeMiB: 2048 },
  placement: { driver },
});

/** The instance once the agent in its guest answers. */
async function answering(name: string): Promise<Instance> {
  return until(`the agent in ${name} answers`, bootMs, async () => {
    // On a machine that emulates two processors the database may be late, and the API say so.
    const instance = await berth.get(name).catch(() => undefined);
    return instance?.status.conditions.some((c) => c.type === agentConnectedType) ? instance : undefined;
  }).catch(async (error: Error) => {
    throw new Error(`${error.message}\n${(await berth.logs(name)).slice(-4_000)}`);
  });
}

const guest = (name: string): Promise<GuestInfo> => berth.ok('GET', `${berth.instances}/${name}/guest`);

/** What a program in the guest printed, and how it ended. */
function exec(name: string, ...command: string[]): Promise<{ code: number; out: string; err: string }> {
  return berth.try(['exec', name, '--', ...command]);
}

const identity = ({ uuid, status }: Instance): object => ({ uuid, nics: status.nics });

describe('a Debian of its own', () => {
  let first: Instance;

  it('boots, and its agent tells what it is and where it can be reached', async () => {
    await berth.create('debian', {
      ...machine('qemu'),
      userData,
      cloudInit: { user: 'dev', sshKeys: [publicKey] },
    });
    first = await answering('debian');
    expect(first.status.driver).toBe('qemu');
    const [nic] = first.status.nics;
    const said = await until('its address', bootMs, async () => {
      const info = await guest('debian');
      const own = info.interfaces.find((one) => one.mac === nic?.mac);
      return own?.addresses.some((a) => a.address === nic?.ipv4) ? info : undefined;
    });
    expect(said).toMatchObject({ hostname: 'debian', os: { id: 'debian', machine: 'x86_64' } });
    expect(await berth.run(['guest', 'debian'])).toContain(`${nic?.ipv4}/`);
    expect((await berth.run(['get', 'instances'])).match(/debian.*running/)?.[0]).not.toContain('agent');
  }, 600_000);

  it('lets in by ssh whom its spec names, and heeds the user data too', async () => {
    const [nic] = first.status.nics;
    const ssh = (command: string): Promise<string> =>
      output(
        'ssh',
        ...[
          '-i',
          keyFile,
          '-o',
          'BatchMode=yes',
          '-o',
          'StrictHostKeyChecking=no',
          '-o',
          'ConnectTimeout=10',
        ],
        ...['-o', 'UserKnownHostsFile=/dev/null', '-o', 'LogLevel=ERROR', `dev@${nic?.ipv4}`, command],
      );
    const said = await until('ssh lets it in', bootMs, () =>
      ssh('hostname; sudo -n id -u; cat /etc/greeting').catch(() => undefined),
    );
    expect(said).toBe('debian\n0\nhello from its user data');
    const seed = await berth.run(['cloud-init', 'debian']);
    expect(seed).toContain(`${nic?.ipv4}/`);
    expect(seed).toMatch(/write_files[\s\S]*users[\s\S]*dev/);
  }, 600_000);

  it('runs programs by its agent: output, error output and exit code are told apart', async () => {
    expect(await exec('debian', 'sh', '-c', 'echo out; echo err >&2; exit 3')).toEqual({
      code: 3,
      out: 'out\n',
      err: 'err\n',
    });
    expect((await exec('debian', 'no-such-program')).err).toContain('No such file');
    expect((await exec('debian', 'hostname')).out).toBe('debian\n');
    expect(await exec('debian', 'systemctl', 'is-active', 'ssh')).toMatchObject({ code: 0 });
  });

  it('shuts down by its agent, also where it heeds no power button', async () => {
    const deaf = 'mkdir -p /etc/systemd/logind.conf.d; printf "[Login]\\nHandlePowerKey=ignore\\n"';
    const file = '/etc/systemd/logind.conf.d/deaf.conf; systemctl restart systemd-logind';
    expect(await exec('debian', 'sh', '-c', `${deaf} >${file}`)).toMatchObject({ code: 0 });
    await berth.act('debian', 'stop');
    const { status } = await berth.state('debian', 'stopped', patience(90_000));
    expect(status.lastExit?.reason).toBe('stopped');
    expect(status.conditions).toEqual([]);
    const refused = await berth.call<{ code: string }>('GET', `${berth.instances}/debian/guest`);
    expect(refused).toMatchObject({ status: 409, body: { code: 'stateConflict' } });
  }, 240_000);

  it('is the same under the other driver, whose libvirt hands on what is asked of its agent', async () => {
    const { spec } = await berth.get('debian');
    const placement = { ...spec.placement, driver: 'libvirt' };
    await berth.ok('PUT', `${berth.instances}/debian`, { spec: { ...spec, placement } });
    await berth.act('debian', 'start');
    const second = await answering('debian');
    expect(second.status.driver).toBe('libvirt');
    expect(identity(second)).toEqual(identity(first));
    expect(await guest('debian')).toMatchObject({ hostname: 'debian', os: { id: 'debian' } });
    expect(await exec('debian', 'sh', '-c', 'echo out; exit 4')).toMatchObject({ code: 4, out: 'out\n' });
    expect((await exec('debian', 'no-such-program')).err).toContain('No such file');
    await berth.act('debian', 'stop');
    const { status } = await berth.state('debian', 'stopped', patience(90_000));
    expect(status.lastExit?.reason).toBe('stopped');
  }, 600_000);
});
