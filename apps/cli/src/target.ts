import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { exitCodes, Failure } from './failure.js';

/** Where the API is and who asks. */
export interface Target {
  readonly baseUrl: string;
  readonly token: string;
}

/**
 * From the options, then BERTH_API and BERTH_TOKEN, then the admin token that the API wrote for root.
 * @throws Failure when there is no token, or the address is none.
 */
export function targetFrom(env: NodeJS.ProcessEnv, options: { api?: string; token?: string }): Target {
  const base = options.api ?? env['BERTH_API'] ?? `http://127.0.0.1:${env['BERTH_API_PORT'] || '7070'}`;
  if (!/^https?:\/\//.test(base) || !URL.canParse(base))
    throw new Failure(
      `${base} is no address of an API\n  -> Set --api or BERTH_API to one like http://127.0.0.1:7070`,
      exitCodes.usage,
    );
  const token =
    options.token ??
    env['BERTH_TOKEN'] ??
    adminToken(join(env['BERTH_ROOT'] || '/', 'etc/berth/admin-token'));
  if (!/^[\x21-\x7e]+$/.test(token))
    throw new Failure(
      'the token is empty or holds characters that no token has\n  -> Set --token or BERTH_TOKEN to the secret as it was shown',
      exitCodes.usage,
    );
  return { baseUrl: base.replace(/\/+$/, ''), token };
}

function adminToken(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EACCES') throw new Failure(`${file} is for root alone.\n  -> Use sudo, or set BERTH_TOKEN`);
    throw new Failure(
      `There is no token: ${file} is missing.\n  -> Start Berth with berth up, or set BERTH_API and BERTH_TOKEN`,
      exitCodes.unreachable,
    );
  }
}
