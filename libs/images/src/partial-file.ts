import { type FileHandle, mkdir, open, readFile, rm, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomic } from '@berth/linux';
import { z } from 'zod';

const State = z.strictObject({
  /** What says that the content is still the same (If-Range); null: it cannot be gone on with. */
  validator: z.string().nullable(),
  totalBytes: z.int().nullable(),
  /** This much is on disk, whatever happens to the machine. */
  syncedBytes: z.int(),
  done: z.boolean(),
});
type State = z.infer<typeof State>;

const nothing: State = { validator: null, totalBytes: null, syncedBytes: 0, done: false };

/**
 * A file on its way in, with what is needed to go on after a kill or a power cut: `content` and `state.json` in a
 * directory of its own. What is beyond the last checkpoint is forgotten. Once it is done it never changes again, since it
 * may be linked to from elsewhere by then.
 */
export class PartialFile {
  private file: FileHandle | null = null;
  private written: number;

  private constructor(
    readonly path: string,
    private readonly stateFile: string,
    private state: State,
  ) {
    this.written = state.syncedBytes;
  }

  static async open(dir: string): Promise<PartialFile> {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    const path = join(dir, 'content');
    const stateFile = join(dir, 'state.json');
    const state = await stateRead(stateFile);
    const sizeBytes = await stat(path).then(
      (found) => found.size,
      () => -1,
    );
    const kept = state !== null && sizeBytes >= state.syncedBytes ? state : nothing;
    return new PartialFile(path, stateFile, kept);
  }

  get bytes(): number {
    return this.written;
  }
  get totalBytes(): number | null {
    return this.state.totalBytes;
  }
  get validator(): string | null {
    return this.state.validator;
  }
  get done(): boolean {
    return this.state.done;
  }

  /** Begins with nothing, in a file of its own. */
  async restart(validator: string | null, totalBytes: number | null): Promise<void> {
    await this.close();
    await rm(this.stateFile, { force: true });
    await rm(this.path, { force: true });
    this.state = { ...nothing, validator, totalBytes };
    this.written = 0;
    this.file = await open(this.path, 'wx', 0o600);
  }

  /** Goes on after the last checkpoint. */
  async resume(): Promise<void> {
    await this.close();
    this.written = this.state.syncedBytes;
    await truncate(this.path, this.written);
    this.file = await open(this.path, 'r+');
  }

  async append(chunk: Uint8Array): Promise<void> {
    if (this.file === null) throw new Error('the file is not open');
    for (let at = 0; at < chunk.length;) {
      const { bytesWritten } = await this.file.write(chunk, at, chunk.length - at, this.written);
      at += bytesWritten;
      this.written += bytesWritten;
    }
  }

  /** What has been written is kept from here on. */
  async checkpoint(): Promise<void> {
    await this.file?.sync();
    await this.keep({ ...this.state, syncedBytes: this.written });
  }

  async finish(): Promise<void> {
    await this.file?.sync();
    await this.keep({ ...this.state, syncedBytes: this.written, done: true });
    await this.close();
  }

  async close(): Promise<void> {
    const { file } = this;
    this.file = null;
    await file?.close();
  }

  private async keep(state: State): Promise<void> {
    await writeFileAtomic(this.stateFile, JSON.stringify(state));
    this.state = state;
  }
}

async function stateRead(path: string): Promise<State | null> {
  try {
    const parsed = State.safeParse(JSON.parse(await readFile(path, 'utf8')));
    return parsed.success ? parsed.data : null;
  } catch {
    // Absent, or half a file of an older release: then from the beginning.
    return null;
  }
}
