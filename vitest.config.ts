import { defineConfig } from 'vitest/config';

/** Histories of crashes and failing calls: minutes, and so a tier of their own. */
const FAULTS = [
  'crash',
  'kill',
  'api-faults',
  'matrix-up',
  'matrix-down',
  'histories',
  'fencing',
  'grants',
  'identity-conflict',
  'foreign-edit',
  'plans-faults',
].map((name) => `test/engine/${name}.test.ts`);

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          testTimeout: 60_000,
          hookTimeout: 60_000,
          include: ['test/**/*.test.ts'],
          exclude: [
            ...['real', 'api', 'pack', 'engines', 'browser', 'terminal', 'lab'].map((tier) => `test/${tier}/**`),
            ...FAULTS,
          ],
        },
      },
      { test: { name: 'faults', include: FAULTS, testTimeout: 300_000, hookTimeout: 300_000 } },
      { test: { name: 'real', include: ['test/real/**/*.test.ts'], testTimeout: 120_000, hookTimeout: 120_000 } },
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
      // Beside engines that are not ours, built from their own modules.
      {
        test: {
          name: 'engines',
          include: ['test/engines/**/*.test.ts'],
          testTimeout: 600_000,
          hookTimeout: 900_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: 'browser',
          // What a person sees: the report in a browser, the session on a terminal.
          include: ['test/browser/**/*.test.ts', 'test/terminal/**/*.test.ts'],
          testTimeout: 180_000,
          hookTimeout: 180_000,
          fileParallelism: false,
        },
      },
      // Real packets: one machine, one stage, one file after the other.
      {
        test: {
          name: 'lab',
          include: ['test/lab/**/*.test.ts'],
          testTimeout: 1_800_000,
          hookTimeout: 2_400_000,
          fileParallelism: false,
        },
      },
      {
        test: { name: 'pack', include: ['test/pack/**/*.test.ts'], testTimeout: 300_000, hookTimeout: 300_000 },
      },
    ],
  },
});
