import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
const fixtures = join(import.meta.dirname, 'fixtures');

interface Report {
  readonly testResults: readonly { name: string; status: string; message: string }[];
}

/** What vitest said of each fixture, by its name. They run on a test machine inside ours, which ends with all they left. */
async function reports(): Promise<Map<string, { status: string; message: string }>> {
  const vitest = join(root, 'node_modules/vitest/vitest.mjs');
  const config = join(fixtures, 'vitest.config.ts');
  const command = [process.execPath, vitest, 'run', '--config', config, '--reporter=json'];
  const env = { ...process.env, BERTH_TEST_ALONE: '1', BERTH_LEAK_SETTLE_MS: '300', TMPDIR: '/tmp' };
  const stdout = await new Promise<string>((resolve, reject) =>
    execFile(
      join(root, 'tools/test/machine'),
      ['env', 'TMPDIR=/.machine', ...command],
      { cwd: root, env, maxBuffer: 2 ** 24 },
      // Vitest fails, as it should.
      (error, out, err) =>
        out.includes('testResults') ? resolve(out) : reject(new Error(err, { cause: error })),
    ),
  );
  const { testResults } = JSON.parse(stdout.slice(stdout.indexOf('{'))) as Report;
  return new Map(testResults.map((file) => [relative(fixtures, file.name).replace('.leaky.ts', ''), file]));
}

let said: Awaited<ReturnType<typeof reports>>;
beforeAll(async () => void (said = await reports()), 120_000);

/** By fixture: each line that must be in what its file fails with. */
const seen: Readonly<Record<string, readonly RegExp[]>> = {
  link: [
    /left in links: leaky0$/m,
    /left in addresses: 10\.99\.0\.1\/24 on leaky0/,
    /left in routes: .*10\.99\.0\.0/,
  ],
  gone: [/gone from addresses: 127\.0\.0\.1\/8 on lo/],
  nft: [/left in nft rules: table inet leaky, chain in, tcp dport 9 drop/],
  mount: [/left in mounts: \/tmp\/leaky-mount \(tmpfs leaky/, /left in files: \/tmp\/leaky-mount$/m],
  namespace: [
    /left in mounts: \/run\/netns\/leaky-pin \(namespace net:/,
    /left in namespaces: uts:\[\d+\], in which \d+ is/,
  ],
  cgroup: [/left in cgroups: \/sys\/fs\/cgroup\/\S*leaky\/group/],
  child: [/left in processes: \d+ sleep 1001 \(child of this worker\)/],
  orphan: [
    /left in processes: \d+ sleep 1002 \(taken over by init\)/,
    /left in processes: \d+ \(a zombie\) sleep \(child of \d+\)/,
  ],
  domain: [/left in domains: \/etc\/libvirt\/qemu\/leaky\.xml/],
  key: [/left in keys: key \S+ user leaky:key/],
  socket: [
    /left in listening sockets: tcp 127\.0\.0\.1:9001/,
    /left in listening sockets: unix @leaky-abstract/,
    /left in listening sockets: udp 127\.0\.0\.1:9002/,
    /left in open descriptors: \d+ -> socket:/,
  ],
  loop: [/left in loop devices: \/dev\/loop\d+ \(\/tmp\/leaky-disk\)/],
  files: [
    ...['/tmp/leaky-dir', '/tmp/leaky-dir/below', '/var/tmp/leaky', '/run/leaky', '/dev/shm/leaky'],
    ...['/var/lib/berth/leaky', '/etc/hosts', '/etc/debian_version'],
  ].map((path) => new RegExp(`left in files: ${path}$`, 'm')),
  descriptor: [/left in open descriptors: \d+ -> \/etc\/hostname/],
};

describe('a test file', () => {
  it.each(Object.entries(seen))('fails for what it leaves, which is named: %s', (fixture, wanted) => {
    const file = said.get(fixture);
    expect(file?.status).toBe('failed');
    expect(file?.message).toContain(`tests/leaks/fixtures/${fixture}.leaky.ts left its machine changed`);
    for (const line of wanted) expect(file?.message).toMatch(line);
  });

  it.each(['clean', 'settles'])('passes when all it did is undone, or ends by itself soon: %s', (fixture) => {
    expect(said.get(fixture)).toMatchObject({ status: 'passed' });
  });

  it('is what every fixture here is', () => {
    const names = readdirSync(fixtures).filter((name) => name.endsWith('.leaky.ts'));
    expect(names.map((name) => name.replace('.leaky.ts', '')).sort()).toEqual(
      [...Object.keys(seen), 'clean', 'settles'].sort(),
    );
  });
});
