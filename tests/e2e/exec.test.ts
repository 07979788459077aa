import { execFile, spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Registry, registryUser } from '../support/registry.js';
import { Berth, output, patience, until } from './berth.js';
import { samples } from './machine.js';

/*
 * Real containers, by runc: `berth exec` in one whose image was pulled from a registry that wants a password, and a Debian whose
 * first process is systemd.
 */
const command = fileURLToPath(new URL('../../apps/cli/dist/main.js', import.meta.url));

let berth: Berth;
let env: NodeJS.ProcessEnv;
beforeAll(async () => {
  const images = await samples();
  berth = await Berth.up(1, {
    env: () => ({ BERTH_INSECURE_REGISTRIES: '127.0.0.1', BERTH_DEVICES: 'tun=/dev/net/tun' }),
  });
  const token = readFileSync(join(berth.root, 'etc/berth/admin-token'), 'utf8').trim();
  env = { ...process.env, BERTH_API: berth.base, BERTH_TOKEN: token, BERTH: command, NODE: process.execPath };
  const registry = await Registry.start({ signIn: true });
  try {
    await registry.push(`oci-archive:${images.container}`, 'samples/busybox:1');
    await berth.ok('PATCH', '/v1/projects/default', { imageSources: { privateAddresses: true } });
    const { username, password } = registryUser;
    const source = `docker://${registry.domain}/samples/busybox:1`;
    const pulled = await run(
      `printf ${password} | $NODE $BERTH image import ${source} --name busybox --username ${username} --password-stdin`,
    );
    expect(pulled).toMatchObject({ code: 0, out: expect.stringMatching(/^busybox: oci, sha256:/) });
  } finally {
    await registry.stop();
  }
  await berth.create('box', {
    isolation: 'container',
    image: 'busybox',
    memoryMiB: 64,
    rootDisk: { sizeMiB: 16 },
    process: { command: ['sleep', '1000000'] },
  });
  await berth.state('box', 'running');
}, 300_000);
afterAll(() => berth?.down(), 120_000);

/** For what a command line is asked again and again: each is a process. */
const slowly = { timeout: 30_000, interval: 500 };

/** A line of bash, in which `$NODE $BERTH` is the command. */
function run(line: string): Promise<{ code: number; out: string; err: string }> {
  return new Promise((resolve) =>
    execFile('bash', ['-c', line], { env, timeout: 60_000 }, (error, out, err) =>
      resolve({ code: error === null ? 0 : Number(error.code), out, err }),
    ),
  );
}

it('keeps outputs apart, passes the exit code, input, environment and directory', async () => {
  const said = await run(
    `$NODE $BERTH exec -e A=b -w /tmp box -- sh -c 'echo "$A $PWD $(hostname)"; echo bad >&2; exit 7'`,
  );
  expect(said).toEqual({ code: 7, out: 'b /tmp box\n', err: 'bad\n' });
  const piped = await run(
    'head -c 3000000 /dev/zero | tee >(sha256sum >&2) | $NODE $BERTH exec -i box -- sha256sum',
  );
  expect([piped.code, piped.out]).toEqual([0, piped.err]);
});

it('-it is a terminal of the size of this one', async () => {
  const line = 'stty cols 90 rows 33; "$NODE" "$BERTH" exec -it box -- sh';
  const shell = spawn('script', ['-qefc', line, '/dev/null'], { env: { ...env, SHELL: '/bin/bash' } });
  let out = '';
  shell.stdout.on('data', (bytes: Buffer) => (out += bytes.toString()));
  const closed = new Promise((resolve) => shell.once('close', resolve));
  await expect.poll(() => out, { timeout: 30_000 }).toMatch(/[#$] /);
  shell.stdin.write('tty; stty size; echo $((6 * 7)); exit 5\r');
  expect(await closed).toBe(5);
  expect(out).toMatch(/\/dev\/(pts\/\d+|console)/);
  expect(out).toMatch(/^33 90\r$/m);
  expect(out).toMatch(/^42\r$/m);
  // What comes from inside is shown as it is.
  expect(out).not.toContain('\r\r');
});

it('is secured as its spec says, also who is put into it, and a change of that waits for the next start', async () => {
  await berth.create('tight', {
    isolation: 'container',
    image: 'busybox',
    memoryMiB: 64,
    rootDisk: { sizeMiB: 16 },
    process: { command: ['sleep', '1000000'] },
    security: {
      readOnlyRoot: true,
      tmpfs: [{ path: '/scratch', sizeMiB: 1 }],
      rlimits: { nofile: { soft: 77, hard: 99 } },
      capabilities: { drop: ['ALL'] },
    },
    resources: { pids: 64 },
  });
  await berth.state('tight', 'running');
  const look =
    "ulimit -n; touch /x || touch /scratch/x && echo kept; grep CapEff /proc/self/status | tr -d '\\t'";
  const said = await run(`$NODE $BERTH exec tight -- sh -c "${look}"`);
  expect(said).toMatchObject({ code: 0, out: '77\nkept\nCapEff:0000000000000000\n' });
  expect((await run('$NODE $BERTH describe instance tight')).out).toMatch(
    /Security: +read-only root, -ALL, \/scratch/,
  );
  expect((await run('$NODE $BERTH update tight --set spec.security.readOnlyRoot=false')).code).toBe(0);
  await expect
    .poll(async () => (await berth.get('tight')).status.conditions.map((c) => c.message), { timeout: 30_000 })
    .toContainEqual(expect.stringContaining('takes effect at the next start: security'));
  // Its bounds change while it runs; what its host cannot give is refused.
  const pids = '$NODE $BERTH exec tight -- cat /sys/fs/cgroup/pids/pids.max';
  expect((await run(pids)).out).toBe('64\n');
  expect((await run('$NODE $BERTH update tight --set spec.resources.pids=32')).code).toBe(0);
  expect((await run(pids)).out).toBe('32\n');
  const refused = await run('$NODE $BERTH update tight --set spec.resources.cpus=0-4000');
  expect(refused.err).toMatch(/it has no processor .*those that containers may have are 0/);

  // One of its processes goes for want of memory; it goes on, and says so.
  const hog = "$NODE $BERTH exec tight -- sh -c 'x=0123456789abcdef; while :; do x=$x$x; done'";
  expect((await run(hog)).code).toBe(137);
  const told = { timeout: 30_000, interval: 200 };
  await expect
    .poll(async () => (await berth.get('tight')).status.conditions.map((c) => c.message), told)
    .toContainEqual(
      expect.stringMatching(/want of memory: its limit is 64 MiB, and the most that it held was/),
    );
  expect((await berth.get('tight')).status).toMatchObject({ run: 1, epoch: 1, state: 'running' });
  expect((await run('$NODE $BERTH describe instance tight')).out).toMatch(/Resources: +32 processes/);
  await berth.delete('tight');
});

it('has secrets in memory alone, and their new values while it runs; what is its environment waits for the next start', async () => {
  const put = (name: string, value: string) => run(`printf ${value} | $NODE $BERTH secret set ${name} -`);
  for (const [name, value] of [
    ['token', 'token-one-xyzzy'],
    ['password', 'password-one-xyzzy'],
    ['unused', 'unused-xyzzy'],
  ] as const)
    expect(await put(name, value)).toMatchObject({ code: 0 });
  await berth.create('keeper', {
    isolation: 'container',
    image: 'busybox',
    memoryMiB: 64,
    rootDisk: { sizeMiB: 16 },
    process: { command: ['sleep', '1000000'] },
    stopGraceSeconds: 0,
    secrets: [{ name: 'token' }, { name: 'password', env: 'PASSWORD' }],
  });
  await berth.state('keeper', 'running');
  const look = async () =>
    (await run(`$NODE $BERTH exec keeper -- sh -c 'echo "$(cat /run/secrets/token) $PASSWORD"'`)).out;
  expect(await look()).toBe('token-one-xyzzy password-one-xyzzy\n');
  expect((await run('$NODE $BERTH describe instance keeper')).out).toMatch(
    /Secrets: +token in \/run\/secrets\/token, password as \$PASSWORD/,
  );
  // Databases, journals, reports, logs and whatever else this Berth keeps: none of its files has a value.
  const found = await run(`find ${berth.root} -xdev -type f -exec grep -l xyzzy {} +`);
  expect(found.out).toBe('');
  await put('token', 'token-two-xyzzy');
  await expect.poll(look, slowly).toBe('token-two-xyzzy password-one-xyzzy\n');
  expect((await berth.get('keeper')).status.conditions).toEqual([]);
  await put('password', 'password-two-xyzzy');
  await expect
    .poll(async () => (await berth.get('keeper')).status.conditions.map((c) => c.message), {
      timeout: 30_000,
    })
    .toContainEqual(expect.stringContaining('secrets (a new value of password)'));
  const refused = await run('$NODE $BERTH secret rm token');
  expect(refused).toMatchObject({ code: 5, err: expect.stringContaining('keeper') });
  expect((await run('$NODE $BERTH restart keeper')).code).toBe(0);
  await berth.state('keeper', 'running');
  await expect.poll(look, slowly).toBe('token-two-xyzzy password-two-xyzzy\n');
  await berth.delete('keeper');
  expect(await run('$NODE $BERTH secret rm token password unused')).toMatchObject({ code: 0 });
});

it('has a volume at a path, which outlives it and is refused to machines, as their disks are to it', async () => {
  const line = '$NODE $BERTH';
  expect(await run(`${line} volume create files --size 16 --files`)).toMatchObject({ code: 0, err: '' });
  expect(await run(`${line} volume create disk --size 16`)).toMatchObject({ code: 0 });
  const make = (name: string, volume = 'files') =>
    berth.create(name, {
      isolation: 'container',
      image: 'busybox',
      memoryMiB: 64,
      rootDisk: { sizeMiB: 16 },
      process: { command: ['sleep', '1000000'] },
      stopGraceSeconds: 0,
      volumes: [{ name: volume, path: '/srv/files' }],
    });
  await expect(make('first', 'disk')).rejects.toThrow(/does not mount what machines wrote/);
  await make('first');
  await berth.state('first', 'running');
  const write = `${line} exec first -- sh -c 'echo kept > /srv/files/a; dd if=/dev/zero of=/srv/files/fill bs=1M count=64'`;
  expect((await run(write)).err).toContain('No space left on device');
  expect((await berth.get('first')).status.volumes).toMatchObject([{ name: 'files', attached: true }]);
  await expect(make('second')).rejects.toThrow(/is attached to instance/);
  // Let go of by the request, and had until it is started again.
  expect((await run(`${line} volume detach first files`)).code).toBe(0);
  expect((await berth.get('first')).status.conditions.map((c) => c.message)).toContainEqual(
    expect.stringContaining('next start: volumes'),
  );
  expect((await run(`${line} volume delete files`)).err).toContain('first');
  expect((await run(`${line} restart first`)).code).toBe(0);
  await expect
    .poll(async () => (await run(`${line} -o json get volume files`)).out, slowly)
    .toMatch(/"owner": null/);
  expect((await run(`${line} volume grow files --size 32`)).code).toBe(0);
  await make('second');
  await berth.state('second', 'running');
  const read = `${line} exec second -- sh -c 'cat /srv/files/a; dd if=/dev/zero of=/srv/files/more bs=1M count=10 2>/dev/null && echo grown'`;
  expect((await run(read)).out).toBe('kept\ngrown\n');
  for (const name of ['first', 'second']) await berth.delete(name);
  expect((await run(`${line} volume delete files disk`)).code).toBe(0);
  await expect.poll(async () => (await run(`${line} volume ls`)).out, slowly).not.toMatch(/^files /m);
  const left = await run(
    `find ${berth.root} -name layer.ext4; grep ${berth.root} /proc/self/mountinfo | grep -c srv/files`,
  );
  expect(left.out.split('\n').filter((one) => one.includes('layer.ext4'))).toHaveLength(1); // of "box"
});

it('`berth cp` copies into and out of it, without a program of it', async () => {
  const there = await run(
    'head -c 3000000 /dev/urandom | tee >(sha256sum >&2) | $NODE $BERTH cp --mode 0751 - box:/put',
  );
  expect(there.code).toBe(0);
  const [sum] = there.err.split(' ');
  const back = await run('$NODE $BERTH cp box:/put - | sha256sum');
  expect(back.out.split(' ')[0]).toBe(sum);
  const seen = await run('$NODE $BERTH exec box -- sh -c \'stat -c "%u %a" /put; sha256sum </put\'');
  expect(seen.out).toBe(`0 751\n${sum}  -\n`);
  expect(await run('$NODE $BERTH cp box:/proc/1/environ -')).toMatchObject({ code: 5, out: '' });
});

it('its probes tell whether it is ready, whatever its security groups, and end it when it is not well', async () => {
  // Nobody may connect to it.
  await berth.ok('PUT', '/v1/projects/default/securityGroups/closed', {
    rules: [{ direction: 'ingress', protocol: 'tcp', ports: { first: 1, last: 1 } }],
  });
  const serve = 'rm -f /sick; mkdir -p /www; echo yes > /www/up; exec httpd -f -p 8080 -h /www';
  await berth.create('probed', {
    isolation: 'container',
    image: 'busybox',
    memoryMiB: 64,
    rootDisk: { sizeMiB: 16 },
    nics: [{ network: 'default', securityGroups: ['closed'] }],
    process: { command: ['sh', '-c', serve] },
    restart: { policy: 'onFailure' },
    stopGraceSeconds: 0,
    probes: {
      startup: { tcp: { port: 8080 }, intervalSeconds: 1, failureThreshold: 100 },
      readiness: { http: { port: 8080, path: '/ready' }, intervalSeconds: 1, failureThreshold: 1 },
      liveness: {
        exec: { command: ['sh', '-c', 'echo unwell; test ! -e /sick'] },
        intervalSeconds: 1,
        failureThreshold: 2,
        timeoutSeconds: 60,
      },
    },
  });
  const seen = async () => (await berth.get('probed')).status;
  const types = async (): Promise<string[]> => (await seen()).conditions.map((c) => c.type).sort();
  const soon = { timeout: 60_000, interval: 200 };
  await expect.poll(types, soon).toEqual(['Healthy', 'NotReady']);
  expect((await run('$NODE $BERTH exec probed -- touch /www/ready')).code).toBe(0);
  await expect.poll(types, soon).toEqual(['Healthy', 'Ready']);
  expect((await run('$NODE $BERTH exec probed -- touch /sick')).code).toBe(0);
  await expect.poll(async () => (await seen()).run, soon).toBe(2);
  await expect.poll(types, soon).toEqual(['Healthy', 'Ready']);
  const { lastExit, state } = await seen();
  expect(lastExit).toMatchObject({
    reason: 'unhealthy',
    message: 'its liveness probe failed: exits with 1: unwell',
  });
  expect(state).toBe('running');
});

it('a Debian with systemd reaches its target, lets in by ssh through a published port, and shuts down cleanly', async () => {
  const debian = join(
    process.env['BERTH_SAMPLES'] ?? fileURLToPath(new URL('../../.berth/samples', import.meta.url)),
    'debian.oci.tar',
  );
  await berth.image('debian', 'oci', debian);
  await berth.create('machine', {
    isolation: 'container',
    system: true,
    image: 'debian',
    memoryMiB: 256,
    rootDisk: { sizeMiB: 128 },
    nics: [{ network: 'default', ports: [{ hostPort: 18_022, guestPort: 22 }] }],
    devices: ['tun'],
    dns: { hosts: [{ address: '10.9.8.7', names: ['db.example.net'] }] },
  });
  const { uuid } = await berth.state('machine', 'running', patience(60_000));
  const inside = async (line: string): Promise<string> =>
    (await run(`$NODE $BERTH exec machine -- sh -c '${line}'`)).out.trim();
  await until(
    'systemd has started all',
    patience(60_000),
    async () => (await inside('systemctl is-system-running --wait')) === 'running' || undefined,
  );
  expect(await inside('systemctl is-active default.target ssh systemd-journald systemd-logind')).toBe(
    'active\nactive\nactive\nactive',
  );
  expect(await inside('cat /etc/machine-id')).toBe(uuid.replaceAll('-', ''));
  expect(await inside('getent hosts db.example.net; test -c /dev/net/tun && echo lent')).toBe(
    '10.9.8.7        db.example.net\nlent',
  );
  // Its services are parted in its own tree of groups, whose limits it cannot change.
  expect(await inside('cat /proc/$(systemctl show -P MainPID ssh)/cgroup')).toContain(
    '0::/system.slice/ssh.service',
  );
  expect(await inside('echo 1 >/sys/fs/cgroup/cgroup.max.depth; echo $?')).not.toBe('0');
  expect(await inside('stat -f -c %T /run /tmp; grep NoNewPrivs /proc/1/status')).toMatch(
    /^tmpfs\ntmpfs\n.*0$/,
  );

  const key = join(berth.root, 'key');
  await output('ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', 'dev@laptop', '-f', key);
  expect(
    await inside(
      'useradd -m -s /bin/sh dev && install -d -o dev /home/dev/.ssh && echo "dev ALL=(ALL) NOPASSWD: ALL" >/etc/sudoers.d/dev && echo made',
    ),
  ).toBe('made');
  expect(
    (await run(`$NODE $BERTH cp --mode 0644 ${key}.pub machine:/home/dev/.ssh/authorized_keys`)).code,
  ).toBe(0);
  const ssh = ['-i', key, '-p', '18022', '-o', 'BatchMode=yes', '-o', 'StrictHostKeyChecking=no'];
  const quiet = ['-o', 'UserKnownHostsFile=/dev/null', '-o', 'LogLevel=ERROR', '-o', 'ConnectTimeout=10'];
  const look = 'hostname; id -un; sudo -n id -u; loginctl --no-legend | wc -l';
  expect(await output('ssh', ...ssh, ...quiet, 'dev@127.0.0.1', look)).toBe('machine\ndev\n0\n1\n');

  // What must be done at a shutdown is done.
  const unit = '[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=true\nExecStop=touch /srv/clean\n';
  writeFileSync(join(berth.root, 'unit'), unit);
  await run(`$NODE $BERTH cp ${join(berth.root, 'unit')} machine:/etc/systemd/system/last.service`);
  expect(await inside('systemctl daemon-reload && systemctl start last && echo started')).toBe('started');
  await berth.act('machine', 'stop');
  const { status } = await berth.state('machine', 'stopped', patience(60_000));
  expect(status.lastExit).toMatchObject({ reason: 'stopped' });
  await berth.act('machine', 'start');
  await berth.state('machine', 'running', patience(60_000));
  expect(await inside('ls /srv; cat /etc/machine-id')).toBe(`clean\n${uuid.replaceAll('-', '')}`);
  expect((await berth.get('machine')).status.uidRange).toEqual(status.uidRange);
  await berth.delete('machine');
}, 300_000);
