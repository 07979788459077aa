import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { z } from 'zod';
import { Ipv6Cidr } from '@berth/model';
import { registryOf } from './images/registry-credentials.js';
import { mirrorFault } from './images/registry-mirrors.js';

const address = z.string().refine((a) => isIP(a) !== 0, 'must be an IP address');
const port = z.coerce.number().int().min(1).max(65_535);

/** Keys of the `api` section of berth.yaml; each is also an environment variable, `BERTH_` and the key in upper snake case. */
export const ApiConfig = z.strictObject({
  /** Postgres; a URL as libpq takes it. */
  databaseUrl: z.string().min(1),
  apiAddress: address.default('127.0.0.1'),
  apiPort: port.default(7070),
  /** Where agents dial in; one TLS listener per address. */
  linkAddresses: z
    .preprocess((v) => (typeof v === 'string' ? v.split(',') : v), z.array(address).min(1))
    .default(['127.0.0.1']),
  linkPort: port.default(7071),
  placementStrategy: z.enum(['spread', 'pack']).default('spread'),
  /** A host unheard for this long is silent, seconds. */
  hostSilentSeconds: z.coerce.number().int().min(3).max(3600).default(15),
  /** Lifecycle and observation events are kept this long, days. Audit is kept for ever. */
  eventsKeptDays: z.coerce.number().int().min(1).max(3650).default(30),
  /** Largest image, uploaded or downloaded, MiB. */
  uploadMaxMiB: z.coerce
    .number()
    .int()
    .min(1)
    .max(1024 * 1024)
    .default(32 * 1024),
  /** Registries that are spoken to by plain http, `host` or `host:port`; all others by https. */
  insecureRegistries: z
    .preprocess(
      (v) => (typeof v === 'string' ? v.split(',') : v),
      z.array(z.string().regex(/^([a-z0-9.-]+|\[[0-9a-f:]+\])(:\d{1,5})?$/, 'must be host or host:port')),
    )
    .default([]),
  /** Mirrors of registries, `docker.io: [mirror.lan:5000]`, asked in order before the registry. In the environment
   * `docker.io=mirror.lan:5000,docker.io=other.lan`. */
  registryMirrors: z
    .preprocess(
      (v) => (typeof v === 'string' ? mirrorsOf(v) : v),
      z.record(z.string(), z.array(z.string()).min(1).max(8)),
    )
    .superRefine((all, ctx) => {
      for (const [host, mirrors] of Object.entries(all)) {
        if (registryOf(host) === null)
          ctx.addIssue({
            code: 'custom',
            message: `${host} is no host of a registry: write docker.io, or host:port`,
          });
        for (const fault of mirrors.map(mirrorFault))
          if (fault !== null)
            ctx.addIssue({ code: 'custom', message: `${fault}: write host, host:port or host/path` });
      }
    })
    .default({}),
  /** Content that no image of any project uses is kept for this long, seconds. */
  imageGraceSeconds: z.coerce
    .number()
    .int()
    .min(0)
    .max(30 * 86_400)
    .default(3600),
  /** Who may read /metrics: `token` (action metrics.read), or `loopback`, also everybody on this machine. */
  metricsAccess: z.enum(['token', 'loopback']).default('token'),
  /** Running instances with lines of their own in /metrics, six each. */
  metricsInstances: z.coerce.number().int().min(0).max(100_000).default(2_000),
  /** Instances whose last hour of usage is kept in memory, about 7 KB each. */
  usageHistories: z.coerce.number().int().min(0).max(100_000).default(10_000),
  /** Project networks are /24 subnets of this one. */
  networkSupernet: z
    .string()
    .regex(/^\d+\.\d+\.\d+\.\d+\/\d+$/, 'must be CIDR, for example 10.77.0.0/16')
    .default('10.77.0.0/16'),
  /** IPv6 prefixes of project networks are /64 of this one. A site that routes between its hosts chooses its own (RFC 4193). */
  networkSupernet6: Ipv6Cidr.refine(
    (text) => Number(text.split('/')[1]) <= 64,
    'must have at most 64 bits, for example fd62:6572:7468::/48',
  ).default('fd62:6572:7468::/48'),
  /** Set once after a restore from backup: agents that obeyed the lost database obey this one. */
  adoptRestored: z
    .preprocess((v) => (v === 'true' ? true : v === 'false' ? false : v), z.boolean())
    .default(false),
  logLevel: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace']).default('info'),
});
export type ApiConfig = z.infer<typeof ApiConfig>;

/** `host=mirror,host=mirror` */
function mirrorsOf(text: string): Record<string, string[]> {
  const all: Record<string, string[]> = {};
  for (const pair of text.split(',').filter((one) => one !== '')) {
    const [host = '', ...mirror] = pair.split('=');
    (all[host] ??= []).push(mirror.join('='));
  }
  return all;
}

/** Folders of an API process. */
export interface ApiPaths {
  readonly configFile: string;
  readonly adminTokenFile: string;
  readonly masterKeyFile: string;
  readonly blobDir: string;
  /** Built files of the dashboard. */
  readonly dashboardDir: string;
}

/** @param root prefix of all folders (`BERTH_ROOT`); empty for the system's own */
export function apiPaths(root: string): ApiPaths {
  return {
    configFile: join(root, '/etc/berth/berth.yaml'),
    adminTokenFile: join(root, '/etc/berth/admin-token'),
    masterKeyFile: join(root, '/etc/berth/master-key'),
    blobDir: join(root, '/var/lib/berth/api/blobs'),
    // Part of the installation, wherever the state is.
    dashboardDir: fileURLToPath(new URL('../../dashboard/dist', import.meta.url)),
  };
}

/** Every key that is wrong, each with what is wanted. */
export class ConfigError extends Error {
  constructor(readonly problems: readonly string[]) {
    super(`the configuration is not usable:\n${problems.map((p) => `  - ${p}`).join('\n')}`);
    this.name = 'ConfigError';
  }
}

const variableOf = (key: string): string => `BERTH_${key.replace(/[A-Z]/g, (c) => `_${c}`).toUpperCase()}`;

/**
 * The effective configuration: defaults, then the file's `api` section, then the environment. `DATABASE_URL` is
 * accepted for `databaseUrl`. @throws ConfigError naming every bad key at once
 */
export function configLoad(env: Readonly<Record<string, string | undefined>>, file: string): ApiConfig {
  const fromFile = sectionRead(file);
  const fromEnv: Record<string, unknown> = {};
  for (const key of Object.keys(ApiConfig.shape)) {
    const value = env[variableOf(key)] ?? (key === 'databaseUrl' ? env['DATABASE_URL'] : undefined);
    if (value !== undefined) fromEnv[key] = value;
  }
  const parsed = ApiConfig.safeParse({ ...fromFile, ...fromEnv });
  if (parsed.success) return parsed.data;
  throw new ConfigError(
    parsed.error.issues.map((i) => {
      const key = String(i.path[0] ?? (i.code === 'unrecognized_keys' ? i.keys.join(', ') : ''));
      return `${key}: ${i.message} (api.${key} in ${file}, or ${variableOf(key)})`;
    }),
  );
}

function sectionRead(file: string): Record<string, unknown> {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw e;
  }
  const whole: unknown = parse(text);
  const section = whole !== null && typeof whole === 'object' && 'api' in whole ? whole.api : {};
  if (section === null || typeof section !== 'object' || Array.isArray(section))
    throw new ConfigError([`api: must be a mapping (${file})`]);
  return section as Record<string, unknown>;
}
