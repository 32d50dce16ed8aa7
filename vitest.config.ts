import { defineConfig } from 'vitest/config';

/** Histories of crashes and failing calls: minutes, and so a tier of their own. */
const FAULTS = ['crash', 'kill', 'api-faults'].map((name) => `test/engine/${name}.test.ts`);

export default defineConfig({
  test: {
    testTimeout: 60_000,
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: ['test/real/**', 'test/api/**', 'test/pack/**', ...FAULTS],
        },
      },
      { test: { name: 'faults', include: FAULTS, testTimeout: 300_000, hookTimeout: 300_000 } },
      { test: { name: 'real', include: ['test/real/**/*.test.ts'] } },
      {
        test: {
          name: 'api',
          include: ['test/api/**/*.test.ts'],
          globalSetup: ['test/support/apiserver/global-setup.ts'],
          testTimeout: 180_000,
          hookTimeout: 900_000,
          fileParallelism: false,
        },
      },
      { test: { name: 'pack', include: ['test/pack/**/*.test.ts'], testTimeout: 300_000 } },
    ],
  },
});
