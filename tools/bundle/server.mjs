// Bundles a server that SWC has compiled before, since Nest needs what that writes of decorators and esbuild does not.
//
//   usage, in the project: node ../../tools/bundle/server.mjs [ARGUMENT... with which it does nothing but end; --version]
import { renameSync } from 'node:fs';
import { bundle } from './bundle.mjs';

const idle = process.argv.length > 2 ? process.argv.slice(2) : ['--version'];
const dist = `${process.cwd()}/dist`;
// The name belongs to the loader, which is written over it.
renameSync(`${dist}/main.js`, `${dist}/server.js`);
await bundle({ entry: 'dist/server.js', dist, idle });
