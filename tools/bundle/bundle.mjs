// Makes one file of a program and of all it imports: loading two thousand small files costs an API most of the time it is
// away after a crash, an agent the same, and a command more than itself. Written beside it: its source map, V8's code for
// it, and main.js, which loads both, with what that needs.
import { execFileSync } from 'node:child_process';
import { copyFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = (name) => fileURLToPath(new URL(name, import.meta.url));

/** How files are read: ours keep their own `import.meta.url`, as some look for what is beside them. */
const urls = (dist) => ({
  name: 'urls',
  setup(bundle) {
    bundle.onLoad({ filter: /\.[jt]s$/ }, async ({ path }) => {
      if (path.includes('/node_modules/')) return undefined;
      const text = await readFile(path, 'utf8');
      const url = `(new URL(${JSON.stringify(relative(dist, path))}, import.meta.url).href)`;
      return {
        contents: text.replaceAll('import.meta.url', url),
        loader: path.endsWith('.ts') ? 'ts' : 'js',
      };
    });
  },
});

/** What a library asks for where it is installed, and is not here, is asked for when the program runs. */
const absent = {
  name: 'absent',
  setup(bundle) {
    bundle.onResolve({ filter: /^[^./]/ }, async ({ path, resolveDir, importer, kind, pluginData }) => {
      if (pluginData === absent || kind === 'import-statement' || !importer.includes('/node_modules/'))
        return undefined;
      const found = await bundle.resolve(path, { resolveDir, importer, kind, pluginData: absent });
      return found.errors.length > 0 ? { path, external: true } : undefined;
    });
  },
};

/**
 * @param o.entry source or compiled file that the program begins with
 * @param o.dist absolute path of the directory that becomes the program; what is there stays
 * @param o.idle arguments with which the program does nothing but end
 * @param o.options further options of esbuild
 */
export async function bundle({ entry, dist, idle, options = {} }) {
  await build({
    entryPoints: [entry],
    outfile: `${dist}/program.cjs`,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    // Code from a cache has no loader to ask for a module later.
    supported: { 'dynamic-import': false },
    charset: 'ascii',
    // Tokens and errors are told apart by the names of their classes.
    keepNames: true,
    sourcemap: true,
    sourcesContent: false,
    // What is compiled for this machine, and what only tests load.
    external: ['koffi', 'esbuild'],
    plugins: [absent, urls(dist)],
    logLevel: 'warning',
    define: { 'import.meta.url': 'programUrl' },
    banner: { js: '(function (require, programUrl, module) {' },
    footer: { js: '})' },
    ...options,
  });
  for (const name of ['main', 'load', 'source-lines'])
    copyFileSync(here(`${name}.mjs`), `${dist}/${name}.js`);
  execFileSync(process.execPath, [here('warm.mjs'), dist, ...idle], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
}
