import { z } from 'zod';
import { IDENTITY_PATHS, inKernelDirectory } from './container-paths.js';
import { type ContainerSecurity, TmpfsMount } from './container-security.js';
import { Name, SecretId } from './ids.js';

/*
 * Secrets of a project: values that are sealed at rest, that no answer shows, and that containers have as files in
 * memory and as environment variables. A spec names them.
 */

/** Largest value, bytes. */
export const secretMaxBytes = 64 * 1024;
/** Where a container has those for which no other place is said. What is here is replaced while it runs. */
export const SECRETS_DIRECTORY = '/run/secrets';
/** Facet of hosts whose containers have secrets. */
export const secretsFacet = 'secrets';
/** The same of microVMs. */
export const microvmSecretsFacet = 'microvmSecrets';

export const SecretPut = z
  .strictObject({
    value: z.string().optional().describe(`Text, at most ${secretMaxBytes} bytes. Shown to nobody again`),
    base64: z
      .base64()
      .optional()
      .describe('Instead of it: any bytes, in base64 (RFC 4648). Shown to nobody again'),
  })
  .superRefine(({ value, base64 }, ctx) => {
    const say = (path: string, message: string): void =>
      ctx.addIssue({ code: 'custom', path: [path], message });
    if (value === undefined && base64 === undefined) return say('value', 'must be given, or else base64');
    if (value !== undefined && base64 !== undefined)
      return say('base64', 'takes the place of value: give either');
    const path = value === undefined ? 'base64' : 'value';
    const length = base64 === undefined ? secretBytes({ value }).length : decodedLength(base64);
    if (length > secretMaxBytes)
      say(path, `is of ${length} bytes, and a secret has ${secretMaxBytes} at most`);
  })
  .meta({ id: 'SecretPut' });
export type SecretPut = z.infer<typeof SecretPut>;

const encoder = new TextEncoder();

/** Also of what is no base64, which is refused by itself. */
const decodedLength = (base64: string): number => Math.floor((base64.replace(/=+$/, '').length * 3) / 4);

/** The bytes that were sent. */
export function secretBytes({ value, base64 }: Pick<SecretPut, 'value' | 'base64'>): Uint8Array {
  if (base64 === undefined) return encoder.encode(value ?? '');
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

/** Whether a value can be that of an environment variable: UTF-8 without NUL. */
export function secretIsText(bytes: Uint8Array): boolean {
  try {
    return !new TextDecoder('utf-8', { fatal: true }).decode(bytes).includes('\0');
  } catch {
    return false;
  }
}

/** What is told of a secret; its value is shown to nobody. */
export const Secret = z
  .strictObject({
    id: SecretId,
    project: Name,
    name: Name,
    /** Instances whose specs name it. */
    usedBy: z.array(Name),
    /** Raised by every new value. */
    resourceVersion: z.int(),
    createdAt: z.iso.datetime(),
    updatedAt: z.iso.datetime(),
  })
  .meta({ id: 'Secret' });
export type Secret = z.infer<typeof Secret>;

const id = z.int().min(0).max(65_535).default(0);

/** A secret that a container has: as a file, as an environment variable, or as both. */
export const SecretUse = z.strictObject({
  /** Of a secret of the project. */
  name: Name,
  /** The file; where neither it nor `env` is given, `/run/secrets/<name>`. A new value reaches files directly in `/run/secrets` while it runs. */
  path: TmpfsMount.shape.path.optional(),
  /** Name of an environment variable that has the value. */
  env: z
    .string()
    .max(256)
    .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'letters, digits and "_"')
    .optional(),
  /** Of the file, octal. */
  mode: z
    .string()
    .regex(/^0?[0-7]{3}$/, 'three octal digits')
    .default('0400'),
  /** Whose the file is, as the container counts users. */
  uid: id,
  gid: id,
});
export type SecretUse = z.infer<typeof SecretUse>;
export const SecretUses = z.array(SecretUse).max(32);

/** The file of a use, or null where it is a variable alone. */
export const secretPath = ({ name, path, env }: Pick<SecretUse, 'name' | 'path' | 'env'>): string | null =>
  path ?? (env === undefined ? `${SECRETS_DIRECTORY}/${name}` : null);

/** Whether a new value reaches a container that runs. */
export const secretIsLive = (use: Pick<SecretUse, 'name' | 'path' | 'env'>): boolean =>
  use.env === undefined && secretPath(use)?.startsWith(`${SECRETS_DIRECTORY}/`) === true;

/** A use as a host is told of it, without the value, which comes by itself and is written to no disk. */
export const HostSecret = SecretUse.extend({
  id: SecretId,
  /** `resourceVersion` of the secret. */
  version: z.int().min(1),
});
export type HostSecret = z.infer<typeof HostSecret>;

interface Using {
  readonly isolation: string;
  readonly secrets?: readonly SecretUse[] | undefined;
  readonly security?: ContainerSecurity | undefined;
  readonly process?: { readonly env?: Readonly<Record<string, string>> | undefined } | undefined;
}
type Refuse = (path: readonly (string | number)[], message: string) => void;

/** Tells of every secret in a spec that cannot be so. */
export function checkSecrets(spec: Using, refuse: Refuse): void {
  const { secrets = [] } = spec;
  if (secrets.length === 0) return;
  if (spec.isolation === 'vm')
    return refuse(
      ['secrets'],
      'only for OCI images (container, microvm): give a vm what it needs by userData, or copy it in',
    );
  secrets.forEach((use, i) => {
    checkPath(spec, secrets, i, (message) => refuse(['secrets', i, 'path'], message));
    checkVariable(spec, use, i, (message) => refuse(['secrets', i, 'env'], message));
  });
}

function checkPath(
  { security }: Using,
  secrets: readonly SecretUse[],
  at: number,
  refuse: (message: string) => void,
): void {
  const path = pathAt(secrets, at);
  if (path === null) return;
  const rest = path.startsWith(`${SECRETS_DIRECTORY}/`) ? path.slice(SECRETS_DIRECTORY.length + 1) : null;
  if (/\/\.\.?(\/|$)/.test(path)) return refuse('must not hold "." or ".."');
  if (inKernelDirectory(path)) return refuse('is in a directory of the kernel: choose another');
  if (path === SECRETS_DIRECTORY) return refuse('is the directory of secrets: name a file in it');
  if (rest?.includes('/') === true) return refuse(`must be directly in ${SECRETS_DIRECTORY}`);
  if ((IDENTITY_PATHS as readonly string[]).includes(path))
    return refuse('is a file that its host writes: choose another');
  const before = secrets.slice(0, at).some((_, i) => pathAt(secrets, i) === path);
  if (before) return refuse('is the file of another secret in the list already');
  const below = secrets.some((_, i) => pathAt(secrets, i)?.startsWith(`${path}/`) === true);
  if (below) return refuse('is a directory of another one in the list');
  if (security?.tmpfs?.some((one) => one.path === path || one.path === SECRETS_DIRECTORY) === true)
    refuse('is in security.tmpfs, which would hide it: take it out of one of the two');
}

const pathAt = (secrets: readonly SecretUse[], i: number): string | null => {
  const use = secrets[i];
  return use === undefined ? null : secretPath(use);
};

function checkVariable(
  { secrets = [], process }: Using,
  { env }: SecretUse,
  at: number,
  refuse: (message: string) => void,
): void {
  if (env === undefined) return;
  if (secrets.findIndex((other) => other.env === env) < at)
    refuse('is the variable of another one in the list');
  if (process?.env !== undefined && Object.hasOwn(process.env, env))
    refuse('is in process.env too: take it out there');
}
