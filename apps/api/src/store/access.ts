import type { ProjectId, Role } from '@berth/model';
import { IsNull } from 'typeorm';
import type { RequestContext } from './context.js';
import type { Db } from './db.js';
import { inTx, mapped, read } from './db.js';
import { JoinTokenEntity, RoleBindingEntity } from './entities.js';
import { eventsWrite } from './events.js';
import { keyAnswer } from './keyed.js';
import type { JoinTokenRow, RoleBindingRow, TokenRow } from './rows.js';

/** Columns of a {@link TokenRow} from `tokens t` and its project `p`. */
export const tokenColumns = `t.id, t.name, t.project_id AS "projectId", p.name AS project, t.role,
  t.created_at AS "createdAt", t.expires_at AS "expiresAt", t.revoked_at AS "revokedAt"`;
const tokens = `SELECT ${tokenColumns} FROM tokens t LEFT JOIN projects p ON p.id = t.project_id`;
type TokenRecord = TokenRow & Record<string, unknown>;

export async function tokenCreate(
  db: Db,
  ctx: RequestContext,
  token: { name: string; hash: string; projectId: ProjectId | null; role: Role; expiresAt: Date | null },
): Promise<TokenRow> {
  return inTx(db, async (tx) => {
    const id = tx.ids.uuid();
    await tx.changed(
      `INSERT INTO tokens (id, name, hash, project_id, role, created_by, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
      [id, token.name, token.hash, token.projectId, token.role, ctx.actor, tx.now, token.expiresAt],
    );
    await eventsWrite(tx, ctx, [
      {
        class: 'audit',
        type: 'token.created',
        projectId: token.projectId,
        object: { kind: 'token', id, name: token.name },
        data: { role: token.role },
      },
    ]);
    const row = await tx.row<TokenRecord>(`${tokens} WHERE t.id = $1`, [id]);
    if (row === null) throw new Error('the token just written is missing');
    await keyAnswer(tx, ctx, row);
    return row;
  });
}

export async function tokenFindByHash(db: Db, hash: string): Promise<TokenRow | null> {
  const [row] = await read<TokenRecord>(
    db,
    `${tokens} WHERE t.hash = $1 AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > $2)`,
    [hash, db.clock.now()],
  );
  return row ?? null;
}

export async function tokenFindById(db: Db, id: string): Promise<TokenRow | null> {
  const [row] = await read<TokenRecord>(
    db,
    `${tokens} WHERE t.id = $1 AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > $2)`,
    [id, db.clock.now()],
  );
  return row ?? null;
}

export async function tokenList(db: Db, projectId: ProjectId | null): Promise<readonly TokenRow[]> {
  return read<TokenRecord>(
    db,
    `${tokens} WHERE ($1::uuid IS NULL OR t.project_id = $1) ORDER BY t.created_at, t.id`,
    [projectId],
  );
}

export async function tokenRevoke(db: Db, ctx: RequestContext, id: string): Promise<boolean> {
  return inTx(db, async (tx) => {
    const row = await tx.row<{ name: string; project_id: ProjectId | null }>(
      `UPDATE tokens SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL RETURNING name, project_id`,
      [id, tx.now],
    );
    if (row === null) return false;
    await eventsWrite(tx, ctx, [
      {
        class: 'audit',
        type: 'token.revoked',
        projectId: row.project_id,
        object: { kind: 'token', id, name: row.name },
      },
    ]);
    return true;
  });
}

const toBinding = (b: RoleBindingEntity): RoleBindingRow => ({
  ...b,
  projectId: b.projectId as ProjectId | null,
});

export async function roleBindingSet(
  db: Db,
  ctx: RequestContext,
  binding: { projectId: ProjectId | null; subject: string; role: Role },
): Promise<RoleBindingRow> {
  await inTx(db, async (tx) => {
    await tx.changed(
      `INSERT INTO role_bindings (id, project_id, subject, role, created_at) VALUES ($1, $2, $3, $4, $5)
       ON CONFLICT (project_id, subject) DO UPDATE SET role = excluded.role`,
      [tx.ids.uuid(), binding.projectId, binding.subject, binding.role, tx.now],
    );
    await eventsWrite(tx, ctx, [
      {
        class: 'audit',
        type: 'roleBinding.set',
        projectId: binding.projectId,
        object: { kind: 'roleBinding', id: binding.subject, name: binding.subject },
        data: { role: binding.role },
      },
    ]);
  });
  const row = await mapped(() =>
    db.orm
      .getRepository(RoleBindingEntity)
      .findOneByOrFail({ subject: binding.subject, projectId: binding.projectId ?? IsNull() }),
  );
  return toBinding(row);
}

export async function roleBindingList(db: Db, subject: string): Promise<readonly RoleBindingRow[]> {
  const rows = await mapped(() =>
    db.orm.getRepository(RoleBindingEntity).find({ where: { subject }, order: { createdAt: 'ASC' } }),
  );
  return rows.map(toBinding);
}

export async function roleBindingRemove(db: Db, ctx: RequestContext, id: string): Promise<boolean> {
  return inTx(db, async (tx) => {
    const row = await tx.row<{ subject: string; project_id: ProjectId | null }>(
      `DELETE FROM role_bindings WHERE id = $1 RETURNING subject, project_id`,
      [id],
    );
    if (row === null) return false;
    await eventsWrite(tx, ctx, [
      {
        class: 'audit',
        type: 'roleBinding.removed',
        projectId: row.project_id,
        object: { kind: 'roleBinding', id: row.subject, name: row.subject },
      },
    ]);
    return true;
  });
}

const toJoinToken = (t: JoinTokenEntity): JoinTokenRow => ({
  id: t.id,
  hostName: t.hostName,
  labels: t.labels,
  createdAt: t.createdAt,
  expiresAt: t.expiresAt,
  consumedAt: t.consumedAt,
});

export async function joinTokenCreate(
  db: Db,
  ctx: RequestContext,
  token: { hash: string; hostName: string | null; labels: Record<string, string>; expiresAt: Date },
): Promise<JoinTokenRow> {
  return inTx(db, async (tx) => {
    const id = tx.ids.uuid();
    await tx.changed(
      `INSERT INTO join_tokens (id, hash, host_name, labels, created_by, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
      [id, token.hash, token.hostName, JSON.stringify(token.labels), ctx.actor, tx.now, token.expiresAt],
    );
    await eventsWrite(tx, ctx, [
      {
        class: 'audit',
        type: 'joinToken.created',
        projectId: null,
        object: { kind: 'joinToken', id, name: token.hostName ?? 'any' },
      },
    ]);
    const { hostName, labels, expiresAt } = token;
    const row: JoinTokenRow = { id, hostName, labels, createdAt: tx.now, expiresAt, consumedAt: null };
    await keyAnswer(tx, ctx, row);
    return row;
  });
}

/** Those not revoked. */
export async function joinTokenList(db: Db): Promise<readonly JoinTokenRow[]> {
  const rows = await mapped(() =>
    db.orm
      .getRepository(JoinTokenEntity)
      .find({ where: { revokedAt: IsNull() }, order: { createdAt: 'ASC' } }),
  );
  return rows.map(toJoinToken);
}

export async function joinTokenRevoke(db: Db, ctx: RequestContext, id: string): Promise<boolean> {
  return inTx(db, async (tx) => {
    const changed = await tx.changed(
      `UPDATE join_tokens SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL AND consumed_at IS NULL`,
      [id, tx.now],
    );
    if (changed > 0)
      await eventsWrite(tx, ctx, [
        {
          class: 'audit',
          type: 'joinToken.revoked',
          projectId: null,
          object: { kind: 'joinToken', id, name: id },
        },
      ]);
    return changed > 0;
  });
}
