import { constants } from 'node:os';
import { posix } from 'node:path';
import type { ImageContent, ProcessSpec } from '@berth/model';
import { RuntimeError } from './runtime.js';

type ImageProcess = Extract<ImageContent, { kind: 'oci' }>['process'];

/** What to run, before user names are looked up in the image. */
export interface ProcessPlan {
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
  /** `user[:group]`, names or numbers; empty means root. */
  readonly user: string;
  /** A first process of ours is to run it. */
  readonly init: boolean;
}

const DEFAULT_PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * Merges the image's configuration (OCI image-spec, conversion.md) with what the user asked for: `command` replaces
 * the entrypoint and, given alone, the image's cmd with it; `args` replaces the cmd; `env` adds and overrides. Pure.
 * @throws RuntimeError badImage when there is nothing to run, what is to be run cannot be passed to a program, or the
 * working directory is not one.
 */
export function processPlan(image: ImageProcess, wanted: ProcessSpec | null, hostname: string): ProcessPlan {
  const command = wanted?.command ?? image.entrypoint;
  const args = wanted?.args ?? (wanted?.command === undefined ? image.cmd : []);
  const all = [...command, ...args];
  if (all.length === 0 || all[0] === '')
    throw new RuntimeError('badImage', 'the image names no command', { remedy: 'set process.command' });
  argumentsCheck(all);
  return {
    args: all,
    env: mergeEnv([DEFAULT_PATH, `HOSTNAME=${hostname}`], image.env, entriesOf(wanted?.env)),
    cwd: workdir(wanted?.workdir ?? (image.workdir === '' ? '/' : image.workdir)),
    user: wanted?.user ?? image.user,
    init: wanted?.init ?? false,
  };
}

/** @throws RuntimeError badImage for what no program can be given. */
export function argumentsCheck(args: readonly string[]): void {
  if (args.some((arg) => arg.includes('\0')))
    throw new RuntimeError('badImage', 'an argument of the command holds a NUL character', {
      remedy: 'give the command and its arguments without it',
    });
}

/** Later lists override earlier ones by name; the order of first appearance stays. */
export function mergeEnv(...lists: readonly (readonly string[])[]): string[] {
  const merged = new Map<string, string>();
  for (const entry of lists.flat()) {
    const name = entry.split('=', 1)[0] ?? '';
    if (name !== '' && entry.includes('=') && !entry.includes('\0')) merged.set(name, entry);
  }
  return [...merged.values()];
}

function entriesOf(env: Readonly<Record<string, string>> | undefined): string[] {
  return Object.entries(env ?? {}).map(([name, value]) => `${name}=${value}`);
}

/** Runtimes have let a working directory in /proc reach the host's files through a leaked descriptor (CVE-2024-21626). */
export function workdir(path: string): string {
  const clean = posix.normalize(path);
  if (!clean.startsWith('/') || clean.includes('\0') || /^\/(proc|sys|dev)(\/|$)/.test(clean))
    throw new RuntimeError('badImage', `the working directory ${JSON.stringify(path)} cannot be used`, {
      remedy: 'set process.workdir to an absolute path outside /proc, /sys and /dev',
    });
  return clean;
}

const SIGNALS = /^(SIG)?([A-Z][A-Z0-9]*([+-][0-9]{1,2})?)$/;

/** The signal that asks this image to end: a name without `SIG`, or a number; TERM where neither the wish nor the image names one. Pure. */
export function stopSignal(image: ImageProcess, wanted: ProcessSpec | null): string {
  const asked = wanted?.stopSignal ?? image.stopSignal ?? '';
  if (/^[0-9]{1,2}$/.test(asked) && Number(asked) >= 1 && Number(asked) <= 64) return asked;
  return SIGNALS.exec(asked)?.[2] ?? 'TERM';
}

const NUMBERS: Readonly<Record<string, number>> = constants.signals;
const SIGTERM = 15;

/** The number of a signal as {@link stopSignal} names it. `RTMIN+3` and the like are of the C library's making: 34 is its first. */
export function signalNumber(name: string): number {
  const real = /^RT(MIN|MAX)([+-]\d{1,2})?$/.exec(name);
  if (real !== null) return (real[1] === 'MIN' ? 34 : 64) + Number(real[2] ?? 0);
  return /^\d+$/.test(name) ? Number(name) : (NUMBERS[`SIG${name}`] ?? SIGTERM);
}
