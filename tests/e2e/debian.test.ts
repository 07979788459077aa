import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  filesystemsFrozenType,
  restartRequiredType,
  volumeSerial,
  type Condition,
  type Instance,
  type VmDriver,
  type Volume,
} from '@berth/model';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Victims } from '../kills/victims.js';
import { Berth, output, patience, until } from './berth.js';
import { bootMs, guestsOf } from './guests.js';

/*
 * A Debian with systemd, cloud-init, a guest agent and sshd, as a user has it: the same disk under one driver and then the
 * other, one boot each.
 */
const disk = join(
  process.env['BERTH_SAMPLES'] ?? fileURLToPath(new URL('../../.berth/samples', import.meta.url)),
  'debian.qcow2',
);
const userData = '#cloud-config\nwrite_files: [{ path: /etc/greeting, content: hello from its user data }]\n';
let berth: Berth;
let dir: string;
let keyFile: string;
let publicKey: string;
const { answering, guest, exec, done, tellsItsMemory } = guestsOf(() => berth);

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
  vcpus: 1,
  maxVcpus: 2,
  memoryMiB: 512,
  maxMemoryMiB: 768,
  // The kernel of this Debian has no SATA.
  cdroms: [{ bus: 'scsi' }],
  rootDisk: { sizeMiB: 2048 },
  placement: { driver },
});

/** What its machine has not got yet of its spec. */
const pending = async (): Promise<Condition | undefined> =>
  (await berth.get('debian')).status.conditions.find((c) => c.type === restartRequiredType);

const identity = ({ uuid, status }: Instance): object => ({ uuid, nics: status.nics });

describe('a Debian of its own', () => {
  let first: Instance;

  it('boots, and its agent tells what it is and where it can be reached', async () => {
    await berth.run(['network', 'create', 'second', '--ipv6', 'auto']);
    await berth.create('debian', {
      ...machine('qemu'),
      nics: [{ network: 'default' }, { network: 'second' }],
      userData,
      cloudInit: { user: 'dev', sshKeys: [publicKey] },
    });
    first = await answering('debian');
    expect(first.status.driver).toBe('qemu');
    const [nic] = first.status.nics;
    expect(first.status.nics.map((n) => n.network)).toEqual(['default', 'second']);
    const said = await until('its addresses', bootMs, async () => {
      const info = await guest('debian');
      const has = first.status.nics.every(({ mac, ipv4, ipv6 = ipv4 }) =>
        [ipv4, ipv6].every((given) =>
          info.interfaces.some((one) => one.mac === mac && one.addresses.some((a) => a.address === given)),
        ),
      );
      return has ? info : undefined;
    });
    await done('debian', `ping -6 -c 1 -W 20 ${first.status.nics[1]?.ipv6?.replace(/[^:]+$/, '1')}`);
    expect((await exec('debian', 'ip', '-6', 'route', 'show', 'default')).out).toBe('');
    const gateway = nic?.ipv4.replace(/\d+$/, '1');
    expect((await exec('debian', 'ip', '-4', 'route', 'show', 'default')).out).toMatch(
      new RegExp(`^default via ${gateway} dev eth0[^\n]*\n$`),
    );
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
    const top = (await berth.run(['-o', 'wide', 'top', 'debian'])).split('\n');
    expect(top.find((line) => /^1 /.test(line))).toMatch(/^1 +0 +root +S .*(systemd|init)/);
    expect(top.some((line) => line.includes('qemu-ga'))).toBe(true);
  });

  it('tells what it uses of its memory, as its own kernel does', async () => {
    await tellsItsMemory('debian');
  }, 240_000);

  it('has a disk that is plugged in, grows and goes while it runs, over a suspend and the death of its agent', async () => {
    const { id } = JSON.parse(
      await berth.run(['volume', 'create', 'data', '--size', '64', '-o', 'json']),
    ) as Volume;
    await berth.run(['volume', 'attach', 'debian', 'data']);
    expect(await berth.get('debian')).toMatchObject({
      status: { volumes: [{ id, name: 'data', attached: true, serial: volumeSerial(id) }] },
    });
    const device = `/dev/disk/by-id/scsi-0QEMU_QEMU_HARDDISK_${volumeSerial(id)}`;
    await done('debian', `udevadm settle; mkfs.ext4 -q ${device} && mkdir -p /data && mount ${device} /data`);
    await done('debian', 'cd /data && head -c 16M /dev/urandom >random && sha256sum random >sum && sync');
    await berth.run(['volume', 'grow', 'data', '--size', '128']);
    await until('its guest sees a larger disk', patience(60_000), async () => {
      const { out } = await exec('debian', 'blockdev', '--getsize64', device);
      return out.trim() === String(128 * 2 ** 20) ? true : undefined;
    });
    await done('debian', `resize2fs ${device} && cd /data && sha256sum -c sum`);
    expect(
      Number((await exec('debian', 'sh', '-c', 'df -m --output=size /data | tail -1')).out),
    ).toBeGreaterThan(100);

    // Downloaded while its guest goes on writing: as it was at one moment, whole by itself, and nothing of it stays.
    await done(
      'debian',
      'cd /data && (while :; do date >>busy; sync; done) >/dev/null 2>&1 & echo $! >/run/busy',
    );
    const file = join(dir, 'exported.qcow2');
    expect(await berth.run(['volume', 'export', 'data', '--file', file])).toMatch(/consistency application/);
    await done('debian', 'kill $(cat /run/busy)');
    await output('qemu-img', 'check', '-q', file);
    expect(await output('qemu-img', 'info', file)).not.toMatch(/backing|Snapshot list/);
    const raw = join(dir, 'exported.raw');
    await output('qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw', file, raw);
    expect(await output('e2fsck', '-fn', raw)).toMatch(/\d+\/\d+ files/);
    await output('debugfs', '-R', `dump /random ${raw}.random`, raw);
    const sum = (await exec('debian', 'cat', '/data/sum')).out.split(' ')[0];
    expect((await output('sha256sum', `${raw}.random`)).split(' ')[0]).toBe(sum);
    await until('the export is gone', patience(60_000), async () => {
      const { items } = await berth.ok<{ items: Volume[] }>('GET', '/v1/projects/default/volumes');
      return items.every((v) => v.kind !== 'export') ? true : undefined;
    });

    await berth.act('debian', 'suspend');
    await new Victims(berth).killAndWait(['agent']);
    await berth.act('debian', 'resume');
    await answering('debian');
    await done('debian', 'cd /data && sha256sum -c sum && cd / && umount /data');

    await berth.run(['volume', 'detach', 'debian', 'data']);
    expect(await exec('debian', 'test', '-e', device)).toMatchObject({ code: 1 });
    const volume = await berth.ok<Volume>('GET', '/v1/projects/default/volumes/data');
    expect(volume).toMatchObject({
      owner: null,
      sizeMiB: 128,
      actualSizeMiB: 128,
      host: { name: expect.any(String) },
    });
    await output('qemu-img', 'check', '-q', join(berth.root, 'var/lib/berth/volumes', id, 'data.qcow2'));
  }, 600_000);

  it('gets a nic while it runs, has its addresses by DHCP, and lets go of it', async () => {
    // Its network was set up for the nics of its first boot.
    const later = 'network: {version: 2, ethernets: {later: {match: {driver: virtio_net}, dhcp4: true}}}';
    const file = '/etc/netplan/60-nics.yaml';
    await done('debian', `umask 077; echo '${later}' >${file} && netplan generate && networkctl reload`);
    const wayOut = async (): Promise<string> =>
      (await exec('debian', 'ip', '-4', 'route', 'show', 'default')).out;
    const before = await until('its way out is as it was', patience(60_000), async () => {
      const routes = await wayOut();
      return routes.startsWith('default via') ? routes : undefined;
    });
    await berth.run(['network', 'create', 'third', '--ipv6', 'auto']);
    await berth.run(['network', 'attach', 'debian', 'third']);
    const nic = (await berth.get('debian')).status.nics.find((n) => n.network === 'third');
    if (nic === undefined) throw new Error('it has no nic on its third network');
    const seen = async () => (await guest('debian')).interfaces.find(({ mac }) => mac === nic.mac);
    // The router says that addresses come by DHCPv6, which knows it by its MAC.
    await until('its guest has the addresses', patience(90_000), async () => {
      const has = (await seen())?.addresses.map(({ address }) => address) ?? [];
      return [nic.ipv4, nic.ipv6 ?? 'none'].every((given) => has.includes(given)) || undefined;
    });
    await done('debian', `ping -c 1 -W 20 ${nic.ipv4.replace(/\d+$/, '1')}`);
    // The way out is that of its first nic still.
    expect(await wayOut()).toBe(before);

    await berth.run(['network', 'detach', 'debian', 'third']);
    await until('its guest has let go of it', patience(90_000), async () =>
      (await seen()) === undefined ? true : undefined,
    );
    const left = await until('nothing of it is left', patience(90_000), async () => {
      const { status } = await berth.get('debian');
      return status.nics.every((n) => n.network !== 'third') ? status : undefined;
    });
    expect(left.nics).toEqual(first.status.nics);
    expect(left.conditions.map((c) => c.type)).not.toContain(restartRequiredType);
    await berth.run(['network', 'rm', 'third']);
  }, 300_000);

  it('gets memory while it runs, and gives it back', async () => {
    const total = async (): Promise<number> =>
      Number(/MemTotal: +(\d+) kB/.exec((await exec('debian', 'cat', '/proc/meminfo')).out)?.[1]) / 1024;
    const resize = async (memoryMiB: number): Promise<void> => {
      const { spec } = await berth.get('debian');
      await berth.ok('PUT', `${berth.instances}/debian`, { spec: { ...spec, memoryMiB } });
    };
    await done('debian', 'echo online_movable >/sys/devices/system/memory/auto_online_blocks');
    const before = await total();
    await resize(768);
    await until('its guest has more', patience(60_000), async () =>
      (await total()) > before + 200 ? true : undefined,
    );
    await until(
      'nothing is left to do',
      patience(60_000),
      async () => (await pending()) === undefined || undefined,
    );
    await resize(512);
    await until('its guest has given it back', patience(60_000), async () =>
      (await total()) < before + 50 ? true : undefined,
    );
  }, 300_000);

  it('gets a processor while it runs, which its agent brings online', async () => {
    const { spec } = await berth.get('debian');
    await berth.ok('PUT', `${berth.instances}/debian`, { spec: { ...spec, vcpus: 2 } });
    await until('its guest works on both', patience(90_000), async () =>
      (await exec('debian', 'nproc')).out === '2\n' ? true : undefined,
    );
    await until(
      'nothing is left to do',
      patience(60_000),
      async () => (await pending()) === undefined || undefined,
    );
  }, 240_000);

  it('reads what is put into its drive, and has it no more when it is taken out', async () => {
    const tools = join(dir, 'tools');
    mkdirSync(tools);
    writeFileSync(join(tools, 'random'), randomBytes(1_000_000));
    const sum = createHash('sha256')
      .update(readFileSync(join(tools, 'random')))
      .digest('hex');
    await output('genisoimage', '-quiet', '-r', '-V', 'TOOLS', '-o', `${tools}.iso`, tools);
    await berth.image('tools', 'iso', `${tools}.iso`);
    await berth.run(['cdrom', 'insert', 'debian', 'tools']);
    await done('debian', 'mount -o ro /dev/sr0 /mnt');
    expect((await exec('debian', 'sha256sum', '/mnt/random')).out).toContain(sum);

    await done('debian', 'umount /mnt');
    await berth.run(['cdrom', 'eject', 'debian']);
    await until('the drive is empty', patience(60_000), async () => {
      const [drive] = (await berth.get('debian')).status.cdroms;
      return drive?.image === null && (await pending()) === undefined ? true : undefined;
    });
    expect((await exec('debian', 'mount', '-o', 'ro', '/dev/sr0', '/mnt')).code).not.toBe(0);
    await berth.run(['image', 'rm', 'tools']);
  }, 360_000);

  it('takes files and gives them, byte for byte, with their permissions', async () => {
    const file = join(dir, 'whole.bin');
    writeFileSync(file, randomBytes(3_000_000), { mode: 0o750 });
    const sum = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex');
    expect(await berth.run(['cp', file, 'debian:/srv/copied.bin'])).toContain('debian:/srv/copied.bin has');
    expect((await exec('debian', 'sha256sum', '/srv/copied.bin')).out).toContain(sum(file));
    expect((await exec('debian', 'stat', '-c', '%a %U', '/srv/copied.bin')).out).toBe('750 root\n');
    expect((await exec('debian', 'ls', '/srv')).out).toBe('copied.bin\n');
    const back = join(dir, 'back.bin');
    await berth.run(['cp', 'debian:/srv/copied.bin', back]);
    expect(sum(back)).toBe(sum(file));
    // What is made while it is read says nothing of its size.
    expect((await berth.try(['cp', 'debian:/proc/version', '-'])).out).toContain('Linux version');
    const missing = await berth.try(['cp', 'debian:/srv/nothing', '-']);
    expect([missing.code, missing.err]).toEqual([4, expect.stringContaining('has no /srv/nothing')]);
    const directory = await berth.try(['cp', file, 'debian:/srv']);
    expect(directory.err).toContain('directory');
    expect((await exec('debian', 'ls', '/srv')).out).toBe('copied.bin\n');
  }, 240_000);

  it('is frozen so that it writes nothing, and thawed in time although its agent was killed', async () => {
    const frozen = async (): Promise<boolean> =>
      (await berth.get('debian')).status.conditions.some((c) => c.type === filesystemsFrozenType);
    expect(await berth.run(['freeze', 'debian', '--seconds', '60'])).toContain('freeze succeeded');
    await until('it says that it is frozen', patience(30_000), async () => (await frozen()) || undefined);
    expect((await exec('debian', 'true')).code).not.toBe(0);
    expect(await berth.run(['thaw', 'debian'])).toContain('thaw succeeded');
    await until('it says that it is thawed', patience(30_000), async () => !(await frozen()) || undefined);
    expect(await exec('debian', 'touch', '/srv/thawed')).toMatchObject({ code: 0 });

    await berth.run(['freeze', 'debian', '--seconds', '5']);
    await new Victims(berth).killAndWait(['agent']);
    await until('the next agent has thawed it', patience(60_000), async () =>
      (await exec('debian', 'touch', '/srv/again')).code === 0 ? true : undefined,
    );
    await until('it says so', patience(30_000), async () => !(await frozen()) || undefined);
  }, 300_000);

  it('goes back to an instant with its memory: it was never booted since', async () => {
    const bootId = async (): Promise<string> =>
      (await exec('debian', 'cat', '/proc/sys/kernel/random/boot_id')).out;
    const sleeper = 'sleep 100000 >/dev/null 2>&1 & echo $! >/run/sleeper';
    await done('debian', `echo then >/run/instant; echo then >/srv/instant; ${sleeper}`);
    const boot = await bootId();
    const said = await berth.run(['snapshot', 'create', 'debian', 'instant', '--memory']);
    expect(said).toMatch(/instant: exact/);
    await done('debian', 'echo later | tee /run/instant /srv/instant; sync; kill $(cat /run/sleeper)');
    await berth.run(['stop', 'debian', '--force']);
    await berth.state('debian', 'stopped');
    await berth.run(['snapshot', 'revert', 'debian', 'instant']);
    await berth.state('debian', 'running', patience(120_000));
    await answering('debian');
    expect(await exec('debian', 'cat', '/run/instant', '/srv/instant')).toMatchObject({
      out: 'then\nthen\n',
    });
    expect(await bootId()).toBe(boot);
    await done('debian', 'kill -0 $(cat /run/sleeper)');
    expect((await exec('debian', 'nproc')).out).toBe('2\n');
    await berth.run(['snapshot', 'rm', 'debian', 'instant']);
  }, 600_000);

  it('is taken as it is while it runs, with its file systems frozen by its agent', async () => {
    // Nothing is flushed here: that is what freezing is for.
    await done('debian', 'echo before >/srv/state');
    const said = await berth.run(['snapshot', 'create', 'debian', 'before']);
    expect(said).toMatch(/before: application \(QEMU took its disk .*froze .* file system.* thawed/);
    await done('debian', 'echo after >/srv/state; sync');
    expect(await berth.run(['snapshot', 'ls', 'debian'])).toMatch(/before +ready +application +debian\.root/);
    const early = await berth.try(['snapshot', 'revert', 'debian', 'before']);
    expect(early.err).toContain('stop it first');
  }, 120_000);

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
    await berth.run(['volume', 'attach', 'debian', 'data']);
    await berth.run(['snapshot', 'create', 'debian', 'off']);
    expect(await berth.run(['snapshot', 'ls', 'debian'])).toMatch(/off +ready +filesystem/);
    await berth.run(['snapshot', 'revert', 'debian', 'before']);
    await berth.act('debian', 'start');
    const second = await answering('debian');
    expect(second.status.driver).toBe('libvirt');
    expect(identity(second)).toEqual(identity(first));
    expect((await exec('debian', 'cat', '/srv/state')).out).toBe('before\n');
    expect(await guest('debian')).toMatchObject({ hostname: 'debian', os: { id: 'debian' } });
    expect(await exec('debian', 'sh', '-c', 'echo out; exit 4')).toMatchObject({ code: 4, out: 'out\n' });
    expect((await exec('debian', 'no-such-program')).err).toContain('No such file');
    expect((await berth.try(['cp', 'debian:/etc/hostname', '-'])).out).toBe('debian\n');
    expect(await berth.run(['freeze', 'debian'])).toContain('freeze succeeded');
    expect(await berth.run(['thaw', 'debian'])).toContain('thaw succeeded');
    const note = join(dir, 'note');
    writeFileSync(note, 'by libvirt');
    await berth.run(['cp', note, 'debian:/srv/note']);
    expect((await exec('debian', 'cat', '/srv/note')).out).toBe('by libvirt');
    await tellsItsMemory('debian');
  }, 600_000);

  it('finds its disk under the other driver as it left it, and gets another while it runs', async () => {
    const found = (id: Volume['id']): string =>
      `/dev/disk/by-id/scsi-0QEMU_QEMU_HARDDISK_${volumeSerial(id)}`;
    const [data] = (await berth.get('debian')).status.volumes;
    if (data === undefined) throw new Error('it has no volume');
    await done('debian', `mount ${found(data.id)} /data && cd /data && sha256sum -c sum`);
    const both = await berth.run(['snapshot', 'create', 'debian', 'both']);
    expect(both).toMatch(/both: application \(QEMU took its 2 disks in one transaction/);
    const torn = await berth.try(['volume', 'detach', 'debian', 'data']);
    expect(torn.err).toContain('part of snapshot');
    await berth.run(['snapshot', 'rm', 'debian', 'both', 'off']);
    await done('debian', 'cd /data && sha256sum -c sum');
    // What is cloned is in use by nobody meanwhile.
    await done('debian', 'umount /data');
    await berth.run(['volume', 'detach', 'debian', 'data']);
    expect(await berth.run(['volume', 'clone', 'data', 'copy', '--format', 'raw'])).toContain('copy');
    await berth.run(['volume', 'delete', 'data']);
    await berth.run(['volume', 'attach', 'debian', 'copy']);
    const copy = (await berth.get('debian')).status.volumes.find((v) => v.name === 'copy');
    if (copy === undefined) throw new Error('it has no copy');
    await done('debian', `udevadm settle; mount ${found(copy.id)} /data && cd /data && sha256sum -c sum`);
    const create = ['volume', 'create', 'more', '--size', '32', '--raw', '-o', 'json'];
    const { id } = JSON.parse(await berth.run(create)) as Volume;
    await berth.run(['volume', 'limit', 'more', '--write-iops', '50']);
    await berth.run(['volume', 'attach', 'debian', 'more']);
    await done('debian', `udevadm settle; echo kept >${found(id)} && blockdev --flushbufs ${found(id)}`);
    await berth.run(['volume', 'grow', 'more', '--size', '48']);
    await until('its guest sees a larger disk', patience(60_000), async () => {
      const { out } = await exec('debian', 'blockdev', '--getsize64', found(id));
      return out.trim() === String(48 * 2 ** 20) ? true : undefined;
    });
    await berth.run(['volume', 'detach', 'debian', 'more']);
    const path = join(berth.root, 'var/lib/berth/volumes', id, 'data.raw');
    expect(readFileSync(path).toString('latin1', 0, 5)).toBe('kept\n');
    await berth.run(['volume', 'delete', 'more']);
    await until('the volume is gone', patience(60_000), async () =>
      (await berth.call('GET', '/v1/projects/default/volumes/more')).status === 404 && !existsSync(path)
        ? true
        : undefined,
    );
    await done('debian', 'umount /data');
  }, 600_000);

  it('tells its host when its kernel panics, which ends its run as a failure', async () => {
    // Nobody is left to say how the command ended.
    const panics = 'echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger';
    await exec('debian', 'sh', '-c', panics).catch(() => undefined);
    const { status } = await berth.state('debian', 'error', patience(90_000));
    expect(status.lastExit).toMatchObject({ reason: 'guestCrash', message: 'the guest kernel panicked' });
  }, 300_000);
});
