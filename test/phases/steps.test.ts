import { describe, expect, it } from 'vitest';
import type { PhaseName } from '../../src/model/phase.ts';
import { PHASES } from '../../src/model/phase.ts';
import { phases } from '../../phases/index.ts';
import { objectsOf, planFor, TWO_TEAMS, viewFor } from './worlds.ts';
import type { Case } from './worlds.ts';

const idsOf = (one: Case, to: PhaseName): readonly string[] => planFor(one, to).steps.map((step) => step.id);

describe('the registry', () => {
  it('has the five phases in order', () => {
    expect(phases.map((phase) => phase.name)).toEqual(PHASES.slice(1));
  });
});

describe('the steps of two teams, in order', () => {
  it('for the caller', () => {
    expect(idsOf({ phases: { back: 'permissive-mtls' } }, 'identity')).toEqual([
      'monitor/mark',
      'allow-list/cronjob-nightly-egress',
      'allow-list/deployment-web-ingress',
      'allow-list/deployment-web-egress',
      'allow-list/deployment-worker-ingress',
      'allow-list/deployment-worker-egress',
      'allow-list/default-deny',
      'permissive-mtls/permissive',
      'permissive-mtls/cronjob-nightly-open',
      'permissive-mtls/cronjob-nightly-join',
      'permissive-mtls/deployment-web-open',
      'permissive-mtls/deployment-web-join',
      'permissive-mtls/deployment-worker-open',
      'permissive-mtls/deployment-worker-join',
      'permissive-mtls/namespace-label',
      'strict-mtls/cronjob-nightly',
      'strict-mtls/deployment-web',
      'strict-mtls/deployment-worker',
      'strict-mtls/namespace',
      'identity/deployment-web-serviceaccount-web',
      'identity/deployment-web-rolebinding-sallyport-reads-config-web',
      'identity/deployment-web-migrate',
      'identity/deployment-worker-serviceaccount-worker',
      'identity/deployment-worker-rolebinding-sallyport-reads-config-worker',
      'identity/deployment-worker-migrate',
      'identity/deployment-web-rehearse',
      'identity/deployment-worker-rehearse',
      'identity/deployment-web-enforce',
      'identity/deployment-worker-enforce',
      'identity/default-deny',
    ]);
  });

  it('for the server, whose database sends nothing and reaches istiod all the same', () => {
    expect(idsOf({ namespace: 'back' }, 'permissive-mtls')).toEqual([
      'monitor/mark',
      'allow-list/statefulset-db-ingress',
      'allow-list/deployment-api-ingress',
      'allow-list/deployment-api-egress',
      'allow-list/default-deny',
      'permissive-mtls/permissive',
      'permissive-mtls/statefulset-db-open',
      'permissive-mtls/statefulset-db-join',
      'permissive-mtls/deployment-api-open',
      'permissive-mtls/deployment-api-join',
      'permissive-mtls/namespace-label',
    ]);
  });
});

describe('a plan', () => {
  const plan = planFor({}, 'identity');

  it('restarts pods only where it says so, and never those of a schedule', () => {
    const effects = plan.steps.flatMap((step) => step.effects.map((effect) => `${step.id}: ${effect.kind}`));
    expect(effects).toEqual([
      'permissive-mtls/cronjob-nightly-join: next-run',
      'permissive-mtls/deployment-web-join: rollout',
      'permissive-mtls/deployment-worker-join: rollout',
      'identity/deployment-web-migrate: rollout',
      'identity/deployment-worker-migrate: rollout',
    ]);
    for (const step of plan.steps) if (step.effects.length > 0) expect(step.risks.length).toBeGreaterThan(0);
  });

  it('names every object of others that it edits, and asks for it', () => {
    const theirs = plan.steps.filter((step) => step.change.kind === 'edit' && step.change.owner === 'other');
    expect(theirs.length).toBe(7);
    for (const step of theirs) expect(step.confirm).toMatch(/^\w+ \w+ is not Sallyport's: it changes /u);
    for (const step of plan.steps.filter((one) => !theirs.includes(one))) expect(step.confirm).toBeUndefined();
  });

  it('marks every object that it makes', () => {
    for (const { change } of plan.steps)
      if (change.kind === 'create')
        expect(change.object.metadata['labels']).toEqual({ 'app.kubernetes.io/managed-by': 'sallyport' });
  });

  it('carries the pull secret and the binding of a shared account along, and widens nothing', () => {
    const made = plan.steps.flatMap(({ change }) => (change.kind === 'create' ? [change.object] : []));
    expect(made.find((one) => one.kind === 'ServiceAccount' && one.metadata.name === 'web')).toMatchObject({
      imagePullSecrets: [{ name: 'registry' }],
    });
    expect(made.find((one) => one.kind === 'RoleBinding' && one.metadata.name.endsWith('-web'))).toMatchObject({
      roleRef: { kind: 'Role', name: 'config-reader' },
      subjects: [{ kind: 'ServiceAccount', name: 'web', namespace: 'front' }],
    });
  });

  it('names methods and paths where every request is on record, and principals everywhere', () => {
    const api = planFor({ namespace: 'back' }, 'identity').steps.find(
      (step) => step.id === 'identity/deployment-api-rehearse',
    );
    expect(api?.change).toMatchObject({
      object: {
        metadata: { annotations: { 'istio.io/dry-run': 'true' } },
        spec: {
          action: 'ALLOW',
          selector: { matchLabels: { app: 'api' } },
          rules: [{ to: [{ operation: { ports: ['8080'], methods: ['POST'], paths: ['/v1/score'] } }] }, {}],
        },
      },
    });
  });

  it('plans nothing twice: a second plan on the state that the first leaves is empty', () => {
    const view = viewFor({});
    let objects = view.snapshot.objects;
    for (const { change } of plan.steps) {
      if (change.kind !== 'create') continue;
      objects = [...objects, change.object];
    }
    const again = planFor({ objects }, 'allow-list');
    expect(again.steps.map((step) => step.id)).toEqual(['monitor/mark']);
  });
});

describe('a mesh whose default is STRICT', () => {
  const MESH = objectsOf(
    'apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default, namespace: istio-system}\nspec: {mtls: {mode: STRICT}}',
  );

  it('is loosened for the namespace before the first workload joins', () => {
    const plan = planFor({ objects: [...TWO_TEAMS, ...MESH] }, 'permissive-mtls');
    const ids = plan.steps.map((step) => step.id);
    expect(ids.indexOf('permissive-mtls/permissive')).toBeLessThan(ids.indexOf('permissive-mtls/cronjob-nightly-join'));
    expect(plan.denied).toEqual([]);
  });
});

describe('monitor', () => {
  it('marks by annotation, since labels feed selectors', () => {
    const [step] = planFor({}, 'monitor').steps;
    expect(step?.change).toMatchObject({
      kind: 'edit',
      fields: [{ path: ['metadata', 'annotations'], after: { 'sallyport.dev/monitored': 'true' } }],
    });
  });

  it('makes the Namespace object where a directory lacks it', () => {
    const [step] = planFor({ without: ['Namespace/front'] }, 'monitor').steps;
    expect(step?.change).toMatchObject({ kind: 'create', object: { kind: 'Namespace' } });
  });
});
