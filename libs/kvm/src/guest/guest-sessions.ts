import { keyText, type WorkloadKey } from '@berth/runtime';
import { GuestSession } from './guest-session.js';

interface Shared {
  readonly opening: Promise<GuestSession>;
  users: number;
}

/** One conversation for each guest, shared by all who use it now: QEMU serves one at a time. */
export class GuestSessions {
  readonly #shared = new Map<string, Shared>();

  constructor(private readonly path: (key: WorkloadKey) => string) {}

  /** `use` gets the conversation, which stays until what it returns is settled. @throws RuntimeError agentAway; what `use` throws */
  async with<T>(key: WorkloadKey, use: (session: GuestSession) => Promise<T>): Promise<T> {
    const text = keyText(key);
    const shared = this.#shared.get(text) ?? this.#open(text, key);
    shared.users += 1;
    try {
      return await use(await shared.opening);
    } finally {
      shared.users -= 1;
      if (shared.users === 0) this.#end(text, shared);
    }
  }

  /** Ends all of them; the guests end what was begun by them. */
  close(): void {
    for (const [text, shared] of this.#shared) this.#end(text, shared);
  }

  #open(text: string, key: WorkloadKey): Shared {
    const opening = GuestSession.open(this.path(key));
    const shared: Shared = { opening, users: 0 };
    this.#shared.set(text, shared);
    opening.then(
      (session) => session.over.then(() => this.#drop(text, shared)),
      () => this.#drop(text, shared),
    );
    return shared;
  }

  #end(text: string, shared: Shared): void {
    this.#drop(text, shared);
    void shared.opening.then(
      (session) => session.close(),
      () => undefined,
    );
  }

  #drop(text: string, shared: Shared): void {
    if (this.#shared.get(text) === shared) this.#shared.delete(text);
  }
}
