import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { Name } from '@berth/model';
import { parse } from 'yaml';
import { z } from 'zod';

const port = z.coerce.number().int().min(1).max(65_535);

/**
 * What an operator can set for the supervisor. Keys of the `supervisor` section of berth.yaml; those that the API has as
 * well (ports, addresses, database) stand in its `api` section. Each key is also an environment variable, which wins.
 */
export const Config = z.strictObject({
  apiPort: port.default(7070),
  linkPort: port.default(7071),
  /** Further addresses on which agents reach the link, beside loopback. */
  linkAddresses: z.array(z.ipv4().or(z.ipv6())).default([]),
  /** Postgres to use; without it the supervisor runs the distribution's server. */
  databaseUrl: z.string().startsWith('postgres').optional(),
  /** Name under which this machine joins. */
  hostName: Name,
  /** A log is turned over when it is larger than this. */
  logMaxMiB: z.coerce.number().int().min(1).max(10_240).default(16),
  /** What ends again and again is started anew after pauses that grow up to this. */
  restartPauseMaxSeconds: z.coerce.number().min(0.25).max(3600).default(30),
});
export type Config = z.infer<typeof Config>;

const variables = {
  apiPort: 'BERTH_API_PORT',
  linkPort: 'BERTH_LINK_PORT',
  linkAddresses: 'BERTH_LINK_ADDRESSES',
  databaseUrl: 'DATABASE_URL',
  hostName: 'BERTH_HOST_NAME',
  logMaxMiB: 'BERTH_LOG_MAX_MIB',
  restartPauseMaxSeconds: 'BERTH_RESTART_PAUSE_MAX_SECONDS',
} as const satisfies Record<keyof Config, string>;

const apiKeys: readonly string[] = ['apiPort', 'linkPort', 'linkAddresses', 'databaseUrl'];

function section(file: unknown, name: string, fileName: string): Record<string, unknown> {
  const mapping = (value: unknown): value is Record<string, unknown> =>
    typeof value === 'object' && value !== null && !Array.isArray(value);
  if (file === null || file === undefined) return {};
  if (!mapping(file)) throw new ConfigError(`${fileName}: must be a mapping of sections`);
  const found = file[name] ?? {};
  if (!mapping(found)) throw new ConfigError(`${fileName}: ${name} must be a mapping of keys to values`);
  return found;
}

/** A configuration that cannot be used; the message names every bad key and where it came from. */
export class ConfigError extends Error {
  override name = 'ConfigError';
}

/** A machine's host name as a Berth name: lower case, other characters become "-", never empty. */
export function nameFromHostname(host: string): string {
  const label = host
    .split('.')[0]!
    .toLowerCase()
    .replace(/[^a-z0-9-]/g, '-')
    .replace(/^[^a-z]+/, '')
    .slice(0, 63)
    .replace(/-+$/, '');
  return label === '' ? 'host-1' : label;
}

/**
 * Effective configuration: environment over file over defaults.
 * @throws ConfigError naming every bad key.
 */
export function configFrom(file: unknown, env: NodeJS.ProcessEnv, host: string, fileName: string): Config {
  const fromEnv: Record<string, unknown> = {};
  for (const [key, variable] of Object.entries(variables)) {
    const value = env[variable];
    if (value === undefined || value === '') continue;
    fromEnv[key] = key === 'linkAddresses' ? value.split(',').map((a) => a.trim()) : value;
  }
  const api = section(file, 'api', fileName);
  const own = section(file, 'supervisor', fileName);
  const shared = Object.fromEntries(Object.entries(api).filter(([key]) => apiKeys.includes(key)));
  const merged = { hostName: nameFromHostname(host), ...shared, ...own, ...fromEnv };
  const parsed = Config.safeParse(merged);
  if (parsed.success) return parsed.data;
  const lines = parsed.error.issues.flatMap((i) => {
    if (i.code === 'unrecognized_keys')
      return i.keys.map(
        (k) => `  ${k}: unknown key in ${fileName}; known are ${Object.keys(variables).join(', ')}`,
      );
    const key = String(i.path[0] ?? '');
    const source = key in fromEnv ? `environment variable ${variables[key as keyof Config]}` : fileName;
    return [`  ${i.path.join('.')} (${source}): ${i.message}`];
  });
  throw new ConfigError(`the configuration cannot be used:\n${lines.join('\n')}`);
}

/** Reads `etc/berth/berth.yaml` below the root if there is one. @throws ConfigError */
export function configLoad(root: string, env: NodeJS.ProcessEnv): Config {
  const fileName = join(root, 'etc/berth/berth.yaml');
  let text = '';
  try {
    text = readFileSync(fileName, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  let file: unknown;
  try {
    file = text === '' ? null : parse(text);
  } catch (error) {
    throw new ConfigError(`${fileName} is not YAML: ${(error as Error).message}`);
  }
  return configFrom(file, env, hostname(), fileName);
}
