import { describe, expect, it } from 'vitest';
import type { Plan, Step } from '../../src/plan/plan.ts';
import { meshGates } from '../../src/readiness/mesh-gates.ts';
import { endpointKey } from '../../src/model/edge.ts';
import { planFor, viewFor } from './worlds.ts';
import type { Case } from './worlds.ts';

function stepOf(plan: Plan, id: string): Step {
  const found = plan.steps.find((step) => step.id === `permissive-mtls/${id}`);
  if (found === undefined) throw new Error(`no step ${id} among ${plan.steps.map((step) => step.id).join(' ')}`);
  return found;
}

const namespace = (labels: string): string =>
  `apiVersion: v1\nkind: Namespace\nmetadata: {name: front, labels: {kubernetes.io/metadata.name: front${labels}}}\n`;

const webhook = (...values: readonly string[]): string => `---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: injector}
webhooks:
- name: rev.namespace.sidecar-injector.istio.io
  namespaceSelector: {matchExpressions: [{key: istio.io/rev, operator: In, values: [${values.join(', ')}]}]}
  clientConfig: {service: {namespace: istio-system, name: istiod}}
`;

const spark = (name: string, more = ''): string => `---
apiVersion: sparkoperator.k8s.io/v1beta2
kind: SparkApplication
metadata: {name: ${name}, namespace: front}
spec:
  image: spark:4
  driver: {labels: {app: ${name}}, serviceAccount: default${more}}
  executor: {labels: {app: ${name}}${more}}
`;

describe('workloads of custom owners, which join by the label of the namespace', () => {
  const plan = planFor({ with: spark('score') + spark('apart', ', hostNetwork: true') }, 'permissive-mtls');
  const ids = plan.steps.map((step) => step.id);

  it('are let out to istiod and DNS before that label is set', () => {
    const open = stepOf(plan, 'sparkapplication-score-open');
    expect(ids.indexOf(open.id)).toBeLessThan(ids.indexOf('permissive-mtls/namespace-label'));
    expect(JSON.stringify(open.change)).toContain('15012');
    expect(JSON.stringify(open.change)).toContain('"port":53');
  });

  it('are left alone where they take no sidecar', () => {
    expect(ids.filter((id) => id.includes('sparkapplication-apart'))).toEqual([]);
  });
});

describe('workloads whose pods do not follow their template', () => {
  const alone = (apiVersion: string, kind: string): string => `---
apiVersion: ${apiVersion}
kind: ${kind}
metadata: {name: once, namespace: front}
spec:
  template:
    metadata: {labels: {app: once}}
    spec: {containers: [{name: once, image: once}], restartPolicy: Never}
`;

  it.each([
    ['batch/v1', 'Job'],
    ['apps/v1', 'ReplicaSet'],
    ['v1', 'ReplicationController'],
  ])('%s %s keep it: they are opened for the sidecar and wait for the label of the namespace', (apiVersion, kind) => {
    const plan = planFor({ with: alone(apiVersion, kind) }, 'permissive-mtls');
    const id = `${kind.toLowerCase()}-once`;
    expect(plan.steps.map((step) => step.id).filter((step) => step.includes(id))).toEqual([
      `permissive-mtls/${id}-open`,
    ]);
    expect(stepOf(plan, 'namespace-label').effects).toContainEqual({
      kind: 'next-run',
      workload: `front/${kind}/once`,
    });
  });
});

describe('a mesh of revisions alone', () => {
  const labelsOf = (one: Case, id: string): unknown => {
    const { change } = stepOf(planFor(one, 'permissive-mtls'), id);
    return change.kind === 'edit' ? change.fields.map((field) => [field.path.at(-1), field.after]) : undefined;
  };

  it('is joined by the revision beside the label for injection, and so is its namespace', () => {
    const one = { with: webhook('1-29') };
    expect(labelsOf(one, 'deployment-web-join')).toEqual([
      ['sidecar.istio.io/inject', 'true'],
      ['istio.io/rev', '1-29'],
    ]);
    expect(labelsOf(one, 'namespace-label')).toEqual([['istio.io/rev', '1-29']]);
  });

  it('needs no revision where the default one is served too', () => {
    expect(labelsOf({ with: webhook('1-29', 'default') }, 'deployment-web-join')).toEqual([
      ['sidecar.istio.io/inject', 'true'],
    ]);
  });
});

describe('labels that keep the mesh out', () => {
  const answers = (one: Case): readonly string[] =>
    meshGates(viewFor(one)).map((gate) => `${gate.answer} ${gate.subject}: ${gate.fix}`);

  it('of the namespace, against injection, are a no with the way out', () => {
    expect(answers({ with: namespace(', istio-injection: disabled') })).toContain(
      'no front: remove the label: kubectl label namespace front istio-injection-',
    );
  });

  it('of the namespace, for ambient, leave it open', () => {
    expect(answers({ with: namespace(', istio.io/dataplane-mode: ambient') })).toContain(
      'unknown front: remove the label: kubectl label namespace front istio.io/dataplane-mode-',
    );
  });

  it('of a pod template, for ambient, leave that workload open alone', () => {
    const pod = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: front}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web, istio.io/dataplane-mode: ambient}}
    spec: {containers: [{name: web, image: web}]}
`;
    const gates = answers({ with: pod }).filter(
      (answer) => answer.includes('dataplane-mode') || answer.startsWith('yes'),
    );
    expect(gates).toContain(
      'unknown front/Deployment/web: remove the label istio.io/dataplane-mode from its pod template',
    );
    expect(gates.some((answer) => answer.startsWith('yes front:'))).toBe(true);
  });
});

describe('a sidecar’s way to istiod', () => {
  const xds = (view: ReturnType<typeof viewFor>): readonly string[] =>
    view.edges.filter((edge) => edge.port === 15012).map((edge) => endpointKey(edge.src));

  it('is an edge as soon as injection is to be expected, and of nobody before', () => {
    expect(xds(viewFor({}))).toEqual([]);
    expect(xds(viewFor({ with: namespace(', istio-injection: enabled') }))).toEqual([
      'front/CronJob/nightly',
      'front/Deployment/web',
      'front/Deployment/worker',
    ]);
  });

  it('is no caller in plaintext, and no plan of the namespace denies it', () => {
    const plan = planFor({ with: namespace(', istio-injection: enabled') }, 'identity');
    expect(plan.denied.filter((verdict) => verdict.text.includes('15012'))).toEqual([]);
    expect(plan.gates.filter((gate) => gate.subject.endsWith(':15012'))).toEqual([]);
    expect(plan.steps.filter((step) => step.id.includes('istiod'))).toEqual([]);
  });

  it('is opened at an istiod with an allow-list of ours before anybody joins', () => {
    const allowList = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: sallyport-istiod-ingress
  namespace: istio-system
  labels: {app.kubernetes.io/managed-by: sallyport}
spec:
  podSelector: {matchLabels: {app: istiod}}
  policyTypes: [Ingress]
  ingress: [{from: [{podSelector: {matchLabels: {app: gateway}}}], ports: [{protocol: TCP, port: 15012}]}]
`;
    const plan = planFor({ with: allowList }, 'permissive-mtls');
    const ids = plan.steps.map((step) => step.id);
    expect(plan.denied).toEqual([]);
    expect(ids.indexOf('permissive-mtls/control-plane-open')).toBeGreaterThan(-1);
    expect(ids.indexOf('permissive-mtls/control-plane-open')).toBeLessThan(
      ids.indexOf('permissive-mtls/cronjob-nightly-join'),
    );
  });
});
