import fc from '../support/fast-check.ts';
import { describe, expect, it } from 'vitest';
import type { Config } from '../../src/model/config.ts';
import { DEFAULT_CONFIG } from '../../src/model/config.ts';
import { compareReports } from '../../src/report/compare.ts';
import { groupOf, registryOf } from '../../src/report/egress.ts';
import { reportFault, renderJson } from '../../src/report/json.ts';
import { renderMarkdown } from '../../src/report/markdown.ts';
import type { AssessmentReport } from '../../src/report/model.ts';
import { diffLines, yamlText } from '../../src/report/yaml-text.ts';
import { parseYaml } from '../../src/shared/io/yaml.ts';
import { CONFIG, edgeOf, twoTeamsEdges } from '../support/rig.ts';
import { reportFor } from './worlds.ts';

const withConfig = (more: Partial<Config>): Config => ({ ...CONFIG, ...more });

const deployment = (name: string, spec: string, more = ''): string => `
apiVersion: apps/v1
kind: Deployment
metadata: {name: ${name}, namespace: front}
spec:
  selector: {matchLabels: {app: ${name}}}
  template:
    metadata: {labels: {app: ${name}}${more}}
    spec: ${spec}
`;

describe('keys', () => {
  const made = reportFor({
    with: [
      deployment(
        'trainer',
        `{serviceAccountName: trainer, imagePullSecrets: [{name: pull}],
       containers: [{name: main, image: registry.example/trainer,
         volumeMounts: [{name: certs, mountPath: /etc/certs}],
         envFrom: [{secretRef: {name: everything}}],
         env: [{name: AWS_SECRET_ACCESS_KEY, valueFrom: {secretKeyRef: {name: s3, key: secret}}},
               {name: DB_PASSWORD, value: hunter2},
               {name: DB_URL, value: "postgres://u:hunter2@back-db/x"},
               {name: TOKEN_FILE, value: /var/run/token},
               {name: API_TOKEN, value: $(OTHER)},
               {name: MAX_TOKENS, value: "512"}]}],
       volumes: [{name: certs, secret: {secretName: client-tls}}]}`,
      ),
      `
apiVersion: v1
kind: ServiceAccount
metadata: {name: trainer, namespace: front, annotations: {eks.amazonaws.com/role-arn: "arn:aws:iam::111122223333:role/trainer"}}
secrets: [{name: trainer-token}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: all}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: trainer, namespace: front}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: front}
rules: [{apiGroups: [""], resources: [secrets], verbs: [list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: front}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: nightly}]
`,
    ].join('---'),
  });
  const keys = made.identities.keys.filter((one) => one.workload === 'front/Deployment/trainer');

  it('in use are listed by reference, literals without their value, and what is none is left out', () => {
    expect(keys.map((one) => [one.how, one.at, one.reference, one.sort])).toEqual([
      ['account-token-secret', 'account trainer', 'Secret front/trainer-token', 'token'],
      ['env-all-of-secret', 'every key as a variable', 'Secret front/everything', 'other'],
      ['env-from-secret', 'AWS_SECRET_ACCESS_KEY', 'Secret front/s3 key secret', 'cloud-key'],
      ['env-literal', 'DB_PASSWORD', null, 'database'],
      ['env-literal', 'DB_URL', null, 'database'],
      ['image-pull', 'imagePullSecrets', 'Secret front/pull', 'token'],
      ['mounted-secret', '/etc/certs', 'Secret front/client-tls', 'tls'],
    ]);
    expect(renderJson(made)).not.toContain('hunter2');
  });

  it('of an account that pulls images count for the workloads on it', () => {
    expect(made.identities.keys).toContainEqual(
      expect.objectContaining({
        workload: 'front/Deployment/web',
        how: 'image-pull',
        reference: 'Secret front/registry',
      }),
    );
  });

  it('of accounts: cloud identities by annotation, and rights that reach far', () => {
    const account = made.identities.accounts.find((one) => one.namespace === 'front' && one.name === 'trainer');
    expect(account?.cloud).toEqual([
      { provider: 'aws', annotation: 'eks.amazonaws.com/role-arn', identity: 'arn:aws:iam::111122223333:role/trainer' },
    ]);
    expect(account?.powerful).toEqual(['ClusterRole/cluster-admin: can do anything in every namespace']);
    const nightly = made.identities.accounts.find((one) => one.namespace === 'front' && one.name === 'nightly');
    expect(nightly?.powerful).toEqual(['Role/reader: reads every Secret in its namespace']);
    expect(made.standards.cis.find((one) => one.id === '5.1.1')?.state).toBe('not-met');
    expect(made.standards.cis.find((one) => one.id === '5.1.2')?.because).toEqual(['1: front/nightly']);
  });
});

const ingress = (annotations: string): string => `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: door, namespace: front, annotations: ${annotations}}
spec:
  tls: [{hosts: [door.example]}]
  rules: [{host: door.example, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]
`;
const request = `
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: login, namespace: front}
spec: {selector: {matchLabels: {app: web}}, jwtRules: [{issuer: "https://login.example"}]}
`;
const asks = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: login, namespace: front}
spec: {selector: {matchLabels: {app: web}}, rules: [{from: [{source: {requestPrincipals: ["*"]}}]}]}
`;

describe('who asks who is calling', () => {
  it.each([
    ['nobody', ingress('{}'), 'none-found'],
    [
      'an authentication service',
      ingress('{nginx.ingress.kubernetes.io/auth-url: "http://oauth2-proxy/auth"}'),
      'oauth2-proxy',
    ],
    ['passwords', ingress('{nginx.ingress.kubernetes.io/auth-type: basic}'), 'basic'],
    ['certificates', ingress('{nginx.ingress.kubernetes.io/auth-tls-secret: front/ca}'), 'client-certificate'],
    ['tokens that nobody has to show', `${ingress('{}')}---${request}`, 'none-found'],
    ['tokens that a policy asks for', `${ingress('{}')}---${request}---${asks}`, 'jwt'],
  ])('at an Ingress: %s', (_, objects, expected) => {
    const made = reportFor({ with: objects });
    expect(
      made.identities.entrances.map((one) => [one.id, one.hosts, one.tls, one.leadsTo, one.authentication]),
    ).toEqual([['Ingress front/door', ['door.example'], 'yes', ['front/Deployment/web'], expected]]);
  });

  it('is said of OAuth 2 clients by reference', () => {
    const made = reportFor({
      with: deployment(
        'oauth2-proxy',
        `{containers: [{name: main, image: "quay.io/oauth2-proxy/oauth2-proxy:v7", args: ["--oidc-issuer-url=https://user:hunter2@login.example"],
          env: [{name: OAUTH2_PROXY_CLIENT_SECRET, valueFrom: {secretKeyRef: {name: oauth, key: client-secret}}}]}]}`,
      ),
    });
    expect(made.identities.oauthClients).toEqual([
      {
        subject: 'front/Deployment/oauth2-proxy',
        kind: 'oauth2-proxy',
        references: ['OAUTH2_PROXY_CLIENT_SECRET from Secret front/oauth key client-secret'],
        issuer: 'https://(masked)@login.example',
      },
    ]);
  });
});

describe('tenants', () => {
  const label = (name: string, labels: string): string =>
    `apiVersion: v1\nkind: Namespace\nmetadata: {name: ${name}, labels: ${labels}}\n`;
  it.each<[string, Config, string, readonly (readonly [string, string])[]]>([
    ['nobody, without a word about it', CONFIG, '', []],
    [
      'whom a label of the namespace names',
      CONFIG,
      `${label('front', '{team: a}')}---\n${label('back', '{team: b}')}`,
      [
        ['a', 'front'],
        ['b', 'back'],
      ],
    ],
    [
      'whom a person declares, before any label',
      withConfig({ tenants: [{ name: 'x', namespaces: ['front', 'back'] }] }),
      label('front', '{team: a}'),
      [['x', 'back,front']],
    ],
    [
      'whom a person declares by a label',
      withConfig({ tenants: [{ name: 'x', labels: { zone: 'red' } }] }),
      label('front', '{zone: red}'),
      [['x', 'front']],
    ],
    [
      'the owner of a Profile',
      CONFIG,
      'apiVersion: kubeflow.org/v1\nkind: Profile\nmetadata: {name: front}\nspec: {owner: {kind: User, name: a}}\n',
      [['front', 'front']],
    ],
  ])('are %s', (_, config, objects, expected) => {
    const made = reportFor({ config, with: objects });
    expect(made.tenants.tenants.map((one) => [one.name, one.namespaces.join()])).toEqual(expected);
  });

  it('leak where one reaches the other, with the edges and the pairs', () => {
    const made = reportFor({ with: `${label('front', '{team: a}')}---\n${label('back', '{team: b}')}` });
    expect(made.tenants.leaks.map((one) => [one.from, one.to, one.reachablePairs, one.pairs])).toEqual([
      ['a', 'b', 6, 6],
      ['b', 'a', 6, 6],
    ]);
    expect(made.tenants.leaks[0]?.edges.length).toBeGreaterThan(3);
    expect(made.boundaries.crossings.some((one) => one.kind === 'tenant' && one.from === 'a' && one.to === 'b')).toBe(
      true,
    );
  });
});

describe('destinations outside', () => {
  const vpc = withConfig({ boundaries: [{ kind: 'vpc', name: 'prod', cidrs: ['10.1.0.0/16'] }] });
  const own = withConfig({ assess: { egress: [{ match: '*.bank.example', group: 'datasets' }] } });
  it.each<[string | undefined, string | undefined, Config, string]>([
    ['pypi.org', undefined, CONFIG, 'packages'],
    ['files.pythonhosted.org', undefined, CONFIG, 'packages'],
    ['evilpypi.org', undefined, CONFIG, 'unknown'],
    ['pypi.org.evil.example', undefined, CONFIG, 'unknown'],
    ['cdn-lfs.huggingface.co', undefined, CONFIG, 'model-hubs'],
    ['bucket.s3.eu-west-1.amazonaws.com', undefined, CONFIG, 'cloud-apis'],
    ['models.storage.googleapis.com', undefined, CONFIG, 'cloud-apis'],
    ['features.blob.core.windows.net', undefined, CONFIG, 'cloud-apis'],
    ['conda.anaconda.org', undefined, CONFIG, 'packages'],
    ['registry.npmjs.org', undefined, CONFIG, 'packages'],
    ['dev.azure.com', undefined, CONFIG, 'code'],
    ['raw.githubusercontent.com', undefined, CONFIG, 'code'],
    ['api.wandb.ai', undefined, CONFIG, 'saas'],
    ['111122223333.dkr.ecr.eu-west-1.amazonaws.com', undefined, CONFIG, 'container-images'],
    ['www.kaggle.com', undefined, CONFIG, 'datasets'],
    ['feeds.bank.example', undefined, own, 'datasets'],
    [undefined, '169.254.169.254', CONFIG, 'metadata-server'],
    [undefined, '10.1.2.3', CONFIG, 'internal'],
    [undefined, '10.1.2.3', vpc, 'internal'],
    [undefined, '203.0.113.7', CONFIG, 'unknown'],
    ['ldap.corp', undefined, CONFIG, 'internal'],
  ])('%s %s', (name, ip, config, group) => {
    expect(groupOf(name, ip, config).group).toBe(group);
  });

  it('of a declared VPC are told by name too, and a name alone is in no VPC for certain', () => {
    const made = reportFor({
      config: withConfig({
        boundaries: [
          { kind: 'vpc', name: 'bank', cidrs: ['198.18.0.0/15'], names: ['*.bank.example'] },
          { kind: 'nat', name: 'way-out', addresses: ['198.51.100.1'] },
        ],
      }),
      edges: [
        edgeOf('front/Deployment/web -> external:ledger.bank.example 443'),
        edgeOf('front/Deployment/web -> external:metadata-server 80'),
        edgeOf('front/Deployment/web -> external:pypi.org 443'),
        edgeOf('front/Deployment/web -> external:192.0.2.9 443'),
        edgeOf('external:192.0.2.9 -> front/Deployment/web 8080'),
      ],
    });
    const across = (kind: string): readonly unknown[] =>
      made.boundaries.crossings.filter((one) => one.kind === kind).map((one) => [one.from, one.to, one.edges.length]);
    expect(across('vpc')).toEqual([
      ['outside every VPC declared', 'the cluster', 1],
      ['the cluster', 'VPC bank', 1],
      ['the cluster', 'outside every VPC declared', 1],
      ['the cluster', 'outside, VPC not known (a name alone)', 1],
    ]);
    // Nothing comes in through a NAT, and a VPC that is declared needs none.
    expect(across('nat')).toEqual([['the cluster, seen as way-out (198.51.100.1)', 'outside', 2]]);
    const named = made.egress.groups
      .flatMap((one) => one.destinations)
      .find((one) => one.name === 'ledger.bank.example');
    expect(named?.boundary).toBe('VPC bank');
  });

  it.each([
    ['nginx', 'docker.io'],
    ['library/nginx:1.27', 'docker.io'],
    ['registry.bank.example/fraud/api:7', 'registry.bank.example'],
    ['localhost:5000/api', 'localhost:5000'],
    ['Quay.io/minio/minio@sha256:0', 'quay.io'],
    ['', undefined],
  ])('the image %s is pulled from %s', (image, registry) => {
    expect(registryOf(image)).toBe(registry);
  });

  it('are listed with who goes there, and a declared VPC is named', () => {
    const made = reportFor({
      config: vpc,
      edges: [
        ...twoTeamsEdges(),
        edgeOf('front/Deployment/web -> external:10.1.2.3 5432'),
        edgeOf('back/Deployment/api -> external:203.0.113.7 443'),
      ],
    });
    const internal = made.egress.groups.find((one) => one.group === 'internal')?.destinations;
    expect(internal).toMatchObject([
      { name: '10.1.2.3', boundary: 'VPC prod', workloads: ['front/Deployment/web'], ports: ['5432/TCP'] },
    ]);
    expect(made.boundaries.crossings.filter((one) => one.kind === 'vpc').map((one) => [one.from, one.to])).toEqual(
      expect.arrayContaining([
        ['the cluster', 'VPC prod'],
        ['the cluster', 'outside every VPC declared'],
      ]),
    );
    expect(made.boundaries.undeclared.join()).not.toContain('VPCs: none');
    expect(reportFor().boundaries.undeclared.join()).toContain('VPCs: none');
  });
});

describe('what stays unprotected', () => {
  const kinds = (made: AssessmentReport): readonly string[] => made.residual.map((one) => one.kind);
  it.each([
    ['rdma', `{containers: [{name: m, image: x, resources: {limits: {rdma/hca: 1}}}]}`],
    ['host-ipc', '{hostIPC: true, containers: [{name: m, image: x}]}'],
    ['host-pid', '{hostPID: true, containers: [{name: m, image: x}]}'],
    ['host-network', '{hostNetwork: true, containers: [{name: m, image: x}]}'],
    ['privileged', '{containers: [{name: m, image: x, securityContext: {privileged: true}}]}'],
  ])('names %s where it is, and only there', (kind, spec) => {
    const made = reportFor({ with: deployment('trainer', spec) });
    expect(made.residual.find((one) => one.kind === kind)?.subjects).toContain('front/Deployment/trainer');
    expect(reportFor().residual.find((one) => one.kind === kind)?.subjects ?? []).not.toContain(
      'front/Deployment/trainer',
    );
  });

  it('says of every cluster what holds for every cluster', () => {
    for (const made of [reportFor(), reportFor({ objects: [] })])
      expect(kinds(made)).toEqual(expect.arrayContaining(['own-node', 'open-connections', 'start-up']));
  });

  it('says that a CNI does not enforce', () => {
    const { mesh } = CONFIG.cluster;
    const made = reportFor({
      without: ['DaemonSet/calico-node'],
      config: { ...DEFAULT_CONFIG, cluster: mesh === undefined ? {} : { mesh } },
    });
    expect(made.cluster.cni.enforces).not.toBe('yes');
    expect(kinds(made)).toContain('cni');
  });
});

describe('latency', () => {
  const measured = {
    control: 'mesh-hop',
    unit: 'ms' as const,
    p50: 0.4,
    p99: 1.2,
    n: 1000,
    source: 'load test',
    measuredAt: Date.UTC(2026, 2, 1),
  };

  it('is an estimate where nothing was measured, and says so', () => {
    const { latency } = reportFor();
    expect(latency.controls.map((one) => [one.control, one.basis, one.p50 ?? [one.low, one.high], one.unit])).toEqual([
      ['network-policy', 'estimate', 0.1, 'ms'],
      ['mtls-handshake', 'estimate', [2, 5], 'ms'],
      ['mesh-hop', 'estimate', 0.8, 'ms'],
      ['api-gateway', 'estimate', 1.5, 'ms'],
      ['pipeline', 'estimate', 13, 'percent'],
    ]);
  });

  it('is what was measured, by the newest measurement; a path that mixes both is an estimate', () => {
    const outside = [...twoTeamsEdges(), edgeOf('external:203.0.113.9 -> front/Deployment/web 8080')];
    const { latency } = reportFor(
      { edges: outside },
      { latency: [{ ...measured, p50: 9, measuredAt: 1 }, measured, { ...measured, control: 'waf' }] },
    );
    expect(latency.controls.find((one) => one.control === 'mesh-hop')).toMatchObject({
      basis: 'measured',
      p50: 0.4,
      p99: 1.2,
      n: 1000,
      source: 'load test',
    });
    expect(latency.controls.at(-1)).toMatchObject({ control: 'waf', basis: 'measured' });
    for (const path of latency.paths) expect(path.added.every((one) => one.basis === 'estimate')).toBe(true);
  });
});

describe('two reports compared', () => {
  it('of the same moment differ in nothing', () => {
    const compared = compareReports(reportFor(), reportFor());
    expect(compared.figures.filter((one) => one.better !== 'same')).toEqual([]);
    expect([compared.edges.added, compared.edges.removed, compared.phases.length, compared.risk.length]).toEqual([
      0, 0, 0, 0,
    ]);
    expect(compared.notes).toEqual([]);
  });

  it('name what came and went, and whether it is better', () => {
    const later = reportFor({
      phases: { front: 'allow-list' },
      edges: [...twoTeamsEdges().slice(1), edgeOf('front/Deployment/worker -> external:198.51.100.9 443')],
      with: deployment('new', '{containers: [{name: m, image: x, env: [{name: DB_PASSWORD, value: hunter2}]}]}'),
    });
    const compared = compareReports(reportFor(), later);
    expect(compared.workloads).toEqual({ added: ['front/Deployment/new'], removed: [] });
    expect(compared.edges).toMatchObject({
      added: 1,
      removed: 1,
      addedTexts: ['front/Deployment/worker -> external:198.51.100.9 443/TCP'],
      removedTexts: ['front/Deployment/web -> back/Deployment/api 8080/TCP'],
    });
    expect(compared.phases).toEqual([{ namespace: 'front', before: 'none', after: 'allow-list' }]);
    expect(compared.figures.find((one) => one.id === 'literal-keys')).toMatchObject({
      before: 0,
      after: 1,
      better: 'no',
    });
    expect(compared.surface.map((one) => one.state)).toEqual([
      'now',
      'monitor',
      'allow-list',
      'permissive-mtls',
      'strict-mtls',
      'identity',
    ]);
    expect(renderMarkdown({ ...later, comparison: compared })).toContain('## Compared with');
  });

  it.each([
    [{}, 'it is no Assessment'],
    [{ kind: 'Assessment', apiVersion: 'v9' }, 'its apiVersion is "v9", and sallyport.dev/v1 is understood'],
    [{ ...reportFor(), risk: {} }, 'risk.rows is no list'],
  ])('refuse what is no report', (value, fault) => {
    expect(reportFault(value)).toBe(fault);
  });
});

describe('credentials', () => {
  it('in settings, requests, reasons and URLs reach no form of the report', () => {
    const made = reportFor(
      {
        with: deployment(
          'leaky',
          `{containers: [{name: m, image: x, command: [run, "--password", "s3cr3t-arg"], env: [
            {name: DB_URL, value: "postgres://user:s3cr3t-url@back-db:5432/x"}, {name: API_TOKEN, value: s3cr3t-env}]}]}`,
        ),
        edges: [
          ...twoTeamsEdges(),
          edgeOf('front/Deployment/web -> back/Deployment/api 8080 GET /v1?token=s3cr3t-path'),
        ],
        decisions: [
          {
            action: 'waive',
            query: { gate: 'soak' },
            text: 'gate=soak',
            reason: 'password=s3cr3t-reason',
            by: 'x',
            at: 1,
            matched: [],
          },
        ],
      },
      {
        cluster: { id: 'x', description: 'https://me:s3cr3t-host@api.example' },
        audit: [{ at: 1, who: 'x', what: 'y', object: 'z', reason: 'Bearer s3cr3t-trail' }],
      },
    );
    const text = renderJson(made) + renderMarkdown(made);
    expect(text.split('\n').filter((line) => line.includes('s3cr3t'))).toEqual([]);
    expect(text).toContain('(masked)');
  });
});

describe('YAML of candidates', () => {
  const json = fc.letrec<{ readonly value: unknown }>((tie) => ({
    value: fc.oneof(
      { depthSize: 'small' },
      fc.string(),
      fc.constantFrom(
        'yes',
        'no',
        'null',
        '~',
        '1',
        '1e3',
        '0x1f',
        '2026-01-01',
        'a: b',
        'a #b',
        '- x',
        '',
        ' x',
        '!tag',
        '*a',
        '&a',
        '12:30:45',
        '<<',
        'y',
      ),
      fc.integer(),
      fc.boolean(),
      fc.constant(null),
      fc.array(tie('value'), { maxLength: 3 }),
      fc.dictionary(
        fc
          .oneof(fc.string(), fc.constantFrom('on', '1', 'app.kubernetes.io/name', 'a: b'))
          .filter((key) => key !== '__proto__' && key !== '<<'),
        tie('value'),
        { maxKeys: 3 },
      ),
    ),
  })).value;

  it('reads as the object it was made of', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom('a', 'b', 'c'), json, { minKeys: 1 }), (value) => {
        const text = yamlText(value as Parameters<typeof yamlText>[0]);
        expect(JSON.parse(JSON.stringify(parseYaml(text)))).toEqual({
          value: JSON.parse(JSON.stringify(value)) as unknown,
        });
      }),
      { numRuns: 300 },
    );
  });

  it('differs by the lines that differ', () => {
    expect(diffLines('a\nb\nc\n', 'a\nx\nc\nd\n')).toEqual(['  a', '- b', '+ x', '  c', '+ d']);
    expect(diffLines('a\n', 'a\n')).toEqual([]);
    fc.assert(
      fc.property(fc.array(fc.constantFrom('a', 'b', 'c')), fc.array(fc.constantFrom('a', 'b', 'c')), (a, b) => {
        fc.pre(a.length > 0 && b.length > 0 && a.join() !== b.join());
        const lines = diffLines(a.join('\n'), b.join('\n'));
        expect(lines.filter((line) => !line.startsWith('+ ')).map((line) => line.slice(2))).toEqual(a);
        expect(lines.filter((line) => !line.startsWith('- ')).map((line) => line.slice(2))).toEqual(b);
      }),
    );
  });
});
