import { createHash, randomBytes } from 'node:crypto';
import { chmod, copyFile, mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode, syncPath } from '@berth/linux';
import { RuntimeError } from '@berth/runtime';

/** What every microVM of this host boots. */
export interface BootFiles {
  readonly kernel: string;
  readonly initrd: string;
  /** An empty file system, raw: what a writable layer begins as. */
  readonly blank: string;
  /** What its first process can do beyond what the first one of all could. */
  readonly abilities: ReadonlySet<string>;
}

const KERNEL = 'kernel';
const INITRD = 'initrd';
const BLANK = 'root.ext4';
const ABILITIES = 'abilities';

/**
 * The files that tools/microvm/build makes, as this host keeps them, each below a name by its content: where they were built
 * QEMU's users may not come, and the next build puts others there. Layers stand on `blank` for good, so that one never goes.
 */
export class BootFilesStore {
  #known: { readonly key: string; readonly files: BootFiles } | null = null;

  /** @param source directory with a build @param dir where they are kept */
  constructor(
    private readonly source: string,
    private readonly dir: string,
  ) {}

  /** Copies them here, if that is still to be done. @throws RuntimeError hostFault where there is no build */
  async ensure(): Promise<BootFiles> {
    const key = await this.#key();
    if (this.#known?.key === key) return this.#known.files;
    await mkdir(this.dir, { recursive: true, mode: 0o711 });
    const [kernel, initrd, blank] = await Promise.all(
      [KERNEL, INITRD, BLANK].map((name) => this.#kept(name)),
    );
    const files = { kernel, initrd, blank, abilities: await this.#abilities() } as BootFiles;
    this.#known = { key, files };
    return files;
  }

  /** Sweeps kernels of earlier builds and what a crash left half-copied. Nothing starts meanwhile. */
  async clean(): Promise<void> {
    const names = await readdir(this.dir).catch((error: unknown) => {
      if (hasCode(error, 'ENOENT')) return [];
      throw error;
    });
    const { kernel, initrd } = await this.ensure().catch(() => ({ kernel: null, initrd: null }));
    for (const name of names) {
      const path = join(this.dir, name);
      const old =
        /^(vmlinuz|kernel|initrd)-/.test(name) && kernel !== null && path !== kernel && path !== initrd;
      if (old || name.startsWith('.work-')) await rm(path, { force: true });
    }
  }

  async #key(): Promise<string> {
    try {
      return await readFile(join(this.source, 'key'), 'utf8');
    } catch (cause) {
      if (!hasCode(cause, 'ENOENT', 'ENOTDIR')) throw cause;
      throw new RuntimeError('hostFault', `there is no microVM kernel in ${this.source}`, {
        cause,
        remedy: 'run ./berth up once, which builds it, or tools/microvm/build',
      });
    }
  }

  /** None of a build of before. */
  async #abilities(): Promise<ReadonlySet<string>> {
    try {
      return new Set((await readFile(join(this.source, ABILITIES), 'utf8')).trim().split(/\s+/));
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return new Set();
      throw error;
    }
  }

  async #kept(name: string): Promise<string> {
    const from = join(this.source, name);
    const hash = createHash('sha256')
      .update(await readFile(from))
      .digest('hex')
      .slice(0, 32);
    const path = join(this.dir, `${name}-${hash}`);
    if (await isThere(path)) return path;
    const work = join(this.dir, `.work-${randomBytes(8).toString('hex')}`);
    await copyFile(from, work);
    await chmod(work, 0o444);
    await rename(work, path);
    await syncPath(this.dir);
    return path;
  }
}

async function isThere(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return false;
    throw error;
  }
}
