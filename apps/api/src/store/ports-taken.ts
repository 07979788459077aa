import type { Tx } from './db.js';

/** Ports that instances publish on hosts. `instances_publishing` finds the few specs that name any. */
export const portsTakenSql = `
  SELECT p.host_id, q.protocol || '/' || q."hostPort" AS port
  FROM instances i JOIN placements p ON p.instance_id = i.id AND p.phase <> 'ended'
  CROSS JOIN LATERAL jsonb_to_recordset(jsonb_path_query_array(i.spec, '$.nics[*].ports[*]')) AS q (protocol text, "hostPort" int)
  WHERE i.spec @? '$.nics[*].ports[*]'`;

/** By host. */
export async function portsTaken(tx: Tx): Promise<ReadonlyMap<string, readonly string[]>> {
  const byHost = new Map<string, string[]>();
  for (const { host_id, port } of await tx.rows<{ host_id: string; port: string }>(
    `${portsTakenSql} ORDER BY 1, 2`,
  ))
    byHost.set(host_id, [...(byHost.get(host_id) ?? []), port]);
  return byHost;
}
