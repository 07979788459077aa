import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { syncPath, writeFileAtomic } from '@berth/linux';
import { Digest, ImageContent } from '@berth/model';
import type { AgentLog } from './log.js';

/** What each image on this host is made of, by digest: one file per image, kept until the image is removed. */
export class ImageRecords {
  private readonly records = new Map<Digest, ImageContent>();

  private constructor(private readonly dir: string) {}

  /** Reads them; a damaged one is as good as none, and is written again when its image is used next. */
  static async open(dir: string, log: AgentLog): Promise<ImageRecords> {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    const made = new ImageRecords(dir);
    for (const name of await readdir(dir)) {
      if (!name.endsWith('.json')) continue;
      try {
        const image = ImageContent.parse(JSON.parse(await readFile(join(dir, name), 'utf8')));
        if (fileOf(image.digest) === name) made.records.set(image.digest, image);
      } catch (err) {
        log.warn({ err, name }, 'the record of an image is damaged');
      }
    }
    return made;
  }

  all(): readonly ImageContent[] {
    return [...this.records.values()];
  }

  get(digest: Digest): ImageContent | null {
    return this.records.get(digest) ?? null;
  }

  async keep(image: ImageContent): Promise<void> {
    if (this.records.has(image.digest)) return;
    this.records.set(image.digest, image);
    await writeFileAtomic(join(this.dir, fileOf(image.digest)), JSON.stringify(image));
  }

  async remove(digest: Digest): Promise<void> {
    this.records.delete(digest);
    await rm(join(this.dir, fileOf(digest)), { force: true });
    await syncPath(this.dir);
  }
}

/** Parsed again at this border: the hex becomes a file name. */
const fileOf = (digest: Digest): string => `${Digest.parse(digest).slice('sha256:'.length)}.json`;
