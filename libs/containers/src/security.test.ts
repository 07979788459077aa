import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { addableCapabilities, capabilitiesOf, type ContainerSecurity, sysctlNames } from '@berth/model';
import { CAPABILITIES } from '@berth/linux';
import type { WorkloadSpec } from '@berth/runtime';
import type { OciContent } from '@berth/images';
import { hostBounds, limitsIn } from './isolation/privileges.js';
import { ContainerLab, context } from './testing/container-lab.js';
import { perlLayer } from './testing/hostile-image.js';
import { logUntil, up } from './testing/workload-steps.js';

/** What `security` of a spec gives to a real container and takes from it, as seen from inside. */
const lab = new ContainerLab();
const runtime = lab.runtime();
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

  it('leaves a program with its three descriptors, whatever the agent has open', async () => {
    const spec = lab.spec('echo end; sleep 600');
    made.push(spec);
    const pid = await up(runtime, spec);
    await logUntil(runtime, spec, 'end\n');
    expect(readdirSync(`/proc/${pid}/fd`).sort()).toEqual(['0', '1', '2']);
  });
});
