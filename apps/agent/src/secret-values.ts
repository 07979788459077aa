import type { SecretValues as Message } from '@berth/link';
import type { HostSecret, SecretId } from '@berth/model';

type Ref = Pick<HostSecret, 'id' | 'version'>;

/**
 * Values of secrets as the API sent them, in this process's memory alone. What runs has them in its own memory: an agent that
 * died asks nobody for it, and a host that was booted waits for the API.
 */
export class SecretValues {
  private readonly values = new Map<SecretId, { readonly version: number; readonly value: Uint8Array }>();

  take(values: Message['values']): void {
    for (const { id, version, base64 } of values)
      this.values.set(id, { version, value: Buffer.from(base64, 'base64') });
  }

  /** Of that version and no other; undefined where it did not come. */
  get({ id, version }: Ref): Uint8Array | undefined {
    const known = this.values.get(id);
    return known?.version === version ? known.value : undefined;
  }

  /** Forgets all but these. */
  keep(refs: readonly Ref[]): void {
    const kept = new Set(refs.map(({ id }) => id));
    for (const id of this.values.keys()) if (!kept.has(id)) this.values.delete(id);
  }
}
