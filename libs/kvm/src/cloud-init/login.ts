import type { CloudInitSpec } from '@berth/model';
import { isMap, isScalar, isSeq, parseDocument, type Document, type YAMLSeq } from 'yaml';
import { yaml } from './yaml.js';

/** User data that what the spec adds cannot be added to. */
export class CloudConfigError extends Error {
  constructor(why: string) {
    super(`the user data cannot be added to: ${why}`);
    this.name = 'CloudConfigError';
  }
}

const HEAD = '#cloud-config';
/** The kind of user data is told by its first line (cloud-init, "User-data formats"). */
const cloudConfigHead = /^#cloud-config[ \t]*(\r?\n|$)/;

/** User data and vendor data of a seed. */
export interface GuestData {
  readonly userData: string;
  readonly vendorData: string | null;
}

/**
 * The user's data and who may sign in. To a cloud-config that is added, in its own document: what the user wrote stays
 * as it is, and comes first. Anything else (a script, MIME parts) goes as it is, with the rest as vendor data, which every
 * cloud-init reads beside it. Pure. @throws CloudConfigError
 */
export function guestData(userData: string | null, login: CloudInitSpec | undefined): GuestData {
  if (login === undefined) return { userData: userData ?? `${HEAD}\n{}\n`, vendorData: null };
  if (userData === null) return { userData: fresh(login), vendorData: null };
  if (!cloudConfigHead.test(userData)) return { userData, vendorData: fresh(login) };
  const document = parseDocument(userData.replace(cloudConfigHead, ''), { version: '1.1' });
  const [error] = document.errors;
  if (error !== undefined) throw new CloudConfigError(error.message.split('\n')[0] ?? 'it is no YAML');
  if (document.contents === null) return { userData: fresh(login), vendorData: null };
  if (!isMap(document.contents)) throw new CloudConfigError('it is no mapping of keys');
  add(document, login);
  return { userData: `${HEAD}\n${document.toString({ lineWidth: 0 })}`, vendorData: null };
}

const fresh = (login: CloudInitSpec): string =>
  `${HEAD}\n${yaml(login.user === undefined ? { ssh_authorized_keys: login.sshKeys } : { users: ['default', account(login)] })}`;

const account = ({ user, sshKeys }: CloudInitSpec): object => ({
  name: user,
  sudo: 'ALL=(ALL) NOPASSWD:ALL',
  // eslint-disable-next-line no-restricted-syntax -- the login shell in the guest
  shell: '/bin/bash',
  lock_passwd: true,
  ssh_authorized_keys: sshKeys,
});

function add(document: Document, login: CloudInitSpec): void {
  if (login.user === undefined) return addTexts(document, ['ssh_authorized_keys'], login.sshKeys);
  if (!document.has('users')) return document.set('users', document.createNode(['default', account(login)]));
  const users = listAt(document, ['users']);
  const at = users.items.findIndex((item) => isMap(item) && item.get('name') === login.user);
  if (at < 0) users.add(document.createNode(account(login)));
  else addTexts(document, ['users', at, 'ssh_authorized_keys'], login.sshKeys);
}

/** Adds what the list does not have. */
function addTexts(document: Document, path: readonly (string | number)[], texts: readonly string[]): void {
  if (!document.hasIn(path)) return document.setIn(path, document.createNode(texts));
  const list = listAt(document, path);
  const known = new Set(list.items.map((item) => (isScalar(item) ? item.value : item)));
  for (const text of texts) if (!known.has(text)) list.add(document.createNode(text));
}

function listAt(document: Document, path: readonly (string | number)[]): YAMLSeq {
  const found = document.getIn(path);
  if (isSeq(found)) return found;
  throw new CloudConfigError(`${path.join('/')} in it is no list`);
}
