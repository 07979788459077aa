// One file, so that a command starts fast: a module graph of 200 files costs more than the command itself.
import { rmSync } from 'node:fs';
import { bundle } from '../../tools/bundle/bundle.mjs';

// Tests build one of their own elsewhere.
const dist = process.argv[2] ?? `${process.cwd()}/dist`;
if (process.argv[2] === undefined) rmSync('dist', { recursive: true, force: true });
await bundle({ entry: 'src/bin.ts', dist, idle: ['--help'], options: { conditions: ['berth-source'] } });
