/* Apart from instance.ts: browsers need these, and not the schemas. */

/** Type of the condition of a machine whose guest agent answers. It is good news: see {@link troublesOf}. */
export const agentConnectedType = 'AgentConnected';

/** The conditions that keep it from its work. */
export function troublesOf<C extends { readonly type: string }>(conditions: readonly C[]): C[] {
  return conditions.filter((c) => c.type !== agentConnectedType);
}
