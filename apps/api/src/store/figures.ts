import type { InstanceId, Isolation } from '@berth/model';
import type { Db } from './db.js';
import { inTx } from './db.js';
import type { Figures } from './rows.js';

interface Counted {
  readonly key: string;
  readonly more: string;
  readonly n: number;
}
type Row = Counted & Record<string, unknown>;

/** The filter that refused the most hosts, of an instance that waits. */
const waitingReason = `coalesce((SELECT r->>'filter' FROM jsonb_array_elements(d.body->'rejected') r
    ORDER BY (r->>'hosts')::int DESC, r->>'filter' LIMIT 1), 'notTried')`;

/**
 * What a scrape counts, as of one moment. `named` bounds how many running instances are named, longest known first, so
 * that the list does not change its members from one scrape to the next.
 */
export async function figuresRead(db: Db, named: number): Promise<Figures> {
  return inTx(db, async (tx) => {
    await tx.rows('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY');
    const instances = await tx.rows<Row>(
      'SELECT state AS key, isolation AS more, count(*) AS n FROM instances GROUP BY 1, 2',
    );
    const pending = await tx.rows<Row>(
      `SELECT ${waitingReason} AS key, '' AS more, count(*) AS n FROM instances i
         LEFT JOIN decisions d ON d.id = i.decision_id AND d.outcome = 'unplaced'
       WHERE i.state = 'pending' AND i.desired IN ('running', 'paused') GROUP BY 1`,
    );
    const operations = await tx.rows<Row>(
      `SELECT kind AS key, '' AS more, count(*) AS n FROM operations WHERE state IN ('pending', 'running') GROUP BY 1`,
    );
    const [ledger] = await tx.rows<{ unnumbered: number; oldest: Date | null }>(
      'SELECT count(*) AS unnumbered, min(at) AS oldest FROM events WHERE position IS NULL',
    );
    const names = await tx.rows<{ id: InstanceId; project: string; name: string; isolation: Isolation }>(
      `SELECT i.id, p.name AS project, i.name, i.isolation FROM instances i JOIN projects p ON p.id = i.project_id
       WHERE EXISTS (SELECT FROM placements pl WHERE pl.instance_id = i.id AND pl.phase = 'running')
       ORDER BY i.created_at, i.id LIMIT $1`,
      [named],
    );
    const ids = [names.map(({ id }) => id)];
    const volumes = await tx.rows<Figures['volumes'][number]>(
      `SELECT id, owner_instance_id AS "instanceId", name, kind <> 'data' AS root FROM volumes
       WHERE owner_instance_id = ANY ($1) AND kind IN ('rootDisk', 'writableLayer', 'data')`,
      ids,
    );
    const nics = await tx.rows<Figures['nics'][number]>(
      `SELECT n.id, n.instance_id AS "instanceId", w.name AS network, n.mac FROM nics n
         JOIN networks w ON w.id = n.network_id WHERE n.instance_id = ANY ($1)`,
      ids,
    );
    return {
      instances: instances.map((r) => ({ state: r.key, isolation: r.more, count: r.n })),
      pending: pending.map((r) => ({ reason: r.key, count: r.n })),
      operations: operations.map((r) => ({ kind: r.key, count: r.n })),
      ledger: {
        unnumbered: ledger?.unnumbered ?? 0,
        lagSeconds: !ledger?.oldest ? 0 : Math.max(0, (tx.now.getTime() - ledger.oldest.getTime()) / 1000),
      },
      running: names,
      volumes,
      nics,
      pool: { open: db.pool.totalCount, idle: db.pool.idleCount, waiting: db.pool.waitingCount },
    };
  });
}
