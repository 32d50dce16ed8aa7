import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RunRecord } from '../../src/engine/contract.ts';
import type { Edge, EdgeKey } from '../../src/model/edge.ts';
import { edgeId } from '../../src/model/edge.ts';
import { isFailure } from '../../src/shared/pure/errors.ts';
import type { FailureDetail } from '../../src/shared/pure/errors.ts';
import type { Change } from '../../src/plan/change.ts';
import type { Plan, Step } from '../../src/plan/plan.ts';
import type { StateTarget, WritableState } from '../../state/open.ts';
import { openState } from '../../state/open.ts';
import type { ImportRecord } from '../../state/rows.ts';

export const TARGET: StateTarget = { id: 'uid-of-kube-system', kind: 'cluster', description: 'kind-lab at :6443' };

const directories: string[] = [];
// In a worker of the tests no such event comes: there clean-up.ts does it.
process.once('exit', removeDirectories);

export function removeDirectories(): void {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true });
}

/** A directory of its own, removed when the process or the test file ends. */
export function makeDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-state-'));
  directories.push(directory);
  return directory;
}

export function makeState(file = join(makeDirectory(), 'state.sqlite')): WritableState {
  return openState(file, { target: TARGET, mode: 'write', create: true });
}

/** The detail of the Failure that `work` throws. */
export function failureOf(work: () => unknown): FailureDetail {
  try {
    work();
  } catch (error) {
    if (isFailure(error)) return error.detail;
    throw error;
  }
  throw new Error('nothing was thrown');
}

export function makeEdge(key: Partial<EdgeKey> = {}, rest: Partial<Edge> = {}): Edge {
  const full: EdgeKey = {
    src: { kind: 'workload', id: 'shop/Deployment/web' },
    dst: { kind: 'workload', id: 'models/Deployment/scorer' },
    protocol: 'TCP',
    port: 8080,
    ...key,
  };
  return {
    ...full,
    id: edgeId(full),
    count: 3,
    first: 1_000,
    last: 2_000,
    verdicts: { allowed: 3 },
    days: ['2026-10-05'],
    runs: [],
    sources: ['hubble'],
    principals: [],
    mtls: 'unknown',
    origin: { kind: 'observed' },
    review: 'unreviewed',
    ...rest,
  };
}

export function makeInput(sha256: string, rest: Partial<ImportRecord> = {}): ImportRecord {
  return { ...makeEmptyInput(sha256), first: 1_000, last: 2_000, records: 10, ...rest };
}

/** An input without a record of a connection, but with lost, bad and ignored ones. */
export function makeEmptyInput(sha256: string): ImportRecord {
  return {
    sha256,
    source: 'hubble',
    name: `${sha256}.jsonl`,
    at: 9_000,
    records: 0,
    lost: 1,
    bad: 2,
    ignored: 3,
    sampledOneIn: 1,
  };
}

export const NO_MORE = { days: [], unattributed: {}, runs: {} };

export function makeCreate(name: string): Change {
  return {
    kind: 'create',
    object: {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name, namespace: 'shop' },
      spec: {},
    },
  };
}

export function makeEdit(before: string | undefined, after: string | undefined): Change {
  return {
    kind: 'edit',
    ref: { apiVersion: 'v1', kind: 'Namespace', name: 'shop' },
    uid: 'u-1',
    fields: [{ path: ['metadata', 'annotations', 'sallyport.dev/phase'], before, after }],
    owner: 'other',
  };
}

export function makeStep(id: string, change: Change, rest: Partial<Step> = {}): Step {
  return {
    id: `allow-list/${id}`,
    namespace: 'shop',
    phase: 'allow-list',
    operation: change.kind,
    title: `do ${id}`,
    change,
    effects: [{ kind: 'rollout', workload: 'shop/Deployment/web' }],
    risks: ['open connections stay open'],
    ...rest,
  };
}

export function makeRun(id: string, steps: readonly Step[], rest: Partial<RunRecord> = {}): RunRecord {
  const plan: Plan = {
    namespace: 'shop',
    from: 'monitor',
    to: 'allow-list',
    direction: 'up',
    steps,
    gates: [{ id: 'window', answer: 'yes', subject: 'shop', facts: ['170 h'], fix: '', waived: 'lab' }],
    denied: [],
    unknown: [
      { step: 'allow-list/a', edge: 'e', text: 'a -> b 1/TCP', answer: 'unknown', reasons: ['r'], evidence: '3 flows' },
    ],
    findings: [{ code: 'SP301', severity: 'info', subject: 'shop', message: 'm', hint: 'h' }],
    simulated: { edges: 4, states: 2 },
    hash: 'abc',
  };
  return {
    id,
    kind: 'advance',
    namespace: 'shop',
    from: 'monitor',
    to: 'allow-list',
    planHash: 'abc',
    startedAt: 5_000,
    by: 'maria',
    plan,
    ...rest,
  };
}

export function makeAudit(what: string, rest: object = {}) {
  return { at: 6_000, who: 'maria', what, object: 'NetworkPolicy shop/allow-web', reason: 'because', ...rest };
}
