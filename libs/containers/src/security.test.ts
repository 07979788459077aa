import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { addableCapabilities, capabilitiesOf, type ContainerSecurity, sysctlNames } from '@berth/model';
import { CAPABILITIES, mounts } from '@berth/linux';
import type { WorkloadSpec } from '@berth/runtime';
import type { OciContent } from '@berth/images';
import { devicesThere } from './isolation/devices.js';
import { hostBounds, limitsIn } from './isolation/privileges.js';
import { ContainerLab, context } from './testing/container-lab.js';
import { perlLayer } from './testing/hostile-image.js';
import { find, logUntil, up } from './testing/workload-steps.js';

/** What `security` of a spec gives to a real container and takes from it, as seen from inside. */
const lab = new ContainerLab();
const devices = { tun: '/dev/net/tun', gone: '/dev/berth-gone', file: '/dev/../etc/passwd' };
const runtime = lab.runtime({ devices });
let perl: OciContent;
let made: WorkloadSpec[] = [];
beforeAll(async () => {
  await lab.open();
  perl = await lab.imageMake({ layer: perlLayer() });
});
afterEach(async () => {
  for (const spec of made) await runtime.remove(spec, context());
  made = [];
});
afterAll(() => lab.close());

/** What a script prints in a container with this security. */
async function says(
  security: ContainerSecurity,
  script: string,
  change: Partial<WorkloadSpec> = {},
): Promise<string> {
  const spec = lab.spec(`${script}; echo end`, { security, cpuMillis: null, ...change });
  made.push(spec);
  await up(runtime, spec);
  return logUntil(runtime, spec, 'end\n');
}

/** What perl does with `call` in a container: `ok`, or the error. */
const perlSays = (security: ContainerSecurity, call: string): Promise<string> =>
  says(security, '', {
    image: perl,
    process: { command: ['/usr/bin/perl', '-e', `${call} ? print "ok\\n" : print "$!\\n"; print "end\\n"`] },
  });

/** What its cgroup lets it open, where there is a list to read: cgroup v1. */
function devicesList({ instanceId, epoch }: WorkloadSpec): string | null {
  const tree = mounts().find(
    ({ type, superOptions }) => type === 'cgroup' && superOptions.includes('devices'),
  );
  if (tree === undefined) return null;
  const group = join(tree.target, `berth-${lab.hostTag}`, `${instanceId}.${epoch}`);
  return readFileSync(join(group, 'devices.list'), 'utf8');
}

const maskOf = (security?: ContainerSecurity): string =>
  capabilitiesOf(security)
    .reduce((mask, name) => mask | (1n << BigInt(CAPABILITIES.indexOf(name.toLowerCase() as never))), 0n)
    .toString(16)
    .padStart(16, '0');

describe('the security of a container', () => {
  it('gives the capabilities that were asked for, and no others, also to who runs a program', async () => {
    const look = 'while read k v; do case $k in Cap*) echo $k $v;; esac; done < /proc/self/status';
    for (const capabilities of [
      undefined,
      { add: [], drop: ['ALL' as const] },
      { add: [...addableCapabilities], drop: ['CHOWN' as const, 'SYS_CHROOT' as const] },
    ]) {
      const security = capabilities === undefined ? {} : { capabilities };
      const said = await says(security, look);
      for (const set of ['CapPrm', 'CapEff', 'CapBnd']) expect(said).toContain(`${set}: ${maskOf(security)}`);
      for (const set of ['CapInh', 'CapAmb']) expect(said).toContain(`${set}: ${'0'.repeat(16)}`);
    }
  });

  it('opens the sockets of NET_RAW to who has it', async () => {
    const raw = 'socket(S, 2, 3, 1) && socket(P, 17, 3, 0)';
    expect(await perlSays({}, raw)).toContain('not permitted');
    expect(await perlSays({ capabilities: { add: ['NET_RAW'], drop: [] } }, raw)).toContain('ok');
  });

  it('keeps its root as it is where that is read-only, but for what is in memory, which has a size', async () => {
    const security: ContainerSecurity = {
      readOnlyRoot: true,
      tmpfs: [
        { path: '/scratch/deep', sizeMiB: 2, mode: '0700' },
        { path: '/scratch', sizeMiB: 1, mode: '1777' },
        { path: '/dev/shm', sizeMiB: 3, mode: '1777' },
      ],
    };
    const fill = (path: string) =>
      `dd if=/dev/zero of=${path}/fill bs=64k count=256 2>/dev/null; ls -l ${path}; ls -ld ${path}`;
    const script = `(echo x > /x) 2>&1; (echo x > /etc/hosts) 2>&1; for p in /scratch /scratch/deep /dev/shm; do dd if=/dev/zero of=$p/fill bs=64k count=256 2>&1; done; ${fill('/scratch/deep')}; cat /proc/self/mountinfo`;
    const said = await says(security, script);
    expect(said.match(/Read-only file system/g)).toHaveLength(2);
    expect(said.match(/No space left on device/g)).toHaveLength(3);
    expect(said).toMatch(/2097152 .*fill/);
    expect(said).toMatch(/drwx------ .*\/scratch\/deep/);
    for (const [path, size] of [
      ['/scratch', 1],
      ['/scratch/deep', 2],
      ['/dev/shm', 3],
    ])
      expect(said).toMatch(
        new RegExp(` / ${path} rw,nosuid,nodev,noexec.* tmpfs .*size=${Number(size) * 1024}k`),
      );
  });

  it('bounds each process, and says what the host cannot give', async () => {
    const security: ContainerSecurity = {
      rlimits: {
        nofile: { soft: 77, hard: 99 },
        fsize: { soft: 1024, hard: 4096 },
        core: { soft: 0, hard: 512 },
      },
    };
    const limits = limitsIn(await says(security, 'cat /proc/self/limits'));
    expect(limits).toMatchObject({ nofile: 99, fsize: 4096, core: 512 });
    const { nofile } = hostBounds().rlimits;
    if (nofile === undefined) return; // nothing that it could not give
    const spec = lab.spec('true', { security: { rlimits: { nofile: { soft: 1, hard: nofile + 1 } } } });
    made.push(spec);
    await expect(up(runtime, spec)).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining('security.rlimits.nofile') as string,
    });
  });

  it('sets every parameter of the kernel that the model names, for itself alone', async () => {
    const pathOf = (name: string): string => join('/proc/sys', name.replaceAll('.', '/'));
    const now = Object.fromEntries(
      sysctlNames.map((name) => [name, readFileSync(pathOf(name), 'utf8').trim().replace(/\s+/g, ' ')]),
    );
    const changed = {
      'net.core.somaxconn': '321',
      'kernel.sem': '250 32000 32 128',
      'fs.mqueue.msg_max': '7',
      'net.ipv4.ip_local_reserved_ports': '8080,9000-9010',
    };
    const sysctls = Object.fromEntries(
      Object.entries({ ...now, ...changed }).filter(([, value]) => value !== ''),
    );
    const said = await says(
      { sysctls },
      Object.keys(changed)
        .map((name) => `cat ${pathOf(name)}`)
        .join(';'),
    );
    expect(said.replace(/[\t ]+/g, ' ')).toContain(`${Object.values(changed).join('\n')}\n`);
    for (const [name, value] of Object.entries(now))
      expect(readFileSync(pathOf(name), 'utf8').trim().replace(/\s+/g, ' '), name).toBe(value);
  });

  it('refuses more calls where it is strict', async () => {
    const look =
      'busybox chroot / true && echo changed root; echo x | busybox dd of=/x 2>/dev/null && echo wrote';
    expect(await says({}, look)).toMatch(/changed root\nwrote/);
    expect(await says({ seccomp: 'strict' }, look)).toMatch(/not permitted[^]*wrote/);
  });

  it('lends the devices that it names, at their paths, and opens no other', async () => {
    expect((await runtime.probe()).facts.devices).toEqual(['tun']);
    const look =
      'ls -ln /dev/net/tun; (exec 3<>/dev/net/tun) && echo opened; ls /dev/fuse 2>&1; ls /dev/net; echo end; sleep 600';
    const spec = lab.spec(look, { devices: ['tun'] });
    made.push(spec);
    await up(runtime, spec);
    const said = await logUntil(runtime, spec, 'end\n');
    expect(said).toMatch(
      /^crw-rw---- +1 0 +0 +10, +200 .*\/dev\/net\/tun\nopened\n.*\/dev\/fuse.*\ntun\nend\n$/,
    );
    const rules = devicesList(spec);
    if (rules !== null) {
      expect(rules).toContain('c 10:200 rw');
      expect(rules).not.toContain('c 10:229');
      expect(rules).not.toMatch(/^a /m);
    }
    // The next run has a node of its own.
    await runtime.stop(spec, 0, context());
    await runtime.start(spec, context());
    expect((await logUntil(runtime, spec, 'end\n')).match(/opened/g)?.length).toBeGreaterThan(0);
    await runtime.remove(spec, context());
    expect(lab.leftovers(spec)).toEqual([]);
  });

  it.each([
    ['other', 'offers no device other'],
    ['gone', 'is no device of this host'],
    ['file', 'is no device of this host'],
    ['constructor', 'offers no device constructor'],
  ])('does not start where it names the device %s', async (name, why) => {
    expect(devicesThere(devices)).not.toContain(name);
    const spec = lab.spec('true', { devices: [name] });
    made.push(spec);
    await expect(up(runtime, spec)).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining(why) as string,
    });
  });

  it('lets it hold containers of its own where it says so, and only there', async () => {
    const nest =
      'unshare -Urmpf sh -c "mount -t proc proc /proc && mount -t tmpfs none /tmp && echo nested \\$\\$ > /tmp/x && cat /tmp/x" 2>&1; ls /tmp';
    expect(await says({}, nest)).toMatch(/^unshare: .*not permitted\nend\n$/);
    expect(await says({ nesting: true }, nest)).toBe('nested 1\nend\n');
    // Being root of its own namespace makes it none of its container's.
    expect(await says({ nesting: true }, 'mount -t tmpfs none /tmp 2>&1; hostname other 2>&1')).toMatch(
      /denied|not permitted[^]*not permitted/,
    );
  });

  it('finds names as its spec says, else as its network has it', async () => {
    const look = 'cat /etc/hosts /etc/resolv.conf';
    const own = await says({}, look);
    expect(own).toMatch(/\nsearch default\.test\..*\nnameserver 10\.[0-9.]+\nend\n$/);
    const dns = {
      servers: ['9.9.9.9', '2001:db8::53'],
      search: ['example.net', 'lan'],
      options: ['ndots:2', 'rotate'],
      hosts: [{ address: '10.9.8.7', names: ['db', 'db.example.net'] }],
    };
    const said = await says({}, look, { dns });
    expect(said).toContain('\n10.9.8.7\tdb db.example.net\n');
    expect(said).toContain(
      '\nsearch example.net lan\nnameserver 9.9.9.9\nnameserver 2001:db8::53\noptions ndots:2 rotate\nend\n',
    );
    // What is not said stays as it was.
    expect(await says({}, look, { dns: { search: [] } })).not.toContain('search');
  });

  it('keeps its users over runs and lives of the agent, and tells them', async () => {
    const spec = lab.spec('cat /proc/self/uid_map; sleep 600');
    const other = lab.spec('sleep 600');
    made.push(spec, other);
    await up(runtime, spec);
    const { uidRange } = (await find(runtime, spec)) ?? {};
    expect(uidRange?.count).toBe(65_536);
    const log = await logUntil(runtime, spec, '\n');
    expect(log.trim().split(/\s+/)).toEqual(['0', String(uidRange?.first), '65536']);
    await runtime.stop(spec, 0, context());
    expect((await find(lab.runtime(), spec))?.uidRange).toEqual(uidRange);
    await runtime.remove(spec, context());
    const next = { ...spec, epoch: 2 };
    made.push(next);
    await up(lab.runtime(), next);
    expect((await find(runtime, next))?.uidRange).toEqual(uidRange);
    await up(runtime, other);
    expect((await find(runtime, other))?.uidRange?.first).not.toBe(uidRange?.first);
  });

  it('leaves a program with its three descriptors, whatever the agent has open', async () => {
    const spec = lab.spec('echo end; sleep 600');
    made.push(spec);
    const pid = await up(runtime, spec);
    await logUntil(runtime, spec, 'end\n');
    expect(readdirSync(`/proc/${pid}/fd`).sort()).toEqual(['0', '1', '2']);
  });
});
