import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
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
  let document: unknown;
  try {
    document = parse(text);
  } catch (error) {
    throw new Failure(`${file} is neither YAML nor JSON: ${(error as Error).message}`, exitCodes.usage);
  }
  if (typeof document !== 'object' || document === null || Array.isArray(document))
    throw new Failure(`${file} must hold one mapping: name, labels, spec`, exitCodes.usage);
  return document as Record<string, unknown>;
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
  here[keys.at(-1)!] = inEnv ? text : parse(text);
}
