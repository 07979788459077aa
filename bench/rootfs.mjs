// The root file system of the sample image, as a folder and as a tar, for peers that take no OCI archive.
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './programs.mjs';

/** What a container runs: it waits, and ends at once when it is asked to, so that a round is soon over. */
export const idle = ['/bin/busybox', 'sh', '-c', "trap 'exit 0' TERM; /bin/busybox sleep 86400 & wait"];

export async function rootfsMake(dir, archive) {
  const [layout, rootfs, rootfsTar] = ['oci', 'rootfs', 'rootfs.tar'].map((name) => join(dir, name));
  for (const folder of [layout, rootfs]) mkdirSync(folder, { mode: 0o755 });
  await run('tar', ['-xf', archive, '-C', layout]);
  const blob = (digest) => join(layout, 'blobs', ...digest.split(':'));
  const { manifests } = JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8'));
  const { layers } = JSON.parse(readFileSync(blob(manifests[0].digest), 'utf8'));
  for (const { digest } of layers) await run('tar', ['-xf', blob(digest), '-C', rootfs]);
  for (const folder of ['proc', 'sys', 'dev', 'tmp', 'etc'])
    mkdirSync(join(rootfs, folder), { recursive: true });
  await run('tar', ['-C', rootfs, '-cf', rootfsTar, '.']);
  return { rootfs, rootfsTar };
}
