import { defineConfig } from 'vitest/config';

export default defineConfig({
  resolve: { conditions: ['berth-source'] },
  ssr: { resolve: { conditions: ['berth-source'], externalConditions: ['berth-source'] } },
  test: {
    include: ['{apps,libs}/*/src/**/*.test.ts', 'tests/**/*.test.ts', 'migrations/**/*.test.ts'],
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
});
