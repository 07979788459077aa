import { mkdir, readFile, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { hasCode, writeFileAtomic } from '@berth/linux';
import { keyText, type WorkloadKey } from '@berth/runtime';
import { z } from 'zod';

type Values<V> = Readonly<Record<string, V>>;

/** One value for each epoch of this host that has one, in a small file, which is gone with the last. The only writer of it. */
export class EpochValues<V> {
  readonly #file: z.ZodType<{ version: 1; values: Values<V> }>;
  #queue: Promise<unknown> = Promise.resolve();
  /** What the file holds; null before it was read. */
  #values: Values<V> | null = null;

  /** @param lost what becomes of it when the file is removed, for who finds it damaged */
  constructor(
    private readonly path: string,
    value: z.ZodType<V>,
    private readonly lost: string,
  ) {
    this.#file = z.strictObject({ version: z.literal(1), values: z.record(z.string(), value) });
  }

  /** Null for an epoch without one. @throws Error when the file is damaged */
  of(key: WorkloadKey): Promise<V | null> {
    return this.#alone(async () => (await this.#read())[keyText(key)] ?? null);
  }

  /** Gives an epoch what is chosen by what it has and what the others have, of which none changes meanwhile. @throws as {@link of} */
  choose(key: WorkloadKey, by: (known: V | undefined, others: readonly V[]) => V): Promise<V> {
    return this.#alone(async () => {
      const { [keyText(key)]: known, ...others } = await this.#read();
      const value = by(known, Object.values(others));
      if (value !== known) await this.#write({ ...others, [keyText(key)]: value });
      return value;
    });
  }

  /** Forgetting what never was is no error. @throws as {@link of} */
  release(key: WorkloadKey): Promise<void> {
    return this.#alone(async () => {
      const { [keyText(key)]: known, ...rest } = await this.#read();
      if (known !== undefined) await this.#write(rest);
    });
  }

  #alone<T>(work: () => Promise<T>): Promise<T> {
    const next = this.#queue.then(work, work);
    this.#queue = next.catch(() => undefined);
    return next;
  }

  async #read(): Promise<Values<V>> {
    if (this.#values !== null) return this.#values;
    try {
      return (this.#values = this.#file.parse(JSON.parse(await readFile(this.path, 'utf8'))).values);
    } catch (cause) {
      if (hasCode(cause, 'ENOENT')) return (this.#values = {});
      throw new Error(`${this.path} cannot be read; remove it, and ${this.lost}`, { cause });
    }
  }

  async #write(values: Values<V>): Promise<void> {
    this.#values = null;
    if (Object.keys(values).length === 0) await rm(this.path, { force: true });
    else {
      await mkdir(dirname(this.path), { recursive: true, mode: 0o711 });
      await writeFileAtomic(this.path, JSON.stringify({ version: 1, values }), { mode: 0o600 });
    }
    this.#values = values;
  }
}
