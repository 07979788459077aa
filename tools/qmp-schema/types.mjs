import { format } from 'prettier';
import { events, open, soon, used } from './names.mjs';

/*
 * TypeScript from the answer of query-qmp-schema (QEMU's qapi/introspect.json). The schema's own type names are erased to
 * numbers there, so a type is named after the first way that leads to it: command or event, then members.
 */
const builtin = {
  string: 'string',
  int: 'number',
  number: 'number',
  boolean: 'boolean',
  null: 'null',
  object: 'object',
  array: 'readonly unknown[]',
  value: 'unknown',
};

const pascal = (text) =>
  text
    .split(/[^A-Za-z0-9]+/)
    .map((word) => (/[a-z]/.test(word) ? word : word.toLowerCase()))
    .map((word) => word.charAt(0).toUpperCase() + word.slice(1))
    .join('');

/** Names types and writes them, nearest first. */
class Types {
  #entities;
  #names = new Map();
  #taken = new Set();
  #waiting = [];

  constructor(schema) {
    this.#entities = new Map(schema.map((entity) => [entity.name, entity]));
  }

  entity(name, kind) {
    const entity = this.#entities.get(name);
    if (entity?.['meta-type'] !== kind) throw new Error(`this QEMU has no ${kind} ${name}`);
    return entity;
  }

  isEmpty(id) {
    const entity = this.#entities.get(id);
    return entity['meta-type'] === 'object' && entity.members.length === 0 && entity.tag === undefined;
  }

  needsNothing(id) {
    const { members, tag } = this.#entities.get(id);
    return tag === undefined && members.every((member) => member.default !== undefined);
  }

  /** How a type is written where it is used. `path` names it, if nothing did yet. */
  use(id, path) {
    const entity = this.#entities.get(id);
    if (entity['meta-type'] === 'builtin') return builtin[entity['json-type']];
    if (entity['meta-type'] === 'array') return `readonly ${this.use(entity['element-type'], path)}[]`;
    const known = this.#names.get(id);
    if (known !== undefined) return known;
    let name = path;
    for (let n = 2; this.#taken.has(name); n++) name = `${path}${n}`;
    this.#taken.add(name);
    this.#names.set(id, name);
    this.#waiting.push([name, entity]);
    return name;
  }

  /** Declarations of all that was used, and of what they use. */
  declarations() {
    const written = [];
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift())
      written.push(`export ${this.#declaration(...next)}`);
    return written.join('\n');
  }

  #declaration(name, entity) {
    switch (entity['meta-type']) {
      case 'enum':
        return `type ${name} = ${words(valuesOf(entity))};`;
      case 'alternate':
        return `type ${name} = ${entity.members.map(({ type }) => this.use(type, `${name}${this.#kind(type)}`)).join(' | ')};`;
      case 'object':
        return entity.tag === undefined ? this.#plain(name, entity) : this.#tagged(name, entity);
      default:
        throw new Error(`${entity['meta-type']} cannot be a type`);
    }
  }

  #kind(id) {
    return pascal(this.#entities.get(id)['meta-type']);
  }

  #plain(name, { members }) {
    if (members.length === 0) return `type ${name} = Record<string, never>;`;
    return `interface ${name} { ${this.#members(name, members)} }`;
  }

  #tagged(name, { members, tag, variants }) {
    const common = members.filter((member) => member.name !== tag);
    const filled = variants.filter(({ type }) => !this.isEmpty(type));
    const kinds = valuesOf(this.#entities.get(members.find((member) => member.name === tag).type));
    const bare = kinds.filter((kind) => !filled.some((variant) => variant.case === kind));
    const key = JSON.stringify(tag);
    const cases = filled.map(
      (v) => `({ readonly ${key}: ${words([v.case])} } & ${this.use(v.type, name + pascal(v.case))})`,
    );
    if (bare.length > 0) cases.push(`{ readonly ${key}: ${words(bare)} }`);
    const rest = common.length === 0 ? '' : `{ ${this.#members(name, common)} } & `;
    return `type ${name} = ${rest}(${cases.join(' | ')});`;
  }

  #members(name, members) {
    return members
      .map((m) => {
        const optional = m.default === undefined ? '' : '?';
        return `readonly ${JSON.stringify(m.name)}${optional}: ${this.use(m.type, name + pascal(m.name))};`;
      })
      .join(' ');
  }
}

/** Newer QEMUs describe each value of an enumeration. */
const valuesOf = (entity) => entity.members?.map(({ name }) => name) ?? entity.values;
const words = (values) => values.map((value) => JSON.stringify(value)).join(' | ');

function argumentsOf(types, command) {
  const { 'arg-type': id } = types.entity(command, 'command');
  if (types.isEmpty(id)) return 'undefined';
  const written = types.use(id, `${pascal(command)}Arguments`);
  if (open.has(command)) return `${written} & Readonly<Record<string, unknown>>`;
  return types.needsNothing(id) ? `${written} | undefined` : written;
}

function resultOf(types, command) {
  const { 'ret-type': id } = types.entity(command, 'command');
  return types.isEmpty(id) ? 'Record<string, never>' : types.use(id, `${pascal(command)}Result`);
}

function dataOf(types, event) {
  const { 'arg-type': id } = types.entity(event, 'event');
  return types.isEmpty(id) ? 'Record<string, never>' : types.use(id, `${pascal(event)}Data`);
}

/** The file with the types of every command and event that is named. @throws Error for one that this QEMU does not have */
export async function typesText({ version, schema }, prettierOptions) {
  const types = new Types(schema);
  const commands = [...Object.keys(used), ...soon].map(
    (c) => `${JSON.stringify(c)}: { args: ${argumentsOf(types, c)}; result: ${resultOf(types, c)} };`,
  );
  const told = events.map((e) => `${JSON.stringify(e)}: ${dataOf(types, e)};`);
  const text = `// Written by tools/qmp-schema from what QEMU ${version} says of itself. Do not edit: run tools/qmp-schema/write.mjs.

/** The QEMU whose schema this is. */
export const qmpSchemaVersion = ${JSON.stringify(version)};

/** Commands by name. Sizes are bytes and times nanoseconds unless QEMU's reference says otherwise. */
export interface QmpCommands { ${commands.join('\n')} }

/** Data of events by name. */
export interface QmpEvents { ${told.join('\n')} }

/** Every event that has a type here. */
export const qmpEventNames = ${JSON.stringify(events)} as const satisfies readonly (keyof QmpEvents)[];

${types.declarations()}
`;
  return format(text, { ...prettierOptions, parser: 'typescript' });
}

/** What the project uses and this QEMU does not have: `command`, or `command.member`. */
export function missing({ schema }) {
  const entities = new Map(schema.map((entity) => [entity.name, entity]));
  return Object.entries(used).flatMap(([command, members]) => {
    const entity = entities.get(command);
    if (entity?.['meta-type'] !== 'command') return [command];
    const has = new Set(entities.get(entity['arg-type']).members.map(({ name }) => name));
    return members.filter((member) => !has.has(member)).map((member) => `${command}.${member}`);
  });
}
