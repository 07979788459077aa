// Takes out of package-lock.json the optional dependencies that it names and does not hold: binaries for other platforms
// that the registry of the machine where the lock was written does not offer. npm refuses `npm ci` over them. Run after
// `npm install`; a test sees when it was forgotten.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** Optional dependencies that no entry of the lock satisfies, by package. Pure. */
export function danglingOptionals(lock) {
  const held = new Set(Object.keys(lock.packages).map((key) => key.split('node_modules/').at(-1)));
  return Object.entries(lock.packages)
    .map(([key, entry]) => ({
      key,
      names: Object.keys(entry.optionalDependencies ?? {}).filter((name) => !held.has(name)),
    }))
    .filter(({ names }) => names.length > 0);
}

const file = fileURLToPath(new URL('../../package-lock.json', import.meta.url));
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const lock = JSON.parse(readFileSync(file, 'utf8'));
  for (const { key, names } of danglingOptionals(lock)) {
    for (const name of names) delete lock.packages[key].optionalDependencies[name];
    process.stdout.write(`${key}: ${names.length} optional dependencies taken out\n`);
  }
  writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);
}
