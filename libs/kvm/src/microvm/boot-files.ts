import { createHash, randomBytes } from 'node:crypto';
import { chmod, copyFile, mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { atomicTemporaryOf, hasCode, syncPath, writeFileAtomic } from '@berth/linux';
import { RuntimeError } from '@berth/runtime';
import { z } from 'zod';

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

/** Tells which files here are those of which build. */
const REMEMBERED = 'of-build.json';
const Remembered = z.object({
  build: z.string(),
  names: z.tuple([
    z.string().regex(/^kernel-[0-9a-f]{32}$/),
    z.string().regex(/^initrd-[0-9a-f]{32}$/),
    z.string().regex(/^root\.ext4-[0-9a-f]{32}$/),
  ]),
});

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
    const names = (await this.#remembered(key)) ?? (await this.#taken(key));
    const [kernel, initrd, blank] = names.map((name) => join(this.dir, name));
    const files = { kernel, initrd, blank, abilities: await this.#abilities() } as BootFiles;
    this.#known = { key, files };
    return files;
  }

  /** Names of the files of this build here, if an agent took them before: to find them by content is to read all of it. */
  async #remembered(key: string): Promise<readonly string[] | null> {
    try {
      const { build, names } = Remembered.parse(
        JSON.parse(await readFile(join(this.dir, REMEMBERED), 'utf8')),
      );
      const there = await Promise.all(names.map((name) => isThere(join(this.dir, name))));
      return build === key && there.every(Boolean) ? names : null;
    } catch (error) {
      // Made anew, then.
      if (hasCode(error, 'ENOENT') || error instanceof SyntaxError || error instanceof z.ZodError)
        return null;
      throw error;
    }
  }

  async #taken(key: string): Promise<readonly string[]> {
    const names = await Promise.all([this.#kept(KERNEL), this.#kept(INITRD), this.#kept(BLANK)]);
    // A build that came meanwhile may have put one of its own among them.
    if ((await this.#key()) === key) {
      const known = { build: key, names } satisfies z.input<typeof Remembered>;
      await writeFileAtomic(join(this.dir, REMEMBERED), JSON.stringify(known), { mode: 0o600 });
    }
    return names;
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
      if (old || name.startsWith('.work-') || atomicTemporaryOf(name) === REMEMBERED)
        await rm(path, { force: true });
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
    const kept = `${name}-${hash}`;
    const path = join(this.dir, kept);
    if (await isThere(path)) return kept;
    const work = join(this.dir, `.work-${randomBytes(8).toString('hex')}`);
    await copyFile(from, work);
    await chmod(work, 0o444);
    await rename(work, path);
    await syncPath(this.dir);
    return kept;
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
