import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import react from '@vitejs/plugin-react';
import { defineConfig, type Plugin } from 'vite';

/** Compressed copies beside the files, so that the API never compresses while it serves. */
function compressed(dir: string): Plugin {
  return {
    name: 'berth-compressed',
    apply: 'build',
    closeBundle() {
      for (const entry of readdirSync(dir, { recursive: true, withFileTypes: true })) {
        if (!entry.isFile() || !/\.(js|css|html|svg)$/.test(entry.name)) continue;
        const path = join(entry.parentPath, entry.name);
        const bytes = readFileSync(path);
        if (bytes.length < 1024) continue;
        writeFileSync(`${path}.gz`, gzipSync(bytes, { level: 9 }));
        const params = {
          [constants.BROTLI_PARAM_QUALITY]: 11,
          [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
        };
        writeFileSync(`${path}.br`, brotliCompressSync(bytes, { params }));
      }
    },
  };
}

const api = process.env['BERTH_API'] ?? 'http://127.0.0.1:7070';

export default defineConfig({
  base: '/ui/',
  plugins: [react(), compressed(join(import.meta.dirname, 'dist'))],
  resolve: { conditions: ['berth-source', 'browser', 'module', 'import', 'default'] },
  build: { target: 'es2022', manifest: true, chunkSizeWarningLimit: 600 },
  // `npx vite` in this folder, beside an API that runs: changes show at once.
  server: { proxy: { '/v1': { target: api, changeOrigin: false } } },
});
