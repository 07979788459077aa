import type { WorkloadSecret } from './runtime.js';
import { RuntimeError } from './runtime.js';

/** Name under which a version of a secret's value is kept on its host. */
export const secretKey = ({ id, version }: Pick<WorkloadSecret, 'id' | 'version'>): string =>
  `${id}.${version}`;

/** Values as they were found, by {@link secretKey}. @throws RuntimeError secretMissing for one that was not */
export function secretsFound(
  secrets: readonly WorkloadSecret[],
  found: ReadonlyMap<string, Uint8Array | null>,
): ReadonlyMap<string, Uint8Array> {
  const values = new Map<string, Uint8Array>();
  for (const secret of secrets) {
    const value = found.get(secretKey(secret)) ?? null;
    if (value === null)
      throw new RuntimeError('secretMissing', `the value of secret "${secret.name}" is not on this host`, {
        remedy:
          'it comes with the connection to the API, and the step is tried again then: see why the host has none',
      });
    values.set(secretKey(secret), value);
  }
  return values;
}

/** `NAME=value` of those that are variables. */
export function secretVariables(
  secrets: readonly WorkloadSecret[],
  values: ReadonlyMap<string, Uint8Array>,
): string[] {
  return secrets.flatMap((secret) => {
    const value = values.get(secretKey(secret));
    return secret.env === undefined || value === undefined
      ? []
      : [`${secret.env}=${Buffer.from(value).toString('utf8')}`];
  });
}
