import { BerthError, type InstanceSpec } from '@berth/model';
import { isMap, parseDocument } from 'yaml';

/** Refuses a cloud-config to which `cloudInit` cannot be added: its host would find out too late. @throws invalid */
export function refuseUserData({ userData, cloudInit }: InstanceSpec): void {
  if (userData === undefined || cloudInit === undefined || !/^#cloud-config[ \t]*(\r?\n|$)/.test(userData))
    return;
  const why = faultOf(userData);
  if (why === null) return;
  const remedy = 'Correct the YAML, or leave cloudInit out and write users and keys into userData.';
  throw new BerthError('invalid', 'A field is not valid.', {
    remedy,
    errors: [
      {
        path: '/spec/userData',
        code: 'wrongFormat',
        message: `cloudInit cannot be added to it: ${why}`,
        remedy,
      },
    ],
  });
}

function faultOf(userData: string): string | null {
  const document = parseDocument(userData, { version: '1.1' });
  const [error] = document.errors;
  if (error !== undefined) return error.message.split('\n')[0] ?? 'it is no YAML';
  if (document.contents === null) return null;
  if (!isMap(document.contents)) return 'it is no mapping of keys';
  const lists = ['users', 'ssh_authorized_keys'] as const;
  const bad = lists.find((key) => document.has(key) && !Array.isArray(document.toJS()[key]));
  return bad === undefined ? null : `${bad} in it is no list`;
}
