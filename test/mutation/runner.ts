import { globSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { compileFunction } from 'node:vm';
import type { InstrumenterContext } from '@stryker-mutator/api/core';
import { declareFactoryPlugin, PluginKind } from '@stryker-mutator/api/plugin';
import type { TestResult, TestRunner } from '@stryker-mutator/api/test-runner';
import {
  determineHitLimitReached,
  DryRunStatus,
  TestStatus,
  toMutantRunResult,
} from '@stryker-mutator/api/test-runner';
import { rolldown } from 'rolldown';
import { expect } from 'vitest';

/*
 * Runs tables of tests for StrykerJS in one process. A run of vitest for each mutant takes a second or more; here the tests and all that
 * they import are one script, compiled once, which each mutant runs from the start, so that nothing is left over from the one before:
 * some milliseconds. It knows `describe`, `it`, `it.each` and `beforeAll`, and the `expect` of vitest.
 */

/**
 * What is left out: properties, which take thousands of clusters a run, and tables of what is not mutated. The fixtures of Istio's rules
 * are files, read again for each mutant: they run with MUTATION_TESTS=istio alone.
 */
const OTHERS =
  process.env['MUTATION_TESTS'] === 'istio'
    ? /\.property\.|\/(?:connectivity|edge-merge)/u
    : /\.property\.|\/(?:connectivity|edge-merge|istio-rules)/u;

interface Case {
  readonly id: string;
  readonly name: string;
  readonly run: (...args: readonly unknown[]) => unknown;
  readonly args: readonly unknown[];
  /** What is to be done once before, and taken out when it is done. */
  readonly before: readonly Run[][];
}

type Run = Case['run'];
type Load = (require: unknown, module: unknown, exports: unknown, directory: string) => void;

/** The tests as one script. */
async function compileTests(): Promise<Load> {
  const files = globSync('test/model/*.test.ts').filter((file) => !OTHERS.test(file));
  const ENTRY = 'entry-of-tables';
  const bundle = await rolldown({
    input: ENTRY,
    cwd: process.cwd(),
    platform: 'node',
    treeshake: false,
    external: (id) => id !== ENTRY && !id.startsWith('.') && !id.startsWith('/'),
    transform: { define: { 'import.meta.dirname': '__dirname' } },
    plugins: [
      {
        name: 'entry',
        resolveId: (id) => (id === ENTRY ? id : null),
        load: (id) =>
          id === ENTRY ? files.map((file) => `import ${JSON.stringify(resolve(file))};`).join('\n') : null,
      },
    ],
  });
  const { output } = await bundle.generate({ format: 'cjs', codeSplitting: false });
  await bundle.close();
  return compileFunction(output[0].code, ['require', 'module', 'exports', '__dirname'], {
    filename: 'tables.js',
  }) as unknown as Load;
}

/** Runs the script: the tests that it declares, in order. */
function declareTests(load: Load): readonly Case[] {
  const require = createRequire(resolve('package.json'));
  const cases: Case[] = [];
  const seen = new Map<string, number>();
  const path: string[] = [];
  const before: Run[][] = [];
  const add = (title: string, run: Run, args: readonly unknown[]): void => {
    const name = [...path, title].join(' > ');
    const nth = (seen.get(name) ?? 0) + 1;
    seen.set(name, nth);
    cases.push({ id: `${name} #${nth}`, name, run, args, before: [...before] });
  };
  const describe = (title: string, body: () => void): void => {
    path.push(title);
    before.push([]);
    body();
    before.pop();
    path.pop();
  };
  const it = (title: string, run: Run): void => {
    add(title, run, []);
  };
  it.each = (rows: readonly unknown[]) => (title: string, run: Run) => {
    for (const row of rows) add(title, run, Array.isArray(row) ? (row as readonly unknown[]) : [row]);
  };
  const beforeAll = (run: Run): void => {
    before.at(-1)?.push(run);
  };
  const vitest = { describe, it, expect, beforeAll };
  const module = { exports: {} };
  const given = (id: string): unknown => (id === 'vitest' ? vitest : require(id));
  load(given, module, module.exports, resolve('test/support'));
  return cases;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Runs tests up to the first that fails. */
async function runTests(cases: readonly Case[], context: InstrumenterContext, all: boolean): Promise<TestResult[]> {
  const results: TestResult[] = [];
  for (const { id, name, run, args, before } of cases) {
    const start = performance.now();
    context.currentTestId = id;
    let failure: string | undefined;
    try {
      for (const list of before) for (const prepare of list.splice(0)) await prepare();
      await run(...args);
    } catch (error) {
      failure = messageOf(error);
    }
    delete context.currentTestId;
    const base = { id, name, timeSpentMs: performance.now() - start };
    results.push(
      failure === undefined
        ? { ...base, status: TestStatus.Success }
        : { ...base, status: TestStatus.Failed, failureMessage: failure },
    );
    if (failure !== undefined && !all) break;
  }
  return results;
}

function createRunner(namespace: '__stryker__' = '__stryker__'): TestRunner {
  const scope = globalThis as unknown as Record<string, InstrumenterContext | undefined>;
  const context = (scope[namespace] ??= {});
  let load: Load | undefined;
  const declare = (): readonly Case[] => {
    if (load === undefined) throw new Error('The runner was not made ready');
    return declareTests(load);
  };
  return {
    capabilities: () => ({ reloadEnvironment: true }),
    async init() {
      load = await compileTests();
    },
    async dryRun() {
      delete context.activeMutant;
      const tests = await runTests(declare(), context, true);
      const { mutantCoverage } = context;
      return { status: DryRunStatus.Complete, tests, ...(mutantCoverage === undefined ? {} : { mutantCoverage }) };
    },
    async mutantRun({ activeMutant, testFilter, hitLimit, disableBail }) {
      context.activeMutant = activeMutant.id;
      context.hitCount = 0;
      if (hitLimit === undefined) delete context.hitLimit;
      else context.hitLimit = hitLimit;
      const wanted = testFilter === undefined ? undefined : new Set(testFilter);
      let tests: TestResult[];
      try {
        const cases = declare().filter(({ id }) => wanted === undefined || wanted.has(id));
        tests = await runTests(cases, context, disableBail);
      } catch (error) {
        // Not even the tests could be declared.
        const [id = ''] = wanted ?? [];
        tests = [{ id, name: id, timeSpentMs: 0, status: TestStatus.Failed, failureMessage: messageOf(error) }];
      }
      return toMutantRunResult(
        determineHitLimitReached(context.hitCount, hitLimit) ?? { status: DryRunStatus.Complete, tests },
      );
    },
  };
}

const factory = Object.assign(() => createRunner(), { inject: [] as [] });
export const strykerPlugins = [declareFactoryPlugin(PluginKind.TestRunner, 'tables', factory)];
