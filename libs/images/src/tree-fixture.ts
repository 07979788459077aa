import { createHash } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Everything that can be seen of a tree, but where its links lie on the disk.
 * @param shift of its owners
 */
export function seen(root: string, shift: number): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  const inodes = new Map<string, string>();
  const walk = (path: string): void => {
    for (const name of readdirSync(join(root, path)).sort()) {
      const at = join(path, name);
      const s = lstatSync(join(root, at), { bigint: true });
      const first = inodes.get(String(s.ino)) ?? at;
      inodes.set(String(s.ino), first);
      const content = s.isFile()
        ? createHash('sha256')
            .update(readFileSync(join(root, at)))
            .digest('hex')
        : s.isSymbolicLink()
          ? readlinkSync(join(root, at))
          : null;
      // Unpacking rounds what is less than a second by Node's own reckoning.
      const time = s.mtimeNs / 1_000_000_000n;
      const owner = [Number(s.uid) - shift, Number(s.gid) - shift];
      found[at] = [s.mode.toString(8), owner, s.isDirectory() ? null : s.size, time, content, first];
      if (s.isDirectory()) walk(at);
    }
  };
  walk('/');
  return found;
}
