// Makes one file of a server's compiled program, in its place: loading two thousand small files costs an API most of the
// time it is away after a crash, and an agent the same. Compiled by SWC before, since Nest needs what that writes of decorators.
//
//   usage, in the project: node ../../tools/bundle/server.mjs
import { readFile } from 'node:fs/promises';
import { relative } from 'node:path';
import { build } from 'esbuild';

const dist = `${process.cwd()}/dist`;

/** How files are read: ours keep their own `import.meta.url`, as some look for what is beside them. */
const files = {
  name: 'files',
  setup(bundle) {
    bundle.onLoad({ filter: /\.js$/ }, async ({ path }) => {
      if (path.includes('/node_modules/')) return undefined;
      const text = await readFile(path, 'utf8');
      const url = `(new URL(${JSON.stringify(relative(dist, path))}, import.meta.url).href)`;
      return { contents: text.replaceAll('import.meta.url', url) };
    });
  },
};

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

await build({
  entryPoints: ['dist/main.js'],
  outfile: 'dist/main.js',
  allowOverwrite: true,
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'esm',
  // Tokens and errors are told apart by the names of their classes.
  keepNames: true,
  sourcemap: true,
  sourcesContent: false,
  // What is compiled for this machine, and what only tests load.
  external: ['koffi', 'esbuild'],
  plugins: [absent, files],
  logLevel: 'warning',
  banner: {
    js: [
      "import { createRequire as requireFrom } from 'node:module';",
      "import { fileURLToPath as pathFrom } from 'node:url';",
      'const require = requireFrom(import.meta.url);',
      "const __filename = pathFrom(import.meta.url), __dirname = pathFrom(new URL('.', import.meta.url));",
    ].join(' '),
  },
});
