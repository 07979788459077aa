import { readFileSync } from 'node:fs';
import { parseAllDocuments, parseDocument, type Document } from 'yaml';
import { exitCodes, Failure } from './failure.js';

/** The documents of a YAML or JSON file, at least one; `-` is the standard input. @throws Failure */
export function documentsRead(file: string): Record<string, unknown>[] {
  let text: string;
  try {
    text = readFileSync(file === '-' ? 0 : file, 'utf8');
  } catch (error) {
    throw new Failure(`${file} cannot be read: ${(error as Error).message}`, exitCodes.usage);
  }
  return documentsParse(text, file === '-' ? 'the standard input' : file);
}

export function documentsParse(text: string, file: string): Record<string, unknown>[] {
  const parsed = parseAllDocuments(text);
  const documents = (Array.isArray(parsed) ? parsed : []).filter((d) => d.contents !== null);
  if (documents.length === 0) throw new Failure(`${file} holds no document`, exitCodes.usage);
  return documents.map((document, i) => {
    const which = documents.length === 1 ? file : `document ${i + 1} of ${file}`;
    const value = valueOf(document, `${which} is neither YAML nor JSON`);
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw new Failure(`${which} must hold one mapping: name, labels, spec`, exitCodes.usage);
    return value as Record<string, unknown>;
  });
}

/** YAML as JSON can carry it: an alias that holds itself is refused like any other mistake. */
function valueOf(document: Document, complaint: string): unknown {
  try {
    const [mistake] = document.errors;
    if (mistake !== undefined) throw mistake;
    return JSON.parse(JSON.stringify(document.toJS() ?? null)) as unknown;
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
  here[keys.at(-1)!] = inEnv
    ? text
    : valueOf(parseDocument(text), `--set ${assignment}: the value is no YAML`);
}
