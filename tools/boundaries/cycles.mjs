// Import cycles between source files, by what esbuild follows. A module that only gives types is not loaded, and makes none.
import { build, stop } from 'esbuild';

/**
 * Groups of files that import each other in a circle, each sorted; empty: there are none.
 *
 * @param root absolute path of the workspace
 * @param files entries, from the root on: all that they lead to is looked at, packages of others left out
 */
export async function importCycles(root, files) {
  const built = build({
    absWorkingDir: root,
    entryPoints: files,
    bundle: true,
    write: false,
    metafile: true,
    outdir: 'dist',
    format: 'esm',
    platform: 'node',
    packages: 'external',
    loader: { '.css': 'empty' },
    tsconfigRaw: { compilerOptions: { experimentalDecorators: true } },
    logLevel: 'error',
  });
  // Its service would wait for more.
  const { metafile } = await built.finally(stop);
  const graph = new Map(
    Object.entries(metafile.inputs).map(([file, { imports }]) => [
      file,
      imports.filter(({ external }) => !external).map(({ path }) => path),
    ]),
  );
  return circles(graph);
}

/** Strongly connected parts of more than one file, by Tarjan's algorithm. */
function circles(graph) {
  const order = new Map();
  const low = new Map();
  const stack = [];
  const found = [];
  const visit = (file) => {
    order.set(file, order.size);
    low.set(file, order.get(file));
    stack.push(file);
    for (const next of graph.get(file) ?? []) {
      if (!order.has(next)) visit(next);
      if (stack.includes(next)) low.set(file, Math.min(low.get(file), low.get(next)));
    }
    if (low.get(file) !== order.get(file)) return;
    const part = stack.splice(stack.indexOf(file));
    if (part.length > 1) found.push(part.sort());
  };
  for (const file of graph.keys()) if (!order.has(file)) visit(file);
  return found;
}
