// One file, so that a command starts fast: a module graph of 200 files costs more than the command itself.
import { rmSync } from 'node:fs';
import { build } from 'esbuild';

// Tests build one of their own elsewhere.
const outfile = process.argv[2] ?? 'dist/main.js';
if (process.argv[2] === undefined) rmSync('dist', { recursive: true, force: true });
await build({
  entryPoints: ['src/bin.ts'],
  outfile,
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'esm',
  conditions: ['berth-source'],
  sourcemap: true,
  logLevel: 'warning',
  banner: {
    js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
  },
});
