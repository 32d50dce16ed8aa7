// The patterns that are shipped: on a small cluster that breaks each, what they write makes their invariant hold, and nothing else would.
import { beforeAll, describe, expect, it } from 'vitest';
import { fillTemplate } from '../../src/candidates/patterns/fill.ts';
import { judgeInvariants } from '../../src/candidates/patterns/judge.ts';
import type { InvariantResult } from '../../src/candidates/patterns/judge.ts';
import { resolveParameters } from '../../src/candidates/patterns/parameters.ts';
import type { Resolved } from '../../src/candidates/patterns/parameters.ts';
import type { Pattern } from '../../src/candidates/patterns/pattern.ts';
import { readPatterns } from '../../src/cli/pattern-files.ts';
import { compileWorld, evaluateConnection } from '../../src/model/evaluate.ts';
import type { Inventory } from '../../src/model/inventory.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { fillPattern, unwritable } from '../../src/readiness/pattern-plan.ts';
import fc from '../support/fast-check.ts';
import { connection, inventoryOf, manifest, networkPolicy } from '../support/world.ts';
import type { InventorySketch } from '../support/world.ts';

let patterns: ReadonlyMap<string, Pattern> = new Map();
beforeAll(async () => {
  patterns = new Map((await readPatterns()).map((one) => [one.name, one]));
});

function patternOf(name: string): Pattern {
  const found = patterns.get(name);
  if (found === undefined) throw new Error(`no pattern ${name} among ${[...patterns.keys()].join(' ')}`);
  return found;
}

type Given = Readonly<Record<string, string>>;

function resolve(name: string, given: Given, inventory: Inventory, namespace?: string): Resolved {
  return resolveParameters(patternOf(name), new Map(Object.entries(given)), {
    inventory,
    tenants: [],
    ...(namespace === undefined ? {} : { namespace }),
  });
}

interface Tried {
  readonly objects: readonly KubeManifest[];
  readonly before: readonly InvariantResult[];
  readonly after: readonly InvariantResult[];
}

function tried(name: string, given: Given, sketch: InventorySketch, namespace?: string): Tried {
  const inventory = inventoryOf(sketch);
  const { values, problems, missing } = resolve(name, given, inventory, namespace);
  expect([...problems, ...missing, ...unwritable(values)]).toEqual([]);
  const filled = fillPattern(patternOf(name), values);
  expect(filled.problems).toEqual([]);
  const after = { ...inventory, policies: [...inventory.policies, ...filled.objects] };
  return {
    objects: filled.objects,
    before: judgeInvariants(filled.invariants, inventory),
    after: judgeInvariants(filled.invariants, after),
  };
}

const answers = (results: readonly InvariantResult[]): readonly string[] =>
  results.map((one) => `${one.id} ${one.answer}`);
const may = (sketch: InventorySketch, objects: readonly KubeManifest[], text: string, mesh = false): string =>
  evaluateConnection(
    compileWorld(inventoryOf({ ...sketch, policies: [...(sketch.policies ?? []), ...objects] })),
    connection(text),
    { mesh },
  ).answer;

const NAMED = (...names: readonly string[]): Record<string, Record<string, string>> =>
  Object.fromEntries(names.map((name) => [name, { 'kubernetes.io/metadata.name': name }]));

const TENANTS: InventorySketch = {
  namespaces: { 'a-1': { tenant: 'a' }, 'a-2': { tenant: 'a' }, b: { tenant: 'b' }, ops: {} },
  workloads: {
    'a-1/Deployment/web': { labels: { app: 'web' }, ports: [8080] },
    'a-2/Deployment/db': { labels: { app: 'db' }, ports: [5432] },
    'b/Deployment/web': { labels: { app: 'web' }, ports: [8080] },
    'ops/Deployment/scrape': { labels: { app: 'scrape' } },
  },
};

describe('tenant-isolation', () => {
  const wide = networkPolicy('a-2/open', { podSelector: {}, policyTypes: ['Ingress'], ingress: [{}] });

  it.each([
    ['kubernetes', 'test', 'apart holds', 'denied'],
    ['admin', 'calico', 'apart holds', 'allowed'],
    ['calico', 'calico', 'apart holds', 'allowed'],
    ['cilium', 'cilium', 'apart holds', 'allowed'],
  ])(
    'in %s keeps tenants apart, and a tenant whole; who is of none: as the dialect says',
    (dialect, cni, holds, others) => {
      const sketch = { ...TENANTS, cni: { name: cni } };
      const { objects, before, after } = tried('tenant-isolation', { dialect }, sketch);
      expect(answers(before)).toEqual(['apart violated']);
      expect(answers(after)).toEqual([holds]);
      expect(may(sketch, objects, 'a-1/Deployment/web -> a-2/Deployment/db 5432')).toBe('allowed');
      expect(may(sketch, objects, 'b/Deployment/web -> a-2/Deployment/db 5432')).toBe('denied');
      expect(may(sketch, objects, 'ops/Deployment/scrape -> a-2/Deployment/db 5432')).toBe(others);
    },
  );

  it.each(['admin', 'calico', 'cilium'])('in %s is not overridden by what a tenant writes', (dialect) => {
    const sketch = { ...TENANTS, cni: { name: dialect === 'cilium' ? 'cilium' : 'calico' }, policies: [wide] };
    expect(answers(tried('tenant-isolation', { dialect }, sketch).after)).toEqual(['apart holds']);
  });

  it('in kubernetes is overridden by a policy that a tenant writes, and the pair names that policy', () => {
    const { after } = tried('tenant-isolation', {}, { ...TENANTS, policies: [wide] });
    expect(answers(after)).toEqual(['apart violated']);
    expect(after[0]?.violating).toMatchObject([
      { src: 'b/Deployment/web', dst: 'a-2/Deployment/db', ports: 'every port' },
    ]);
    expect(JSON.stringify(after[0]?.violating[0]?.why)).toContain('NetworkPolicy a-2/open');
  });

  it('admits what is shared', () => {
    const { objects } = tried('tenant-isolation', { shared: 'ops' }, TENANTS);
    expect(may(TENANTS, objects, 'ops/Deployment/scrape -> a-2/Deployment/db 5432')).toBe('allowed');
  });

  it('is unknown, with the reason, where a policy may act that is not evaluated', () => {
    const strange = manifest('projectcalico.org/v3', 'GlobalNetworkPolicy', 'odd', {
      selector: 'contains(',
      ingress: [{}],
    });
    const { after } = tried(
      'tenant-isolation',
      { dialect: 'calico' },
      { ...TENANTS, cni: { name: 'calico' }, policies: [strange] },
    );
    expect(answers(after)).toEqual(['apart unknown']);
    expect(JSON.stringify(after[0]?.unknown[0]?.why)).toContain('odd');
  });

  it.each([
    ['two that share a namespace', 'x=a-1+a-2,y=a-2', /x and y overlap: both have the namespace a-2/],
    ['two that share pods', 'x=a-1/app=web,y=a-1', /x and y overlap/],
    ['one alone', 'x=a-1', /at least two/],
    ['two of one name', 'x=a-1,x=b', /one name/],
    ['a namespace that is not there', 'x=a-1,y=nowhere', /there is no namespace nowhere/],
    ['a label that nobody carries', 'label:team', /no namespace carries the label team/],
    ['no list', 'a-1', /it is written as/],
  ])('refuses %s', (_, tenants, message) => {
    const { problems } = resolve('tenant-isolation', { tenants }, inventoryOf(TENANTS));
    expect(problems.join('\n')).toMatch(message);
  });

  it('names a parameter that there is not, and a dialect that there is not, both at once', () => {
    const { problems } = resolve('tenant-isolation', { tenant: 'x', dialect: 'antrea' }, inventoryOf(TENANTS));
    expect(problems.join('\n')).toMatch(/there is no parameter tenant.*\n.*antrea: it is one of kubernetes/s);
  });
});

const CHAIN: InventorySketch = {
  namespaces: NAMED('ml', 'serve'),
  workloads: {
    'ml/Deployment/prepare': { labels: { stage: 'prepare' }, ports: [9000] },
    'ml/Deployment/train': { labels: { stage: 'train' }, ports: [9000] },
    'serve/Deployment/model': { labels: { app: 'model' }, ports: [8080, 9000] },
  },
};

describe('pipeline-stages', () => {
  const stages = 'prepare=ml/stage=prepare,train=ml/stage=train,serve=serve';

  it('lets each stage be reached by the one before alone, on its ports', () => {
    const { objects, before, after } = tried('pipeline-stages', { stages, ports: '9000' }, CHAIN);
    expect(answers(before)).toEqual(['chain violated']);
    expect(answers(after)).toEqual(['chain holds']);
    const ask = (text: string): string => may(CHAIN, objects, text);
    expect(ask('ml/Deployment/prepare -> ml/Deployment/train 9000')).toBe('allowed');
    expect(ask('ml/Deployment/train -> serve/Deployment/model 9000')).toBe('allowed');
    expect(ask('ml/Deployment/train -> serve/Deployment/model 8080')).toBe('denied');
    expect(ask('ml/Deployment/prepare -> serve/Deployment/model 9000')).toBe('denied');
    expect(ask('ml/Deployment/train -> ml/Deployment/prepare 9000')).toBe('denied');
  });
});

describe('control-and-data-plane', () => {
  const sketch: InventorySketch = {
    namespaces: NAMED('control', 'data', 'watch'),
    workloads: {
      'control/Deployment/tracking': { labels: { app: 'tracking' }, ports: [5000, 9090] },
      'data/Deployment/notebook': { labels: { app: 'notebook' }, ports: [8888] },
      'watch/Deployment/prometheus': { labels: { app: 'prometheus' } },
    },
  };
  const given = { control: 'control', data: 'data' };

  it('keeps the control plane from data, but for the ports named', () => {
    const all = { ...given, ports: '5000', monitoring: 'watch' };
    const { objects, before, after } = tried('control-and-data-plane', all, sketch);
    expect(answers(before)).toEqual(['kept-from-data violated']);
    expect(before[0]?.violating.map(({ src, dst, ports }) => `${src} ${dst} ${ports}`)).toEqual([
      'data/Deployment/notebook control/Deployment/tracking 1-4999/TCP, 5001-65535/TCP, every UDP port, every SCTP port',
    ]);
    expect(answers(after)).toEqual(['kept-from-data holds']);
    expect(may(sketch, objects, 'data/Deployment/notebook -> control/Deployment/tracking 5000')).toBe('allowed');
    expect(may(sketch, objects, 'watch/Deployment/prometheus -> control/Deployment/tracking 9090')).toBe('allowed');
    // The control plane steers the data plane.
    expect(may(sketch, objects, 'control/Deployment/tracking -> data/Deployment/notebook 8888')).toBe('allowed');
  });

  it('goes by what workloads are taken for where nothing is said, and refuses planes that a namespace mixes', () => {
    const inventory = inventoryOf({
      ...sketch,
      workloads: { ...sketch.workloads, 'data/Deployment/operator': { labels: { app: 'operator' } } },
    });
    const planes: Readonly<Record<string, string>> = { tracking: 'control', operator: 'control', notebook: 'data' };
    const workloads = inventory.workloads.map((one) => ({
      ...one,
      classification: { ...one.classification, plane: planes[one.name] ?? 'unknown' },
    }));
    const known = { ...inventory, workloads };
    const { values, problems, missing } = resolve('control-and-data-plane', {}, known);
    expect([...problems, ...missing]).toEqual([]);
    const [result] = judgeInvariants(fillPattern(patternOf('control-and-data-plane'), values).invariants, known);
    expect(result?.violating.map(({ src, dst }) => `${src} ${dst}`)).toEqual([
      'data/Deployment/notebook control/Deployment/tracking',
      'data/Deployment/notebook data/Deployment/operator',
    ]);
    expect(unwritable(values).join()).toMatch(/overlap: both have workloads in data/);
  });
});

const JOB = 'training.kubeflow.org/job-name';
const TRAINING: InventorySketch = {
  namespaces: NAMED('ml'),
  workloads: {
    'ml/PyTorchJob/bert': [
      { role: 'Master', labels: { [JOB]: 'bert' }, ports: [23456] },
      { role: 'Worker', labels: { [JOB]: 'bert' } },
    ],
    'ml/PyTorchJob/llama': [
      { role: 'Master', labels: { [JOB]: 'llama' }, ports: [23456] },
      { role: 'Worker', labels: { [JOB]: 'llama' } },
    ],
    'ml/Deployment/notebook': { labels: { app: 'notebook' } },
  },
};

describe('training-job', () => {
  it('finds the jobs, and keeps the pods of each among themselves', () => {
    const { objects, before, after } = tried('training-job', {}, TRAINING, 'ml');
    expect(objects.map((one) => one.metadata.name)).toEqual(['sallyport-job-bert', 'sallyport-job-llama']);
    expect(answers(before)).toEqual([
      'only-bert violated',
      'only-llama violated',
      'works-bert holds',
      'works-llama holds',
    ]);
    expect(answers(after)).toEqual(['only-bert holds', 'only-llama holds', 'works-bert holds', 'works-llama holds']);
    for (const port of ['29500', '23456', '2222', '8888', '45000', '45000/UDP'])
      expect(may(TRAINING, objects, `ml/PyTorchJob/bert -> ml/PyTorchJob/bert ${port}`), port).toBe('allowed');
    expect(may(TRAINING, objects, 'ml/PyTorchJob/llama -> ml/PyTorchJob/bert 29500')).toBe('denied');
    expect(may(TRAINING, objects, 'ml/Deployment/notebook -> ml/PyTorchJob/bert 23456')).toBe('denied');
  });

  it('is told of one set of pods of a job that somebody reaches, though the others are closed', () => {
    // The evaluator answers for a workload by the pair that may least: an invariant is broken by the one that may most.
    const worker = networkPolicy('ml/worker', {
      podSelector: { matchLabels: { [JOB]: 'bert', role: 'worker' } },
      policyTypes: ['Ingress'],
      ingress: [],
    });
    const sketch = {
      ...TRAINING,
      policies: [worker],
      workloads: {
        ...TRAINING.workloads,
        'ml/PyTorchJob/bert': [
          { role: 'Master', labels: { [JOB]: 'bert' } },
          { role: 'Worker', labels: { [JOB]: 'bert', role: 'worker' } },
        ],
      },
    };
    const { before } = tried('training-job', { jobs: 'bert' }, sketch, 'ml');
    expect(before[0]?.violating.map(({ src, dst }) => `${src} ${dst}`)).toContain(
      'ml/Deployment/notebook ml/PyTorchJob/bert[Master]',
    );
    expect(before[0]?.violating.some(({ dst }) => dst.endsWith('[Worker]'))).toBe(false);
  });
});

const MESHED = { kind: 'istio', mode: 'sidecar', version: '1.29' } as const;
const SERVING: InventorySketch = {
  mesh: MESHED,
  namespaces: NAMED('serve', 'shop'),
  workloads: {
    'serve/Deployment/model': { labels: { app: 'model' }, ports: [8080], mesh: 'sidecar', account: 'model' },
    'shop/Deployment/web': { labels: { app: 'web' }, mesh: 'sidecar', account: 'web' },
    'shop/Deployment/cron': { labels: { app: 'cron' }, mesh: 'sidecar', account: 'cron' },
    'shop/Deployment/plain': { labels: { app: 'plain' }, account: 'web' },
  },
  services: [{ name: 'serve/model', selects: ['serve/Deployment/model'], ports: ['http:80->8080'] }],
};

describe('model-serving', () => {
  const given = { servers: 'serve', callers: 'shop/web', ports: '8080' };

  it('admits named accounts by mTLS, and nobody else', () => {
    const { objects, before, after } = tried('model-serving', given, SERVING);
    expect(answers(before)).toEqual(['named-callers violated', 'strict violated']);
    expect(answers(after)).toEqual(['named-callers holds', 'strict holds']);
    expect(may(SERVING, objects, 'shop/Deployment/web -> serve/Deployment/model 8080', true)).toBe('allowed');
    expect(may(SERVING, objects, 'shop/Deployment/cron -> serve/Deployment/model 8080', true)).toBe('denied');
    // The account alone is no identity.
    expect(may(SERVING, objects, 'shop/Deployment/plain -> serve/Deployment/model 8080', true)).toBe('denied');
  });

  it('narrows to methods and paths', () => {
    const { objects } = tried('model-serving', { ...given, methods: 'POST', paths: '/v2/models/{*}/infer' }, SERVING);
    const ask = (l7: string): string =>
      may(SERVING, objects, `shop/Deployment/web -> serve/Deployment/model 8080 ${l7}`, true);
    expect(ask('POST /v2/models/iris/infer')).toBe('allowed');
    expect(ask('GET /v2/models/iris/infer')).toBe('denied');
    expect(ask('POST /v2/models/iris/unload')).toBe('denied');
    expect(ask('POST /v2/models/a/b/infer')).toBe('denied');
  });

  it('in ambient mode leads what names methods through a waypoint, which alone reaches the pods', () => {
    const { values } = resolve(
      'model-serving',
      { ...given, methods: 'POST' },
      inventoryOf({ ...SERVING, mesh: { ...MESHED, mode: 'ambient' } }),
    );
    const { objects, problems } = fillPattern(patternOf('model-serving'), values);
    expect(problems).toEqual([]);
    expect(objects.map((one) => `${one.kind} ${one.metadata.name}`)).toEqual([
      'PeerAuthentication sallyport-serving-serve',
      'Gateway sallyport-waypoint',
      'AuthorizationPolicy sallyport-serving-serve-l7',
      'Namespace serve',
      'AuthorizationPolicy sallyport-serving-serve',
    ]);
    expect(JSON.stringify(objects.at(-1)?.['spec'])).toContain('cluster.local/ns/serve/sa/sallyport-waypoint');
    const l4 = resolve('model-serving', given, inventoryOf({ ...SERVING, mesh: { ...MESHED, mode: 'ambient' } }));
    expect(fillPattern(patternOf('model-serving'), l4.values).objects.map((one) => one.kind)).toEqual([
      'PeerAuthentication',
      'AuthorizationPolicy',
    ]);
  });

  it.each([
    ['/v1/models/*:predict', /star in the middle, which is read as a letter/],
    ['*', /matches every path/],
    ['/*', /matches every path/],
    ['/{**}', /matches every path/],
    ['*/infer', /is a suffix, which matches below every prefix/],
    ['/v1/mod*', /ends inside a segment/],
    ['/v1/models/{*}:predict', /a placeholder is one whole segment/],
    ['/v1/{**}/x/{*}', /goes on after \{\*\*\}/],
    ['v1/models', /does not begin with/],
    ['/a/{*}/b*', /the star would be a letter/],
  ])('refuses %s, which would match more or other than asked', (paths, message) => {
    expect(resolve('model-serving', { ...given, paths }, inventoryOf(SERVING)).problems.join()).toMatch(message);
  });

  it('refuses a template where the mesh is too old to read it', () => {
    const old = inventoryOf({ ...SERVING, mesh: { ...MESHED, version: '1.21' } });
    expect(resolve('model-serving', { ...given, paths: '/v2/models/{*}/infer' }, old).problems.join()).toMatch(
      /since 1.22/,
    );
  });
});

describe('strict-mtls-tier', () => {
  it('makes the tier take mTLS alone, and says who of it is not in the mesh', () => {
    const sketch: InventorySketch = {
      mesh: MESHED,
      namespaces: NAMED('shop'),
      workloads: {
        'shop/Deployment/vault': { labels: { 'security-tier': 'high' }, ports: [8200], mesh: 'sidecar' },
        'shop/Deployment/web': { labels: { app: 'web' }, ports: [8080], mesh: 'sidecar' },
      },
    };
    const { before, after } = tried('strict-mtls-tier', {}, sketch, 'shop');
    expect(before).toMatchObject([{ answer: 'violated', asked: 1 }]);
    expect(answers(after)).toEqual(['strict holds']);
    const bare = {
      ...sketch,
      workloads: { 'shop/Deployment/vault': { labels: { 'security-tier': 'high' }, ports: [8200] } },
    };
    expect(JSON.stringify(tried('strict-mtls-tier', {}, bare, 'shop').after)).toContain('is not in the mesh');
  });
});

describe('ambient-tunnels', () => {
  const hbone = networkPolicy('serve/only', {
    podSelector: {},
    policyTypes: ['Ingress'],
    ingress: [
      {
        from: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'shop' } } }],
        ports: [{ port: 8080 }],
      },
      { ports: [{ port: 15008 }] },
    ],
  });
  const sketch: InventorySketch = {
    mesh: { ...MESHED, mode: 'ambient' },
    namespaces: NAMED('serve', 'shop', 'other'),
    workloads: {
      'serve/Deployment/model': { labels: { app: 'model' }, ports: [8080, 9000], mesh: 'ambient', account: 'model' },
      'shop/Deployment/web': { labels: { app: 'web' }, mesh: 'ambient', account: 'web' },
      'other/Deployment/tool': { labels: { app: 'tool' }, mesh: 'ambient', account: 'tool' },
      'other/Deployment/plain': { labels: { app: 'plain' }, account: 'plain' },
    },
    policies: [hbone],
  };
  const authorization = (spec: Parameters<typeof manifest>[3]): KubeManifest =>
    manifest('security.istio.io/v1', 'AuthorizationPolicy', 'serve/l4', spec);
  const check = (...policies: readonly KubeManifest[]): InvariantResult | undefined =>
    tried('ambient-tunnels', { servers: 'serve' }, { ...sketch, policies: [hbone, ...policies] }).before[0];

  it('shows what an open 15008 lets through that NetworkPolicy keeps closed: who may not call at all, and ports that none may', () => {
    const found = check();
    expect(found?.answer).toBe('violated');
    const pairs = new Map(found?.violating.map((pair) => [pair.src, pair.ports]));
    expect([...pairs.keys()].sort()).toEqual(['other/Deployment/tool', 'shop/Deployment/web']);
    // From the shop 8080 is open to NetworkPolicy too.
    expect(pairs.get('shop/Deployment/web')).not.toMatch(/(?:^|, )8080/u);
    expect(pairs.get('shop/Deployment/web')).toContain('8081-');
    const why = found?.violating[0]?.why.map((one) => one.text).join(' ') ?? '';
    expect(why).toContain('15008');
    expect(why).toContain('not proven on packets');
  });

  it.each([
    [
      'the accounts and ports of the allow-list',
      {
        rules: [
          {
            from: [{ source: { principals: ['cluster.local/ns/shop/sa/web'] } }],
            to: [{ operation: { ports: ['8080'] } }],
          },
        ],
      },
      'holds',
    ],
    ['nobody', {}, 'holds'],
    [
      'accounts without ports',
      { rules: [{ from: [{ source: { principals: ['cluster.local/ns/shop/sa/web'] } }] }] },
      'violated',
    ],
    ['ports without accounts', { rules: [{ to: [{ operation: { ports: ['8080'] } }] }] }, 'violated'],
    [
      'one method, which ztunnel cannot see and so admits nobody',
      { rules: [{ to: [{ operation: { methods: ['GET'] } }] }] },
      'holds',
    ],
    ['everybody', { rules: [{}] }, 'violated'],
    ['all, in a policy that only rehearses nothing', { action: 'AUDIT', rules: [{}] }, 'violated'],
  ] as const)('%s admitted at layer 4: as the policy gives it back', (_, spec, answer) => {
    expect(check(authorization(spec as unknown as Parameters<typeof manifest>[3]))?.answer).toBe(answer);
  });

  it('asks nothing of a mesh of sidecars, nor of pods outside', () => {
    const bare = { ...sketch, mesh: MESHED };
    expect(tried('ambient-tunnels', {}, bare).before).toMatchObject([{ answer: 'holds', asked: 0 }]);
  });

  it('writes the layer 4 policy before it opens the port, and holds', () => {
    const closed = networkPolicy('serve/closed', { podSelector: {}, policyTypes: ['Ingress'] });
    const { objects, before, after } = tried(
      'ambient-tunnels',
      { servers: 'serve', callers: 'shop/web', ports: '8080' },
      { ...sketch, policies: [closed] },
    );
    expect(answers(before)).toEqual(['given-back holds']);
    expect(objects.map((one) => one.kind)).toEqual(['AuthorizationPolicy', 'NetworkPolicy']);
    const own = { ...sketch, policies: [closed] };
    expect(may(own, objects, 'shop/Deployment/web -> serve/Deployment/model 8080', true)).toBe('allowed');
    expect(may(own, objects, 'shop/Deployment/web -> serve/Deployment/model 9000', true)).toBe('denied');
    expect(may(own, objects, 'other/Deployment/tool -> serve/Deployment/model 8080', true)).toBe('denied');
    expect(answers(after)).toEqual(['given-back holds']);
  });
});

describe('controlled-egress', () => {
  const sketch: InventorySketch = {
    namespaces: NAMED('train', 'kube-system'),
    workloads: {
      'train/Deployment/fit': { labels: { app: 'fit' } },
      'train/Deployment/peer': { labels: { app: 'peer' }, ports: [80] },
    },
  };

  it.each([
    ['kubernetes', { ranges: '151.101.0.0/16', 'ranges-from': '2026-11-01' }, 'calico', 'nothing-else holds'],
    ['cilium', {}, 'cilium', 'nothing-else holds'],
  ])('in %s lets nothing else out, the metadata server neither', (dialect, more, cni, holds) => {
    const own = { ...sketch, cni: { name: cni } };
    const { objects, before, after } = tried(
      'controlled-egress',
      { dialect, internal: '10.20.0.0/16', ...more },
      own,
      'train',
    );
    expect(answers(before)).toEqual(['nothing-else violated']);
    expect(answers(after)).toEqual([holds]);
    const ask = (text: string): string => may(own, objects, `train/Deployment/fit -> ${text}`);
    expect(ask('external:10.20.3.4 5000')).toBe('allowed');
    expect(ask('external:169.254.169.254 80')).toBe('denied');
    // Of a bare address Cilium's evaluation cannot tell whether it is one of the names.
    expect(ask('external:203.0.113.9 443')).toBe(dialect === 'cilium' ? 'unknown' : 'denied');
    expect(ask('train/Deployment/peer 80')).toBe('allowed');
    expect(ask(dialect === 'cilium' ? 'external:pypi.org 443' : 'external:151.101.1.1 443')).toBe('allowed');
    // A bare name has any address, one of the internal ranges perhaps.
    expect(ask(dialect === 'cilium' ? 'external:pypi.org 80' : 'external:151.101.1.1 80')).toBe(
      dialect === 'cilium' ? 'unknown' : 'denied',
    );
  });

  it('names the policy that lets something else out', () => {
    const hole = networkPolicy('train/hole', {
      podSelector: {},
      policyTypes: ['Egress'],
      egress: [{ to: [{ ipBlock: { cidr: '198.18.0.0/24' } }] }],
    });
    const { after } = tried('controlled-egress', {}, { ...sketch, policies: [hole] }, 'train');
    expect(answers(after)).toEqual(['nothing-else violated']);
    expect(after[0]?.violating[0]?.dst).toMatch(/^198\.18\.0\./);
    expect(JSON.stringify(after[0]?.violating[0]?.why)).toContain('NetworkPolicy train/hole');
  });

  it('in istio routes each name through the egress gateway, which is all that pods reach', () => {
    const own = { ...sketch, mesh: MESHED, namespaces: NAMED('train', 'kube-system', 'istio-system') };
    const { objects, after } = tried('controlled-egress', { dialect: 'istio', hubs: 'pypi.org' }, own, 'train');
    expect(objects.map((one) => one.kind)).toEqual([
      'NetworkPolicy',
      'ServiceEntry',
      'Gateway',
      'VirtualService',
      'Sidecar',
    ]);
    expect(answers(after)).toEqual(['nothing-else holds']);
  });
});

describe('templates', () => {
  it('are refused where a list of peers comes out empty, which admits everybody', () => {
    const pattern = {
      ...patternOf('tenant-isolation'),
      objects: [
        {
          apiVersion: 'networking.k8s.io/v1',
          kind: 'NetworkPolicy',
          metadata: { name: 'x', namespace: 'a' },
          spec: { podSelector: {}, ingress: [{ from: [{ $each: '${none}', $as: 'one', $do: '${one}' }] }] },
        },
      ],
    };
    expect(fillPattern(pattern, { none: [], tenants: [] }).problems.join()).toMatch(
      /NetworkPolicy a\/x spec.ingress\[0\].from is empty, which would admit everybody/,
    );
  });

  it('say which placeholder nothing fills, and which stands inside a text and is none', () => {
    expect(fillTemplate({ a: '${b}', c: 'x-${d}' }, { d: [] }).problems).toEqual([
      'nothing fills ${b}',
      '${d} is no text, and stands inside one',
    ]);
  });

  it('never let a value become a placeholder, a key or a directive', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const { value, problems } = fillTemplate({ a: '${x}', b: ['${x}'], c: 'in ${x}' }, { x: text });
        expect(problems).toEqual([]);
        expect(value).toEqual({ a: text, b: [text], c: `in ${text}` });
      }),
    );
  });

  it('each say what they are, in text that a person reads, and name only parameters that they have', () => {
    for (const { name, doc, notes, summary, parameters } of patterns.values()) {
      expect(doc.length, name).toBeGreaterThan(100);
      expect(
        [summary, ...notes, ...Object.values(parameters).map(({ help }) => help)].every((text) => text.trim() !== ''),
        name,
      ).toBe(true);
    }
  });
});

describe('tenants of any shape', () => {
  it('are kept apart in every dialect, and each stays whole', () => {
    const shape = fc.array(fc.integer({ min: 0, max: 2 }), { minLength: 3, maxLength: 6 });
    fc.assert(
      fc.property(shape, fc.constantFrom('kubernetes', 'admin', 'calico', 'cilium'), (owners, dialect) => {
        fc.pre(new Set(owners).size > 1);
        const names = owners.map((_, index) => `ns-${index}`);
        const sketch: InventorySketch = {
          cni: { name: dialect === 'cilium' ? 'cilium' : 'calico' },
          namespaces: Object.fromEntries(owners.map((owner, index) => [`ns-${index}`, { tenant: `t${owner}` }])),
          workloads: Object.fromEntries(
            names.map((name) => [`${name}/Deployment/w`, { labels: { app: 'w' }, ports: [80] }]),
          ),
        };
        const { objects, after } = tried('tenant-isolation', { dialect }, sketch);
        expect(answers(after)).toEqual(['apart holds']);
        const world = compileWorld(inventoryOf({ ...sketch, policies: objects }));
        for (const [i, from] of owners.entries())
          for (const [j, to] of owners.entries())
            if (i !== j)
              expect(
                evaluateConnection(world, connection(`ns-${i}/Deployment/w -> ns-${j}/Deployment/w 80`)).answer,
              ).toBe(from === to ? 'allowed' : 'denied');
      }),
      { numRuns: 60 },
    );
  });
});
