import { readFile, stat } from 'node:fs/promises';
import { bootId, writeFileAtomic } from '@berth/linux';
import { z } from 'zod';

const PROGRAM = '/usr/bin/qemu-system-x86_64';
/** Devices and displays that packages add to it, by Debian's layout. */
const MODULES = '/usr/lib/x86_64-linux-gnu/qemu';

const Kept = z.object({ version: z.literal(1), on: z.string(), answers: z.record(z.string(), z.unknown()) });

/**
 * What the QEMU of this host says of itself. It takes a tenth of a second of processor time to begin, and an agent has half a dozen
 * questions each time it starts, so each is asked once as long as QEMU, its modules and the boot are the same. One for all drivers of a host.
 */
export class QemuAnswers {
  #on = '';
  #kept: Promise<Record<string, unknown>> = Promise.resolve({});
  readonly #asked = new Map<string, Promise<unknown>>();
  #written: Promise<unknown> = Promise.resolve();

  /** @param path of the file that keeps them for later agents of this boot; null keeps them as long as this object */
  constructor(private readonly path: string | null) {}

  /**
   * The answer to a question, which `ask` finds out unless it is known.
   *
   * @param schema what an answer is; one that was kept and is something else is asked again
   * @throws whatever `ask` throws; that is not kept, and the next one asks again
   */
  async once<T>(question: string, schema: z.ZodType<T>, ask: () => Promise<T>): Promise<T> {
    const on = await circumstances();
    if (on !== this.#on) {
      this.#on = on;
      this.#asked.clear();
      this.#kept = this.#read(on);
    }
    const known = this.#asked.get(question) as Promise<T> | undefined;
    if (known !== undefined) return known;
    const answer = this.#answered(on, question, schema, ask);
    this.#asked.set(question, answer);
    answer.catch(() => {
      if (this.#asked.get(question) === answer) this.#asked.delete(question);
    });
    return answer;
  }

  async #answered<T>(on: string, question: string, schema: z.ZodType<T>, ask: () => Promise<T>): Promise<T> {
    const kept = await this.#kept;
    const before = schema.safeParse(kept[question]);
    if (before.success) return before.data;
    const answer = await ask();
    kept[question] = answer;
    const { path } = this;
    // Without the file a later agent asks for itself.
    if (path !== null)
      this.#written = this.#written
        .then(() => writeFileAtomic(path, JSON.stringify({ version: 1, on, answers: kept }), { mode: 0o600 }))
        .catch(() => undefined);
    return answer;
  }

  /** Resolves when what is known so far is in the file. */
  async written(): Promise<void> {
    await this.#written;
  }

  async #read(on: string): Promise<Record<string, unknown>> {
    if (this.path === null) return {};
    try {
      const kept = Kept.parse(JSON.parse(await readFile(this.path, 'utf8')));
      return kept.on === on ? kept.answers : {};
    } catch {
      return {}; // absent or damaged: it is asked again
    }
  }
}

/** For who keeps no answers. */
export const answersOfProcess = new QemuAnswers(null);

/** What QEMU's answers, and what was measured of it, hold for: a new boot may have another kernel, and a new QEMU other faults. */
export async function circumstances(): Promise<string> {
  const times = await Promise.all(
    [PROGRAM, MODULES].map((path) =>
      stat(path).then(
        ({ ino, size, mtimeMs }) => `${ino}-${size}-${mtimeMs}`,
        () => 'none',
      ),
    ),
  );
  return [bootId(), ...times].join(' ');
}
