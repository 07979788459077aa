// Loads a program that bundle.mjs made, from what it wrote beside this file. Compiling and scanning megabytes of JavaScript
// is most of the processor time of a start, so V8's own code cache is kept beside the program.
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { Script } from 'node:vm';
import { fileURLToPath } from 'node:url';
import { SourceLines } from './source-lines.js';

// The name that V8 knows it by is in the cache too, so it says nothing of where that was made.
const name = 'program.cjs';
const file = fileURLToPath(new URL(name, import.meta.url));
/** Made at the build, by running the program once. V8 refuses one of another version or program, and compiles. */
export const cacheFile = fileURLToPath(new URL('program.cache', import.meta.url));

/** The program, which runs at `start`. With the cache that is kept unless it is to be made. */
export function program({ cached }) {
  const cachedData = cached && existsSync(cacheFile) ? readFileSync(cacheFile) : undefined;
  // esbuild writes nothing but ASCII: a string of one byte for each character.
  const script = new Script(readFileSync(file, 'latin1'), {
    filename: name,
    cachedData,
  });
  const start = () =>
    script.runInThisContext()(createRequire(import.meta.url), import.meta.url, { exports: {} });
  return { script, start };
}

/** Stack traces name the sources. The map is read when the first is asked for, which most programs never do. */
export function traceSources() {
  let map;
  const line = (frame) => {
    const text = frame.toString();
    if (frame.getFileName() !== name) return text;
    map ??= new SourceLines(JSON.parse(readFileSync(`${file}.map`, 'utf8')));
    const [row, column] = [frame.getLineNumber(), frame.getColumnNumber()];
    const found = map.find(row - 1, column - 1);
    if (found === null) return text;
    const source = fileURLToPath(new URL(found.source, import.meta.url));
    return text.replace(`${name}:${row}:${column}`, `${source}:${found.line + 1}:${found.column + 1}`);
  };
  Error.prepareStackTrace = (error, frames) => {
    const lines = frames.map((frame) => `\n    at ${line(frame)}`).join('');
    return `${Error.prototype.toString.call(error)}${lines}`;
  };
}
