import { existsSync, mkdirSync } from 'node:fs';
import { open, readFile, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { BerthError } from '@berth/model';
import { hashSecret, makeSecret } from './access/secret.js';
import type { AccessStore, IdSource, ProjectStore, RequestContext } from './store/store.js';

export interface FirstAccessDeps {
  readonly store: Pick<ProjectStore, 'projectGet' | 'projectCreate'> &
    Pick<AccessStore, 'tokenCreate' | 'tokenFindByHash'>;
  readonly ids: IdSource;
  /** Root-only file that holds the first admin token. */
  readonly tokenFile: string;
}

/**
 * What a fresh store needs before anybody can use it: the project `default`, and an admin token in a file that only root
 * can read. A token file that the store does not know (a new database) gets a new token; one that works is kept.
 */
export async function firstAccessEnsure(deps: FirstAccessDeps): Promise<void> {
  const ctx: RequestContext = { actor: 'system:setup', traceId: deps.ids.uuid() };
  if ((await deps.store.projectGet('default')) === null)
    await deps.store.projectCreate(ctx, { name: 'default' }).catch((e: unknown) => {
      // Another replica was first.
      if (!(e instanceof BerthError && e.code === 'nameTaken')) throw e;
    });
  if (existsSync(deps.tokenFile)) {
    const known = await deps.store.tokenFindByHash(
      hashSecret((await readFile(deps.tokenFile, 'utf8')).trim()),
    );
    if (known !== null) return;
  }
  const secret = makeSecret('berth_');
  await deps.store.tokenCreate(ctx, {
    name: `admin-${deps.ids.uuid().slice(0, 8)}`,
    hash: secret.hash,
    projectId: null,
    role: 'admin',
    expiresAt: null,
  });
  await secretWrite(deps.tokenFile, `${secret.plain}\n`);
}

/** Never readable by others, not even for a moment, and never half written. */
async function secretWrite(path: string, text: string): Promise<void> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  const file = await open(`${path}.new`, 'w', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(`${path}.new`, path);
}
