/** Kept from collection until it is released. */
export interface Hold {
  release(): void;
}

/**
 * What may not be collected just now, though nothing on record uses it yet. Whoever is about to use something says so
 * (`keep`) before looking whether it is there; a collection looks at what was kept since it began, in the same turn of the
 * event loop in which it takes a thing away. So either the user finds it gone, or it stays. For one process.
 */
export class Holds<T> {
  private readonly open = new Set<Set<T>>();

  /** Everything that is kept from now on stays until the release, also after its user has said so. */
  hold(): Hold {
    return this.add(new Set<T>());
  }

  keep(things: Iterable<T>): void {
    for (const thing of things) for (const kept of this.open) kept.add(thing);
  }

  /** For one collection: `kept` begins with what all others hold, and grows while it is open. */
  collection(): Hold & { readonly kept: ReadonlySet<T> } {
    const kept = new Set([...this.open].flatMap((held) => [...held]));
    return { kept, ...this.add(kept) };
  }

  private add(kept: Set<T>): Hold {
    this.open.add(kept);
    return { release: () => void this.open.delete(kept) };
  }
}
