/** Runs what concerns one instance one after another. */
export class InstanceLocks {
  readonly #tails = new Map<string, Promise<unknown>>();

  run<T>(instanceId: string, work: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(instanceId) ?? Promise.resolve();
    const mine = before.then(work, work);
    const tail = mine
      .catch(() => undefined)
      .finally(() => {
        if (this.#tails.get(instanceId) === tail) this.#tails.delete(instanceId);
      });
    this.#tails.set(instanceId, tail);
    return mine;
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    while (this.#tails.size > 0) await Promise.all(this.#tails.values());
  }
}
