import { fileURLToPath } from 'node:url';
import { run } from '@berth/linux';
import type { Program, SoftwareFindings } from '../software.js';
import { read } from './attempt.js';

const packageList = fileURLToPath(new URL('../../../../../tools/packages', import.meta.url));

const commands: Readonly<Record<Program, readonly [string, ...string[]]>> = {
  qemu: [process.arch === 'arm64' ? 'qemu-system-aarch64' : 'qemu-system-x86_64', '--version'],
  libvirt: ['libvirtd', '--version'],
  runc: ['runc', '--version'],
  crun: ['crun', '--version'],
  conmon: ['conmon', '--version'],
  dnsmasq: ['dnsmasq', '--version'],
  nft: ['nft', '--version'],
};

export async function softwareFindings(): Promise<SoftwareFindings> {
  const asked = Object.entries(commands).map(async ([program, command]) => [program, await version(command)]);
  return {
    node: process.version,
    uid: process.getuid?.() ?? -1,
    packagesMissing: await packagesMissing(),
    versions: Object.fromEntries(await Promise.all(asked)) as SoftwareFindings['versions'],
  };
}

/** The first number with a point in what it says; null where it cannot be run. */
async function version([command, ...args]: readonly [string, ...string[]]): Promise<string | null> {
  try {
    const { stdout } = await run(command, args, { timeoutMs: 10_000 });
    return /\d+\.\d+\S*/.exec(stdout)?.[0] ?? null;
  } catch {
    return null;
  }
}

async function packagesMissing(): Promise<string[]> {
  const wanted = (read(packageList) ?? '')
    .split('\n')
    .map((l) => l.replace(/#.*/, '').trim())
    .filter((l) => l !== '');
  const format = ['-W', '-f', '${db:Status-Status} ${Package}\n', ...wanted];
  // dpkg-query fails when it does not know a package, and still prints the others.
  const { stdout } = await run('dpkg-query', format).catch((error: { stdout?: string }) => ({
    stdout: error.stdout ?? '',
  }));
  const installed = new Set(
    stdout
      .split('\n')
      .filter((l) => l.startsWith('installed '))
      .map((l) => l.slice(10)),
  );
  return wanted.filter((p) => !installed.has(p));
}
