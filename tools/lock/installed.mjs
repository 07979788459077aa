// Ends with 0 when node_modules holds what package-lock.json asks for, as npm itself recorded it, so that a lock file
// touched by `npm install` or a checkout does not cost a whole `npm ci`.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** First entry of the lock that is not installed in the same version, or null. Optional ones may be absent. Pure. */
export function firstMissing(lock, installed) {
  for (const [key, entry] of Object.entries(lock.packages)) {
    if (key === '' || entry.optional === true) continue;
    const have = installed.packages[key];
    if (!key.includes('node_modules/')) continue;
    if (have === undefined || have.version !== entry.version || have.integrity !== entry.integrity)
      return key;
  }
  return null;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const read = (path) =>
    JSON.parse(readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), 'utf8'));
  try {
    process.exitCode =
      firstMissing(read('package-lock.json'), read('node_modules/.package-lock.json')) === null ? 0 : 1;
  } catch {
    process.exitCode = 1;
  }
}
