import { hostname } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseLinkAddress } from '@berth/link';
import { Labels, Name } from '@berth/model';
import { parse } from 'yaml';
import { z } from 'zod';

const address = z.string().superRefine((text, ctx) => {
  try {
    parseLinkAddress(text);
  } catch {
    ctx.addIssue({ code: 'custom', message: 'must be host:port' });
  }
});
const port = z.int().min(1).max(65_535);
const path = z.string().startsWith('/', 'must be an absolute path');

/** The agent's configuration file; each key is also an environment variable. */
const AgentConfig = z.strictObject({
  /** Where the API's link listens, `host:port`. */
  apiLink: address.default('127.0.0.1:7071'),
  /** Prefix of every path. Default: none. */
  root: path.optional(),
  hostName: Name.optional(),
  labels: Labels.default({}),
  /** Runtimes to offer. `libvirt` and `qemu` both run VMs: an instance may name one, else libvirt does where it answers. */
  runtimes: z
    .array(z.enum(['libvirt', 'qemu', 'oci', 'microvm', 'simulated']))
    .min(1)
    .default(['libvirt', 'qemu', 'oci', 'microvm']),
  /** File with the join token; read at the first start only. */
  tokenFile: path.optional(),
  libvirtSocket: path.optional(),
  /** Directory with what tools/microvm/build made: the kernel of microVMs and their initramfs. */
  microvmDir: path.optional(),
  logLevel: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
  /** VMs that start at the same time; default: one per CPU. */
  vmStarts: z.int().min(1).max(1024).optional(),
  /** From one look for left-over parts to the next; what is found twice is removed. */
  inventorySeconds: z.int().min(1).max(86_400).default(60),
  /** An image that is to be removed stays for so long after it was ordered first. */
  imageGraceSeconds: z
    .int()
    .min(0)
    .max(30 * 86_400)
    .default(3600),
  /** Ports of the host that instances may publish; below the ones that the kernel gives to its own connections. */
  publishedPorts: z
    .strictObject({ first: port.default(1024), last: port.default(32_767) })
    .refine(({ first, last }) => first <= last, 'must begin with the lower port: 1024-32767')
    .default({ first: 1024, last: 32_767 }),
  /** Devices that containers may ask for by these names: `fuse: /dev/fuse`. Nothing that is not here can be reached. */
  devices: z
    .record(
      Name,
      z
        .string()
        .regex(/^\/dev(\/[A-Za-z0-9_-][A-Za-z0-9_.:-]*)+$/, 'must be the path of a device, as /dev/fuse'),
    )
    .refine((all) => Object.keys(all).length <= 64, 'at most 64 devices')
    .default({}),
  /** Directories that containers may mount by these names: `data: { path: /srv/data }`, read-only unless `mode: rw`. Nothing else can be asked for. */
  hostPaths: z
    .record(
      Name,
      z.strictObject({
        path: z
          .string()
          .max(4096)
          .regex(/^(\/[^/\0]+)+$/, 'must be the path of a directory, as /srv/data, without "/" at its end')
          .refine((text) => !/\/\.\.?(\/|$)/.test(text), 'must not hold "." or ".."'),
        mode: z.enum(['ro', 'rw']).default('ro'),
        /** Projects that may ask for it; all when absent. */
        projects: z.array(Name).min(1).max(256).optional(),
      }),
    )
    .refine((all) => Object.keys(all).length <= 64, 'at most 64 host paths')
    .default({}),
  /** Whether containers see their own memory, processors, uptime and load, where lxcfs is installed. */
  lxcfs: z.boolean().default(true),
  /** Part of the host kept back from instances. */
  reserve: z
    .strictObject({
      cpuMillis: z.int().min(0).default(0),
      memoryMiB: z.int().min(0).default(256),
      diskMiB: z.int().min(0).default(1024),
    })
    .default({ cpuMillis: 0, memoryMiB: 256, diskMiB: 1024 }),
  /** What the scheduler may book, in place of what was measured. */
  capacity: z
    .strictObject({
      cpuMillis: z.int().min(1).optional(),
      memoryMiB: z.int().min(1).optional(),
      diskMiB: z.int().min(1).optional(),
    })
    .default({}),
});

type Parsed = z.infer<typeof AgentConfig>;
export interface AgentSettings extends Omit<
  Parsed,
  'root' | 'hostName' | 'tokenFile' | 'libvirtSocket' | 'microvmDir'
> {
  readonly hostName: string;
  readonly tokenFile: string;
  readonly libvirtSocket: string;
  readonly microvmDir: string;
  readonly stateDir: string;
  readonly runDir: string;
  readonly logDir: string;
}

/** Environment variable → key. */
const variables: Readonly<Record<string, readonly string[]>> = {
  BERTH_API_LINK: ['apiLink'],
  BERTH_ROOT: ['root'],
  BERTH_HOST_NAME: ['hostName'],
  BERTH_HOST_LABELS: ['labels'],
  BERTH_AGENT_RUNTIME: ['runtimes'],
  BERTH_JOIN_TOKEN_FILE: ['tokenFile'],
  BERTH_LIBVIRT_SOCKET: ['libvirtSocket'],
  BERTH_MICROVM_DIR: ['microvmDir'],
  BERTH_LOG_LEVEL: ['logLevel'],
  BERTH_VM_STARTS: ['vmStarts'],
  BERTH_INVENTORY_SECONDS: ['inventorySeconds'],
  BERTH_IMAGE_GRACE_SECONDS: ['imageGraceSeconds'],
  BERTH_PUBLISHED_PORTS: ['publishedPorts'],
  BERTH_DEVICES: ['devices'],
  BERTH_HOST_PATHS: ['hostPaths'],
  BERTH_LXCFS: ['lxcfs'],
  BERTH_CAPACITY_CPU_MILLIS: ['capacity', 'cpuMillis'],
  BERTH_CAPACITY_MEMORY_MIB: ['capacity', 'memoryMiB'],
  BERTH_CAPACITY_DISK_MIB: ['capacity', 'diskMiB'],
};

/** Everything that is wrong with the configuration, one line each. */
export class ConfigError extends Error {
  constructor(readonly problems: readonly string[]) {
    super(`the configuration is not usable:\n${problems.map((p) => `  ${p}`).join('\n')}`);
    this.name = 'ConfigError';
  }
}

/** `key=value,key=value` */
function labelsOf(text: string): Record<string, string> {
  const pairs = text.split(',').filter((pair) => pair !== '');
  return Object.fromEntries(
    pairs.map((pair) => [pair.split('=')[0] ?? '', pair.split('=').slice(1).join('=')]),
  );
}

/** `name=/path,name=/path:rw` */
const hostPathsOf = (text: string): Record<string, { path: string; mode: string }> =>
  Object.fromEntries(
    Object.entries(labelsOf(text)).map(([name, value]) => {
      const [, path = '', mode = 'ro'] = /^(.*?)(?::([a-z]+))?$/.exec(value) ?? [];
      return [name, { path, mode }];
    }),
  );

/** `1024-32767` */
function rangeOf(text: string): unknown {
  const found = /^(\d{1,5})-(\d{1,5})$/.exec(text);
  return found === null ? text : { first: Number(found[1]), last: Number(found[2]) };
}

const numbers = new Set(['vmStarts', 'inventorySeconds', 'imageGraceSeconds']);

function valueOf(key: readonly string[], text: string): unknown {
  if (key[0] === 'labels' || key[0] === 'devices') return labelsOf(text);
  if (key[0] === 'hostPaths') return hostPathsOf(text);
  if (key[0] === 'runtimes') return text.split(',');
  if (key[0] === 'lxcfs') return { true: true, false: false }[text] ?? text;
  if (key[0] === 'publishedPorts') return rangeOf(text);
  if (key[0] === 'capacity' || numbers.has(key[0] ?? '')) return Number(text);
  return text;
}

/** File first, environment over it. @throws ConfigError naming every bad key */
export function readConfig(
  yamlText: string | null,
  env: Readonly<Record<string, string | undefined>>,
): AgentSettings {
  let file: unknown;
  try {
    file = yamlText === null ? {} : (parse(yamlText) ?? {});
  } catch (e) {
    throw new ConfigError([`the file is not YAML: ${e instanceof Error ? e.message : String(e)}`]);
  }
  if (typeof file !== 'object' || file === null || Array.isArray(file))
    throw new ConfigError(['the file must be a mapping of keys to values']);
  const merged: Record<string, unknown> = { ...file };
  for (const [variable, key] of Object.entries(variables)) {
    const text = env[variable];
    if (text === undefined || text === '') continue;
    const [top, sub] = key as [string, string?];
    if (sub === undefined) merged[top] = valueOf(key, text);
    else merged[top] = { ...(merged[top] as object | undefined), [sub]: valueOf(key, text) };
  }
  const parsed = AgentConfig.safeParse(merged);
  if (!parsed.success) throw new ConfigError(parsed.error.issues.map((issue) => problemOf(issue)));
  return settle(parsed.data);
}

function problemOf(issue: z.core.$ZodIssue): string {
  if (issue.code === 'unrecognized_keys')
    return `${[...issue.path, issue.keys.join(', ')].join('.')}: unknown key`;
  const key = issue.path.join('.');
  const variable = Object.entries(variables).find(([, k]) => k.join('.') === key || k[0] === key)?.[0];
  return `${key}${variable === undefined ? '' : ` (${variable})`}: ${issue.message}`;
}

function settle(parsed: Parsed): AgentSettings {
  const { root = '/', hostName, tokenFile, libvirtSocket, microvmDir, ...rest } = parsed;
  const derived =
    hostname()
      .split('.')[0]
      ?.toLowerCase()
      .replace(/[^-a-z0-9]/g, '-') ?? '';
  const name = hostName ?? derived;
  if (!Name.safeParse(name).success)
    throw new ConfigError([
      `hostName (BERTH_HOST_NAME): this machine's name "${name}" is no DNS label; set one`,
    ]);
  return {
    ...rest,
    hostName: name,
    tokenFile: tokenFile ?? join(root, 'etc/berth/join-token'),
    libvirtSocket: libvirtSocket ?? '/run/libvirt/libvirt-sock',
    microvmDir: microvmDir ?? fileURLToPath(new URL('../../../.berth/microvm', import.meta.url)),
    stateDir: join(root, 'var/lib/berth'),
    runDir: join(root, 'run/berth'),
    logDir: join(root, 'var/log/berth'),
  };
}
