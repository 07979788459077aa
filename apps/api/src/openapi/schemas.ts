import { z } from 'zod';

type Json = Record<string, unknown>;
type Direction = 'input' | 'output';

/**
 * Turns zod schemas into JSON Schema 2020-12 (the dialect of OpenAPI 3.1). What has an id (`.meta({ id })`) becomes a
 * component once and is referred to; the rest stands in place. `input` is what a client sends (defaults may be left
 * out), `output` what it gets (defaults filled in); what differs between them is a component of its own where it is sent,
 * by the name in `.meta({ sentAs })`.
 */
export class SchemaBook {
  private readonly named = new Map<string, { text: string; schema: Json }>();

  /** The schema, or a reference to it when it has an id; named schemas inside it become components. */
  ref(schema: z.ZodType, direction: Direction): Json {
    const made = z.toJSONSchema(schema, { io: direction, target: 'draft-2020-12', override: plain }) as Json;
    const { $schema: _, $defs, ...body } = made;
    const parts = Object.entries(($defs ?? {}) as Record<string, Json>);
    const names = new Map<string, string>();
    for (const [id, part] of parts)
      if (direction === 'input' && typeof part['sentAs'] === 'string') names.set(id, part['sentAs']);
    for (const [id, { sentAs: __, ...part }] of parts) this.add(names.get(id) ?? id, rewritten(part, names));
    return rewritten(body, names);
  }

  /** Every component, by name. */
  components(): Json {
    return Object.fromEntries(
      [...this.named].sort(([a], [b]) => (a < b ? -1 : 1)).map(([id, { schema }]) => [id, schema]),
    );
  }

  private add(id: string, schema: Json): void {
    const text = JSON.stringify(schema);
    const known = this.named.get(id);
    if (known !== undefined && known.text !== text)
      throw new Error(
        `the schema ${id} differs between what is sent and what is answered: give each its own id`,
      );
    this.named.set(id, { text, schema });
  }
}

/** Leaves out what only repeats itself: the pattern of a named format, and the range of every safe integer. */
function plain({ jsonSchema }: { jsonSchema: Json }): void {
  if (jsonSchema['format'] === 'uuid' || jsonSchema['format'] === 'date-time') delete jsonSchema['pattern'];
  if (jsonSchema['minimum'] === Number.MIN_SAFE_INTEGER) delete jsonSchema['minimum'];
  if (jsonSchema['maximum'] === Number.MAX_SAFE_INTEGER) delete jsonSchema['maximum'];
}

const DEFS = '#/$defs/';

/** References to zod's own `$defs` as references to components, by the names that these have here. */
function rewritten(schema: Json, names: ReadonlyMap<string, string>): Json {
  return JSON.parse(
    JSON.stringify(schema, (key, value: unknown) => {
      if (key !== '$ref' || typeof value !== 'string' || !value.startsWith(DEFS)) return value;
      const id = value.slice(DEFS.length);
      return `#/components/schemas/${names.get(id) ?? id}`;
    }),
  ) as Json;
}
