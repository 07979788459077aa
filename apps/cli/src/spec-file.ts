import { readFileSync } from 'node:fs';
import { parseAllDocuments, parse } from 'yaml';
import { exitCodes, Failure } from './failure.js';

/** A YAML or JSON file as an object; `-` is the standard input. @throws Failure */
export function fileRead(file: string): Record<string, unknown> {
  let text: string;
  try {
    text = readFileSync(file === '-' ? 0 : file, 'utf8');
  } catch (error) {
    throw new Failure(`${file} cannot be read: ${(error as Error).message}`, exitCodes.usage);
  }
  return documentParse(text, file);
}

export function documentParse(text: string, file: string): Record<string, unknown> {
  const documents = parseAllDocuments(text);
  if (documents.length > 1)
    throw new Failure(
      `${file} holds ${documents.length} documents; create takes one at a time`,
      exitCodes.usage,
    );
  const document = valueParse(text, `${file} is neither YAML nor JSON`);
  if (typeof document !== 'object' || document === null || Array.isArray(document))
    throw new Failure(`${file} must hold one mapping: name, labels, spec`, exitCodes.usage);
  return document as Record<string, unknown>;
}

/** YAML as JSON can carry it: an alias that holds itself is refused like any other mistake. */
function valueParse(text: string, complaint: string): unknown {
  try {
    return JSON.parse(JSON.stringify(parse(text) ?? null)) as unknown;
  } catch (error) {
    const [message] = (error as Error).message.split('\n    --> ');
    throw new Failure(`${complaint}: ${message}`, exitCodes.usage);
  }
}

/**
 * Sets `a.b.c=value` in a document. The value is read as YAML, so numbers stay numbers; quote it to keep a string:
 * `spec.process.env.N='"1"'`. @throws Failure for a bad assignment
 */
export function valueSet(document: Record<string, unknown>, assignment: string): void {
  const at = assignment.indexOf('=');
  const keys = assignment.slice(0, at).split('.');
  if (at < 1 || keys.some((k) => !/^[A-Za-z_][A-Za-z0-9_-]*$/.test(k) || k === '__proto__'))
    throw new Failure(`--set wants path.to.field=value, not ${assignment}`, exitCodes.usage);
  let here = document;
  for (const key of keys.slice(0, -1)) {
    const next = Object.hasOwn(here, key) ? here[key] : undefined;
    if (next !== undefined && (typeof next !== 'object' || next === null || Array.isArray(next)))
      throw new Failure(`--set ${assignment}: ${key} holds a value, no fields`, exitCodes.usage);
    here = (here[key] = next ?? {}) as Record<string, unknown>;
  }
  const text = assignment.slice(at + 1);
  const inEnv = keys.at(-2) === 'env';
  here[keys.at(-1)!] = inEnv ? text : valueParse(text, `--set ${assignment}: the value is no YAML`);
}
