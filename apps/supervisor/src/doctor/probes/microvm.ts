import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { MicrovmFindings } from '../microvm.js';

/** What tools/microvm/build makes, and what from: `./berth` looks at the same times before it builds. */
const outputs = ['kernel', 'initrd', 'root.ext4', 'key'];
const sources = ['tools/microvm', 'tools/kernel.sh', 'libs/kvm/guest-init'];
const repository = fileURLToPath(new URL('../../../../../', import.meta.url));

/** The directory that an agent of this machine boots microVMs from, and how what lies there compares with its sources. */
export async function microvmFindings(
  dir = process.env['BERTH_MICROVM_DIR'] ?? join(repository, '.berth/microvm'),
  home = repository,
): Promise<MicrovmFindings> {
  return { dir, boot: await bootOf(dir, home) };
}

async function bootOf(dir: string, home: string): Promise<MicrovmFindings['boot']> {
  try {
    const made = await Promise.all(outputs.map((name) => stat(join(dir, name))));
    if (made.some(({ size }) => size === 0)) return 'missing';
    const built = made.at(-1)!.mtimeMs;
    const changed = await Promise.all(sources.map((name) => newest(join(home, name))));
    if (changed.some((time) => time > built)) return 'stale';
    return (await isElf(join(dir, 'kernel'))) ? 'ready' : 'packed';
  } catch {
    return 'missing';
  }
}

/** When a file, or the latest of a directory's and the directory itself, was last changed; 0 where there is none. */
async function newest(path: string): Promise<number> {
  const names = await readdir(path).catch(() => []);
  const times = [path, ...names.map((name) => join(path, name))].map((one) =>
    stat(one).then(
      ({ mtimeMs }) => mtimeMs,
      () => 0,
    ),
  );
  return Math.max(...(await Promise.all(times)));
}

async function isElf(path: string): Promise<boolean> {
  const file = await open(path);
  try {
    const { buffer } = await file.read(Buffer.alloc(4), 0, 4, 0);
    return buffer.toString('latin1') === '\x7fELF';
  } finally {
    await file.close();
  }
}
