/** Pieces of libnftables' JSON (libnftables-json(5)). */
export type NftCommand = Readonly<Record<string, unknown>>;
export type Expression = Readonly<Record<string, unknown>>;

export const match = (left: unknown, right: unknown, op = '=='): Expression => ({
  match: { op, left, right },
});
export const meta = (key: string) => ({ meta: { key } });
export const field = (protocol: string, name: string) => ({ payload: { protocol, field: name } });
export const set = (elements: readonly (string | number)[]) => ({ set: [...elements] });
export const concat = (...parts: unknown[]) => ({ concat: parts });

/** nft takes names from JSON literally into its scanner's place: keep them to what its grammar calls a string. */
export function tableCheck(name: string): string {
  if (!/^[a-zA-Z][a-zA-Z0-9_]{0,63}$/.test(name))
    throw new RangeError(`not a table name: ${JSON.stringify(name)}`);
  return name;
}

/** Whether a listing (`nft -j list table`) shows so many rules in these chains, all with this mark. */
export function nftMatches(
  listing: unknown,
  wanted: { readonly mark: string; readonly rules: readonly { readonly chain: string }[] },
): boolean {
  const entries = (listing as { nftables?: { rule?: { chain: string; comment?: string } }[] }).nftables ?? [];
  const chains = new Set(wanted.rules.map(({ chain }) => chain));
  const rules = entries.flatMap((e) => (e.rule === undefined || !chains.has(e.rule.chain) ? [] : [e.rule]));
  return rules.length === wanted.rules.length && rules.every((r) => r.comment === wanted.mark);
}
