import { RuntimeError } from '@berth/runtime';
import { RANGE_SIZE } from '../isolation/uid-ranges.js';
import type { OciUser } from './oci-types.js';

/** The image's account files, null where it has none. */
export interface AccountFiles {
  readonly passwd: string | null;
  readonly group: string | null;
}

/**
 * Turns `user[:group]` into ids, by the image's own passwd(5) and group(5). A number needs no entry; without an
 * explicit group, the primary group and the supplementary groups of the entry are taken. Pure.
 * @throws RuntimeError badImage for a name that the image does not know, or an id outside the container's range.
 */
export function userResolve(wanted: string, files: AccountFiles): OciUser {
  const [userPart = '', groupPart = ''] = wanted.split(':', 2);
  const name = userPart === '' ? '0' : userPart;
  const entry = lines(files.passwd).find((f) => (numeric(name) ? f[2] === name : f[0] === name));
  if (entry === undefined && !numeric(name)) throw unknown('user', name, 'passwd');
  const uid = id(entry?.[2] ?? name);
  const groups = lines(files.group);
  if (groupPart !== '') return { uid, gid: groupId(groupPart, groups), additionalGids: [] };
  const gid = id(entry?.[3] ?? '0');
  const login = entry?.[0];
  const more = groups
    .filter((g) => login !== undefined && (g[3] ?? '').split(',').includes(login))
    .map((g) => id(g[2] ?? ''));
  return { uid, gid, additionalGids: [...new Set(more)].filter((g) => g !== gid) };
}

function groupId(wanted: string, groups: readonly string[][]): number {
  if (numeric(wanted)) return id(wanted);
  const entry = groups.find((g) => g[0] === wanted);
  if (entry === undefined) throw unknown('group', wanted, 'group');
  return id(entry[2] ?? '');
}

function lines(text: string | null): string[][] {
  return (text ?? '')
    .split('\n')
    .filter((line) => line.includes(':') && !line.startsWith('#'))
    .map((line) => line.trimEnd().split(':'));
}

function numeric(text: string): boolean {
  return /^[0-9]+$/.test(text);
}

function id(text: string): number {
  const value = numeric(text) ? Number(text) : Number.NaN;
  if (!(value < RANGE_SIZE))
    throw new RuntimeError('badImage', `${JSON.stringify(text)} is no id below ${RANGE_SIZE}`, {
      remedy: 'choose another process.user',
    });
  return value;
}

function unknown(kind: string, name: string, file: string): RuntimeError {
  return new RuntimeError('badImage', `the image's /etc/${file} has no ${kind} ${JSON.stringify(name)}`, {
    remedy: 'give process.user as a number, or a name that the image knows',
  });
}
