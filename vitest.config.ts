import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const conditions = ['berth-source'];
/** Compares the machine and the worker before and after each file. */
const setupFiles = [fileURLToPath(new URL('tests/leaks/setup.ts', import.meta.url))];
const resolve = {
  resolve: { conditions },
  ssr: { resolve: { conditions, externalConditions: conditions } },
};

/** A wait for a condition fails on a busy machine only where the condition never comes. */
const expect = { poll: { timeout: 15_000 } };

/**
 * Rooms whose tests keep nothing of the machine, replace no module and hold no state of their own: their files share a worker. To start
 * one and to load the API or the agent into it costs one to three seconds of a processor, which is more than many a file runs.
 */
const shared = [
  'apps/{agent,api,cli,dashboard,supervisor}/src/**/*.test.ts',
  'libs/{faults,images,link,linux,model,scheduler,storage}/src/**/*.test.ts',
  'libs/containers/src/{bundle,isolation,secrets}/**/*.test.ts',
  'libs/kvm/src/{accel,cloud-init,guest,libvirt,machine,qga,qmp}/**/*.test.ts',
];
/** The same of several rooms: Postgres, and the API in this process. */
const sharedWhole = ['tests/{http,images,metrics,store}/**/*.test.ts'];

/**
 * Two groups: tests beside the code run in parallel; those of several rooms (tests/) follow, one file after the other,
 * since they own ports, libvirt or whole hosts while they run.
 */
export default defineConfig({
  ...resolve,
  test: {
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 60_000,
    projects: [
      {
        ...resolve,
        test: {
          name: 'rooms',
          expect,
          setupFiles,
          include: ['{apps,libs}/*/src/**/*.test.ts', 'migrations/**/*.test.ts'],
          exclude: shared,
          testTimeout: 30_000,
          hookTimeout: 60_000,
          sequence: { groupOrder: 1 },
        },
      },
      {
        ...resolve,
        test: {
          name: 'shared',
          expect,
          setupFiles,
          include: shared,
          isolate: false,
          testTimeout: 30_000,
          hookTimeout: 60_000,
          sequence: { groupOrder: 1 },
        },
      },
      {
        ...resolve,
        test: {
          name: 'shared-whole',
          expect,
          setupFiles,
          include: sharedWhole,
          isolate: false,
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 180_000,
          sequence: { groupOrder: 2 },
        },
      },
      {
        ...resolve,
        test: {
          name: 'whole',
          expect,
          setupFiles,
          include: ['tests/**/*.test.ts'],
          exclude: ['tests/kvm/**', ...sharedWhole],
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 180_000,
          sequence: { groupOrder: 2 },
        },
      },
      {
        ...resolve,
        test: {
          // For hosts with VT-x or AMD-V only: `./berth test --kvm`.
          name: 'kvm',
          expect,
          include: ['tests/kvm/**/*.test.ts'],
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 180_000,
          sequence: { groupOrder: 3 },
        },
      },
    ],
  },
});
