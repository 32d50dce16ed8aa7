import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EXAMPLE, readTruth, requestsOf, withRequests } from '../support/example-traffic.ts';
import { ROOT } from '../support/imports.ts';
import { checkStates, renderViolations } from './check.ts';
import type { CheckOptions, Edge, Violation } from './check.ts';
import { first, reorder, swap, without } from './states.ts';
import type { StateStep } from './states.ts';

/** What config.yaml states and the manifests cannot tell. */
const FACTS: CheckOptions = { apiServer: ['172.18.0.2/32'], ipBlockMatches: [] };
let dir = '';
let legitimate: readonly Edge[] = [];
const states = (): string => join(dir, 'states');

function node(...args: string[]): void {
  execFileSync(process.execPath, args, { cwd: ROOT, stdio: ['ignore', 'ignore', 'inherit'], timeout: 120_000 });
}

function sallyport(...args: string[]): void {
  const cluster = ['--manifests', join(dir, 'cluster'), '--config', join(EXAMPLE, 'config.yaml')];
  const decided = ['--decisions', join(EXAMPLE, 'decisions.yaml'), '--state', join(dir, 'state.sqlite')];
  node(join(ROOT, 'bin/sallyport.js'), ...args, ...cluster, ...decided);
}

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'checker-example-'));
  cpSync(join(EXAMPLE, 'cluster'), join(dir, 'cluster'), { recursive: true });
  node(join(EXAMPLE, 'generate.ts'), '--days', '9', '--out', join(dir, 'flows.ndjson'));
  sallyport('observe', 'hubble', join(dir, 'flows.ndjson'));
  sallyport('plan', 'fraud-serving', '--to', 'identity', '--states', states());
  const requests = requestsOf(readFileSync(join(dir, 'flows.ndjson'), 'utf8').split('\n'));
  legitimate = readTruth().legitimate.flatMap((edge) => withRequests(edge, requests));
}, 300_000);

afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** The plan's steps in another order, checked. */
function rearranged(
  name: string,
  arrange: (steps: readonly StateStep[]) => readonly StateStep[],
): readonly Violation[] {
  reorder(states(), join(dir, name), arrange);
  return checkStates(join(dir, name), legitimate, FACTS);
}

describe('the plan for the example’s fraud-serving namespace', () => {
  it('goes through at least 20 states, from the cluster as it is', () => {
    const names = readdirSync(states());
    expect(names.length).toBeGreaterThanOrEqual(20);
    expect(names.filter((name) => name.startsWith('000'))).toHaveLength(1);
    for (const phase of ['allow-list', 'permissive-mtls', 'strict-mtls', 'identity'])
      expect(
        names.some((name) => name.includes(phase)),
        phase,
      ).toBe(true);
  });

  it('denies no legitimate edge in any of them', () => {
    expect(legitimate.filter((edge) => edge.l7 !== undefined).length).toBeGreaterThan(10);
    expect(legitimate.length).toBeGreaterThan(200);
    expect(renderViolations(checkStates(states(), legitimate, FACTS))).toBe('');
  });

  it('stays clean when its own steps are replayed in their own order', () => {
    expect(renderViolations(rearranged('same', (steps) => steps))).toBe('');
  });

  it.each([
    ['the namespace is isolated before its workloads are open', first(/allow-list-default-deny/), /^001/],
    [
      'a workload is isolated for the mesh before its proxy may reach istiod',
      without(/permissive-mtls.*scoring-api-open/),
      /join/,
    ],
    [
      'STRICT comes before its callers joined',
      swap(/permissive-mtls.*scoring-api-join/, /strict-mtls.*triton/),
      /strict-mtls.*triton/,
    ],
    [
      'nobody may call before the callers are named',
      swap(/identity.*scoring-api-rehearse/, /identity-default-deny/),
      /identity-default-deny/,
    ],
  ] as const)('would be caught if %s', (name, arrange, state) => {
    const found = rearranged(name.replace(/\W+/g, '-'), arrange);
    expect(found.length).toBeGreaterThan(0);
    expect(
      found.map((one) => one.state).some((one) => state.test(one)),
      renderViolations(found),
    ).toBe(true);
  });
});
