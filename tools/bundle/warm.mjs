// Runs a program that bundle.mjs made, so that what it needs to start is compiled, and keeps what V8 made of it.
//
//   usage: node warm.mjs DIST ARGUMENT... (with which the program does nothing but end)
import { writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const [, , dist, ...args] = process.argv;
const { cacheFile, program } = await import(pathToFileURL(`${dist}/load.js`));
const { script, start } = program({ cached: false });
process.argv = [process.execPath, `${dist}/main.js`, ...args];
process.on('exit', () => writeFileSync(cacheFile, script.createCachedData()));
start();
