// What mutation tests run: the tables of the model, without the properties, which take thousands of clusters a run, and without
// what tests other parts of it. Tables of Istio are for Istio, but for those of routes: the evaluator asks about each hop.
//   MUTATION_TESTS=istio npm run mutate -- --mutate 'src/model/istio*.ts'
import { defineConfig } from 'vitest/config';

const OTHERS = ['connectivity', 'edge-merge', 'days', 'evidence'];
const istio = process.env['MUTATION_TESTS'] === 'istio';

export default defineConfig({
  test: {
    include: istio
      ? ['test/model/istio*.test.ts']
      : ['test/model/!(istio*).test.ts', 'test/model/istio-ambient.test.ts'],
    exclude: ['test/model/*.property.test.ts', ...OTHERS.map((name) => `test/model/${name}*.test.ts`)],
    testTimeout: 20_000,
    isolate: false,
  },
});
