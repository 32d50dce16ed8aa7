import { describe, expect, it } from 'vitest';
import type { AppliedStep, View } from '../../src/engine/contract.ts';
import type { Edge } from '../../src/model/edge.ts';
import { edgeId } from '../../src/model/edge.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import type { PhaseName } from '../../src/model/phase.ts';
import type { Sighting } from '../../src/plan/soak.ts';
import { recordGates } from '../../src/readiness/record-gates.ts';
import { soakGate } from '../../src/readiness/soak-gate.ts';
import { CONFIG, edgeOf } from '../support/rig.ts';
import { connection, inventoryOf, manifest, networkPolicy } from '../support/world.ts';

const WEB = 'shop/Deployment/web';
const DB = 'shop/Deployment/db';
const CALL = `${WEB} -> ${DB} 5432`;
const INTRUDER = 'desk/Deployment/toolbox -> shop/Deployment/db 5432';
/** 45 s of drain after the step. */
const STEP_AT = 100_000;
const LATER = 200_000;

const onlyWeb: KubeManifest = networkPolicy('shop/db-ingress', {
  podSelector: { matchLabels: { app: 'db' } },
  policyTypes: ['Ingress'],
  ingress: [{ from: [{ podSelector: { matchLabels: { app: 'web' } } }], ports: [{ port: 5432, protocol: 'TCP' }] }],
});
const strict: KubeManifest = manifest('security.istio.io/v1', 'PeerAuthentication', 'shop/default', {
  mtls: { mode: 'STRICT' },
});

interface Facts {
  readonly phase?: PhaseName;
  readonly policies?: readonly KubeManifest[];
  readonly edges?: readonly Edge[];
  readonly meshed?: boolean;
}

function viewOf({
  phase = 'allow-list',
  policies = [onlyWeb],
  edges = [edgeOf(CALL)],
  meshed = false,
}: Facts = {}): View {
  const mesh = meshed ? ('sidecar' as const) : ('none' as const);
  const inventory = inventoryOf({
    workloads: {
      [WEB]: { labels: { app: 'web' }, mesh },
      [DB]: { labels: { app: 'db' }, ports: [5432], mesh },
      'desk/Deployment/toolbox': { labels: { app: 'toolbox' } },
    },
    policies,
    ...(meshed ? { mesh: { kind: 'istio' as const } } : {}),
  });
  const applied: AppliedStep = {
    seq: 1,
    run: 'r',
    namespace: 'shop',
    phase: 'allow-list',
    change: { kind: 'create', object: policies[0] ?? onlyWeb },
    at: STEP_AT,
    step: {
      id: 'allow-list/db-ingress',
      namespace: 'shop',
      phase: 'allow-list',
      operation: 'create',
      title: 'db',
      workload: DB,
      change: { kind: 'create', object: policies[0] ?? onlyWeb },
      effects: [],
      risks: [],
    },
  };
  const view: Partial<View> = {
    namespace: 'shop',
    inventory,
    edges,
    config: CONFIG,
    decisions: [],
    phases: new Map([['shop', phase]]),
    applied: [applied],
  };
  return view as View;
}

function seen(text: string, more: Partial<Sighting> = {}): Sighting {
  const key = connection(text);
  return {
    key,
    id: edgeId(key),
    at: LATER,
    verdict: 'allowed',
    view: 'ingress',
    opens: true,
    count: 1,
    mtls: 'unknown',
    source: 'hubble',
    where: 'h.jsonl (from byte 0)',
    ...more,
  };
}

const idsOf = (view: View, ...sightings: readonly Sighting[]): readonly string[] =>
  recordGates(view, sightings).map(({ id }) => id);

describe('what the record contradicts', () => {
  it.each<readonly [string, Facts, readonly Sighting[], readonly string[]]>([
    ['nothing, where what is allowed passes', {}, [seen(CALL)], []],
    ['enforcement, where something passes that a policy denies', {}, [seen(INTRUDER)], ['enforcement']],
    ['nothing within the time that proxies drain', {}, [seen(INTRUDER, { at: STEP_AT + 45_000 })], []],
    ['nothing by what merely left its pod', {}, [seen(INTRUDER, { view: 'egress' })], []],
    ['nothing by packets of a connection that was there before', {}, [seen(INTRUDER, { opens: false })], []],
    ['nothing by a record without a verdict', {}, [seen(INTRUDER, { verdict: 'unknown' })], []],
    ['nothing before allow-list', { phase: 'monitor' }, [seen(INTRUDER)], []],
    [
      'denies-observed, where an edge that must work is denied',
      {},
      [seen(CALL, { verdict: 'denied' })],
      ['denies-observed'],
    ],
    [
      'nothing, where what may be cut is denied',
      { edges: [edgeOf(CALL, { review: 'to-be-cut' })] },
      [seen(CALL, { verdict: 'denied' })],
      [],
    ],
    ['nothing, where a stranger is denied', {}, [seen(INTRUDER, { verdict: 'denied' })], []],
    [
      'plaintext, where a proxy let it pass and the workload takes mTLS alone',
      { policies: [strict], meshed: true },
      [seen(CALL, { mtls: 'no', opens: false })],
      ['plaintext'],
    ],
    ['nothing, where it spoke mTLS', { policies: [strict], meshed: true }, [seen(CALL, { mtls: 'yes' })], []],
    [
      'nothing by a connection of which nobody says that a proxy let it through',
      { policies: [strict], meshed: true },
      [seen(INTRUDER, { view: 'unknown' })],
      [],
    ],
  ])('is %s', (_, facts, sightings, ids) => {
    expect(idsOf(viewOf(facts), ...sightings)).toEqual(ids);
  });

  it('is counted, with the last time it was seen and where', () => {
    const [gate] = recordGates(viewOf(), [
      seen(INTRUDER, { count: 2 }),
      seen(INTRUDER, { at: LATER + 1_000, where: 'the last' }),
      seen(INTRUDER, { at: LATER + 500 }),
    ]);
    expect(gate).toMatchObject({ answer: 'no', subject: edgeId(connection(INTRUDER)) });
    expect(gate?.facts.join('\n')).toMatch(/NetworkPolicy shop\/db-ingress/);
    expect(gate?.facts.at(-1)).toBe(`seen 4x since, last ${new Date(LATER + 1_000).toISOString()} (the last)`);
  });

  it('is found in imports whose every record is newer, and in their last plaintext', () => {
    const fresh = edgeOf(INTRUDER, { first: LATER, last: LATER });
    expect(idsOf(viewOf({ edges: [fresh] }))).toEqual(['enforcement']);
    expect(idsOf(viewOf({ edges: [edgeOf(INTRUDER, { first: 0, last: LATER })] }))).toEqual([]);
    const plain = edgeOf(CALL, { first: 0, lastPlaintext: LATER });
    const mesh = { policies: [strict], meshed: true };
    expect(idsOf(viewOf({ ...mesh, edges: [plain] }))).toEqual(['plaintext']);
    expect(idsOf(viewOf({ ...mesh, edges: [edgeOf(CALL, { first: 0, lastPlaintext: STEP_AT })] }))).toEqual([]);
  });
});

describe('the gate soak', () => {
  const steps = viewOf().applied.map(({ step }) => step);
  const mesh = steps.map((step) => ({ ...step, change: { kind: 'create' as const, object: strict } }));
  const withSignals = (...sources: readonly string[]): View => ({
    ...viewOf(),
    config: {
      ...CONFIG,
      soak: { ...CONFIG.soak, signals: sources.map((source) => ({ source, inputs: [`/log/${source}.log`] })) },
    },
  });

  it.each([
    ['no signal is declared', [], [], steps, 'unknown'],
    ['no file of a signal is there', ['hubble'], [[]], steps, 'unknown'],
    ['a signal shows what policies deny', ['hubble'], [['f']], steps, 'yes'],
    ['neutral edges show it', ['edges'], [['f']], steps, 'yes'],
    ['flow logs of a cloud tell of its own filters', ['aws-vpc'], [['f']], steps, 'unknown'],
    ['connections alone are tracked', ['conntrack'], [['f']], steps, 'unknown'],
    ['proxies alone are asked about a network policy', ['envoy'], [['f']], steps, 'unknown'],
    ['the network alone is asked about STRICT', ['hubble'], [['f']], mesh, 'unknown'],
    ['proxies are asked about STRICT', ['hubble', 'envoy'], [['f'], []], mesh, 'yes'],
    ['no step bears on a connection', [], [], [], 'yes'],
  ] as const)('where %s: %#', (_, sources, files, list, answer) => {
    const gate = soakGate(withSignals(...sources), list, files);
    expect(gate).toMatchObject({ id: 'soak', answer, subject: 'shop' });
    if (answer === 'unknown') expect(gate.fix).not.toBe('');
  });
});
