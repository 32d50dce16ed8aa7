// An open port 15008 takes port rules from NetworkPolicy. What goes with it gives them back: for every pair and port, generated.
import { describe, expect, it } from 'vitest';
import { deriveAuthorization } from '../../src/candidates/authorization.ts';
import type { CandidateContext } from '../../src/candidates/network.ts';
import { deriveNetworkCandidate, deriveTunnelAccess } from '../../src/candidates/network.ts';
import { judgeInvariants } from '../../src/candidates/patterns/judge.ts';
import type { Edge } from '../../src/model/edge.ts';
import { compileWorld, evaluateConnection } from '../../src/model/evaluate.ts';
import type { Inventory } from '../../src/model/inventory.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { refKey, refOf } from '../../src/model/object.ts';
import { buildDefaultDeny } from '../../src/objects/build.ts';
import type { JsonObject } from '../../src/shared/pure/json.ts';
import { asObject } from '../../src/shared/pure/json.ts';
import { deriveWaypointRequests } from '../../src/candidates/waypoint-requests.ts';
import { withWaypoints } from '../../src/candidates/waypoints.ts';
import fc from '../support/fast-check.ts';
import { edgeOf } from '../support/rig.ts';
import type { PodSetSketch } from '../support/world.ts';
import { connection, inventoryOf, manifest } from '../support/world.ts';

const NAMESPACES = ['a', 'b'];
const PORTS = [80, 8080, 9000];
/** One that nobody is on record on. */
const ASKED = [...PORTS, 7777];

interface Sample {
  readonly workloads: readonly {
    readonly id: string;
    readonly account: string;
    readonly mesh: 'ambient' | 'sidecar' | 'none';
  }[];
  readonly edges: readonly Edge[];
  readonly isolated: readonly string[];
  /** Namespaces before whose Services a waypoint stands. */
  readonly behind?: readonly string[];
}

const workloadsArb = fc
  .uniqueArray(
    fc.record({
      namespace: fc.constantFrom(...NAMESPACES),
      app: fc.constantFrom('x', 'y', 'z', 'w'),
      account: fc.constantFrom('own', 'own', 'shared'),
      mesh: fc.constantFrom(
        'ambient' as const,
        'ambient' as const,
        'ambient' as const,
        'sidecar' as const,
        'none' as const,
      ),
    }),
    { selector: ({ namespace, app }) => `${namespace}/${app}`, minLength: 2, maxLength: 6 },
  )
  .map((list) =>
    list.map(({ namespace, app, account, mesh }) => ({
      id: `${namespace}/Deployment/${app}`,
      account: account === 'own' ? app : 'shared',
      mesh,
    })),
  );

const sampleArb: fc.Arbitrary<Sample> = workloadsArb.chain((workloads) => {
  const ids = workloads.map(({ id }) => id);
  return fc.record({
    workloads: fc.constant(workloads),
    isolated: fc.subarray(NAMESPACES, { minLength: 1 }),
    edges: fc
      .uniqueArray(
        fc.record({ src: fc.constantFrom(...ids), dst: fc.constantFrom(...ids), port: fc.constantFrom(...PORTS) }),
        { selector: (one) => JSON.stringify(one), maxLength: 10 },
      )
      .map((list) =>
        list.filter(({ src, dst }) => src !== dst).map(({ src, dst, port }) => edgeOf(`${src} -> ${dst} ${port}`)),
      ),
  });
});

interface Made {
  readonly context: CandidateContext;
  readonly inventory: Inventory;
  readonly policies: readonly KubeManifest[];
  readonly tunnels: readonly KubeManifest[];
  /** Workloads of which a person would be asked first. */
  readonly wider: readonly string[];
}

const WAYPOINT = 'Deployment/waypoint';

function made({ workloads, edges, isolated, behind = [] }: Sample, waived = false): Made {
  const gateways = behind.map((namespace) =>
    manifest('gateway.networking.k8s.io/v1', 'Gateway', `${namespace}/waypoint`, {
      gatewayClassName: 'istio-waypoint',
    }),
  );
  const inventory = inventoryOf({
    mesh: { kind: 'istio', mode: 'ambient', version: '1.29' },
    namespaces: Object.fromEntries(
      NAMESPACES.map((name) => [
        name,
        {
          'kubernetes.io/metadata.name': name,
          ...(behind.includes(name) ? { 'istio.io/use-waypoint': 'waypoint' } : {}),
        },
      ]),
    ),
    policies: gateways,
    services:
      behind.length === 0
        ? []
        : workloads.map(({ id }) => ({
            name: `${id.slice(0, id.indexOf('/'))}/${id.slice(id.lastIndexOf('/') + 1)}`,
            selects: [id],
            ports: PORTS.map((port) => `http-${port}:${port}`),
          })),
    workloads: Object.fromEntries([
      ...behind.map((namespace, index) => [
        `${namespace}/${WAYPOINT}`,
        {
          labels: { 'gateway.networking.k8s.io/gateway-name': 'waypoint' },
          account: 'waypoint',
          pods: [`10.0.1.${index + 1}@n1`],
        },
      ]),
      ...workloads.map(({ id, account, mesh }, index) => [
        id,
        {
          labels: { app: id.slice(id.lastIndexOf('/') + 1) },
          ports: PORTS,
          account,
          mesh,
          pods: [`10.0.0.${index + 1}@n1`],
        },
      ]),
    ]) as Record<string, PodSetSketch>,
    cni: { name: 'calico', enforces: 'yes', ipBlockMatches: ['pods', 'nodes', 'api-server'] },
  });
  const context: CandidateContext = {
    inventory,
    edges: withWaypoints(inventory, edges),
    system: {},
    waived: (gate) => waived && gate === 'expressible',
    meshed: new Set(workloads.filter(({ mesh }) => mesh === 'sidecar').map(({ id }) => id)),
    plaintextExempt: () => false,
  };
  const own = inventory.workloads.filter(({ namespace }) => isolated.includes(namespace));
  const access = own.map((workload) => ({ id: workload.id, ...deriveTunnelAccess(context, workload) }));
  return {
    context,
    inventory,
    policies: [
      ...gateways,
      ...own.flatMap((workload) =>
        (['ingress', 'egress'] as const).flatMap((way) => deriveNetworkCandidate(context, workload, way).object ?? []),
      ),
      ...isolated.map((namespace) => buildDefaultDeny({ name: 'sallyport-default-deny', namespace })),
    ],
    tunnels: [
      ...new Map(
        access
          .flatMap(({ object, atWaypoints }) => [...atWaypoints, ...(object === undefined ? [] : [object])])
          .map((one) => [refKey(refOf(one)), one]),
      ).values(),
    ],
    wider: access.filter(({ problems }) => problems.length > 0).map(({ id }) => id),
  };
}

describe('tunnels of an allow-list in an ambient mesh', () => {
  it('carry nothing that NetworkPolicy keeps closed, of any pair on any port, and everything that is on record', () => {
    const seen = { taken: 0, given: 0, wider: 0 };
    fc.assert(
      fc.property(sampleArb, (sample) => {
        const { inventory, policies, tunnels, wider } = made(sample);
        seen.wider += wider.length;
        const network = compileWorld({ ...inventory, policies });
        const open = compileWorld({ ...inventory, policies });
        const closed = compileWorld({ ...inventory, policies: [...policies, ...tunnels] });
        const guarded = sample.workloads.filter(
          ({ id, mesh }) =>
            mesh === 'ambient' && sample.isolated.includes(id.slice(0, id.indexOf('/'))) && !wider.includes(id),
        );
        for (const dst of guarded)
          for (const src of sample.workloads)
            for (const port of ASKED) {
              if (src.id === dst.id) continue;
              const query = connection(`${src.id} -> ${dst.id} ${port}`);
              if (evaluateConnection(network, query, { mesh: false }).answer !== 'denied') continue;
              // Without the policies of layer 4 a tunnel carries it, or nothing is proved.
              if (evaluateConnection(open, query, { mesh: true }).answer === 'allowed') seen.taken += 1;
              const after = evaluateConnection(closed, query, { mesh: true });
              expect([src.id, dst.id, port, after.answer]).toEqual([src.id, dst.id, port, 'denied']);
              seen.given += 1;
            }
        for (const edge of sample.edges) {
          const of = (end: Edge['src']): string => (end.kind === 'workload' ? end.id : '');
          if (
            wider.includes(of(edge.dst)) ||
            sample.workloads.find(({ id }) => id === of(edge.dst))?.mesh === 'sidecar'
          )
            continue;
          expect([edge.id, evaluateConnection(closed, edge, { mesh: true }).answer]).toEqual([edge.id, 'allowed']);
        }
      }),
      { numRuns: 150 },
    );
    // The property is about something: tunnels did carry what was closed, and some accounts were shared.
    expect(seen.taken).toBeGreaterThan(20);
    expect(seen.given).toBeGreaterThan(seen.taken);
    expect(seen.wider).toBeGreaterThan(0);
  });

  it('hold the promise of the pattern ambient-tunnels wherever no person was asked', () => {
    fc.assert(
      fc.property(sampleArb, (sample) => {
        const { inventory, policies, tunnels, wider } = made(sample);
        if (wider.length > 0) return;
        const of = sample.isolated.map((name) => ({ name, namespaces: [name], pods: {} }));
        const results = judgeInvariants(
          of.map((group) => ({ id: group.name, text: 'tunnels', kind: 'tunnels', of: group })),
          { ...inventory, policies: [...policies, ...tunnels] },
        );
        expect(results.flatMap(({ violating }) => violating)).toEqual([]);
      }),
      { numRuns: 60 },
    );
  });

  it('name accounts and ports alone, which is what ztunnel enforces', () => {
    fc.assert(
      fc.property(sampleArb, (sample) => {
        for (const { spec } of made(sample, true).tunnels) {
          const { rules, action } = spec as unknown as { action: string; rules: readonly Record<string, unknown>[] };
          expect(action).toBe('ALLOW');
          for (const rule of rules) {
            expect(Object.keys(rule).every((key) => key === 'from' || key === 'to')).toBe(true);
            expect(JSON.stringify(rule)).not.toMatch(/methods|paths|hosts|requestPrincipals/u);
          }
        }
      }),
      { numRuns: 40 },
    );
  });
});

describe('tunnels of an allow-list with waypoints before its Services', () => {
  const behindArb = sampleArb.chain((sample) =>
    fc.subarray(NAMESPACES, { minLength: 1 }).map((behind) => ({ ...sample, behind })),
  );
  it('carry everything that is on record, and nothing that NetworkPolicy keeps closed, through a waypoint or past it', () => {
    const seen = { through: 0, taken: 0, closed: 0 };
    fc.assert(
      fc.property(behindArb, (sample) => {
        const { inventory, policies, tunnels, wider } = made(sample);
        const network = compileWorld({ ...inventory, policies });
        const closed = compileWorld({ ...inventory, policies: [...policies, ...tunnels] });
        // A waypoint's account alone, without what stands at the waypoint: whoever may open a tunnel to it comes through.
        const unguarded = compileWorld({
          ...inventory,
          policies: [...policies, ...tunnels.filter(({ metadata }) => !metadata.name.endsWith('-waypoint'))],
        });
        const guarded = sample.workloads.filter(
          ({ id, mesh }) =>
            mesh === 'ambient' && sample.isolated.includes(id.slice(0, id.indexOf('/'))) && !wider.includes(id),
        );
        for (const dst of guarded)
          for (const src of sample.workloads)
            for (const port of ASKED) {
              if (src.id === dst.id) continue;
              const query = connection(`${src.id} -> ${dst.id} ${port}`);
              const onRecord = sample.edges.some(
                (edge) =>
                  edge.port === port && JSON.stringify([edge.src, edge.dst]) === JSON.stringify([query.src, query.dst]),
              );
              if (onRecord || evaluateConnection(network, query, { mesh: false }).answer !== 'denied') continue;
              if (evaluateConnection(unguarded, query, { mesh: true }).answer !== 'denied') seen.taken += 1;
              expect([src.id, dst.id, port, evaluateConnection(closed, query, { mesh: true }).answer]).toEqual([
                src.id,
                dst.id,
                port,
                'denied',
              ]);
              seen.closed += 1;
            }
        for (const edge of sample.edges) {
          const to = sample.workloads.find(({ id }) => edge.dst.kind === 'workload' && edge.dst.id === id);
          if (to === undefined || wider.includes(to.id) || to.mesh === 'sidecar') continue;
          const verdict = evaluateConnection(closed, edge, { mesh: true });
          expect([edge.id, verdict.answer]).toEqual([edge.id, 'allowed']);
          if (JSON.stringify(tunnels).includes('/sa/waypoint')) seen.through += 1;
        }
      }),
      { numRuns: 120 },
    );
    expect(seen.through).toBeGreaterThan(20);
    expect(seen.taken).toBeGreaterThan(0);
    expect(seen.closed).toBeGreaterThan(100);
  });

  it('are seen by the promise of ambient-tunnels where nothing says who may come through', () => {
    const { inventory, policies, tunnels } = made({
      workloads: [
        { id: 'a/Deployment/x', account: 'x', mesh: 'ambient' },
        { id: 'a/Deployment/y', account: 'y', mesh: 'ambient' },
        { id: 'b/Deployment/z', account: 'z', mesh: 'ambient' },
        { id: 'b/Deployment/w', account: 'w', mesh: 'ambient' },
      ],
      edges: [edgeOf('a/Deployment/x -> b/Deployment/z 80'), edgeOf('a/Deployment/y -> b/Deployment/w 80')],
      isolated: ['b'],
      behind: ['b'],
    });
    // By the Service and by the address of a pod are two ways: what one alone carries is not known to be closed.
    const judged = (more: readonly KubeManifest[]): readonly string[] => {
      const of = { name: 'b', namespaces: ['b'], pods: {} };
      const [found] = judgeInvariants([{ id: 'b', text: 'tunnels', kind: 'tunnels', of }], {
        ...inventory,
        policies: [...policies, ...more],
      });
      return [...(found?.violating ?? []), ...(found?.unknown ?? [])].map(
        ({ src, dst, ports }) => `${src} ${dst} ${ports}`,
      );
    };
    expect(judged(tunnels)).toEqual([]);
    expect(judged(tunnels.filter(({ metadata }) => !metadata.name.endsWith('-waypoint')))).toEqual(
      expect.arrayContaining(['a/Deployment/x b/Deployment/w 80/TCP', 'a/Deployment/y b/Deployment/z 80/TCP']),
    );
  });

  it.each([
    [
      'the account of the caller at the waypoint, and both at the server, since it may dial the address of a pod',
      ['b'],
      ['x@waypoint', 'waypoint@z', 'x@z'],
    ],
    ['the account of the caller alone where none stands before the Service', [], ['x@z']],
    ['nor where it stands before those of another namespace', ['a'], ['x@z']],
  ] as const)('admit %s', (_, behind, wanted) => {
    const { tunnels } = made({
      workloads: [
        { id: 'a/Deployment/x', account: 'x', mesh: 'ambient' },
        { id: 'b/Deployment/z', account: 'z', mesh: 'ambient' },
      ],
      edges: [edgeOf('a/Deployment/x -> b/Deployment/z 80')],
      isolated: ['b'],
      behind,
    });
    const found = tunnels.flatMap(({ metadata, spec }) =>
      [...JSON.stringify(spec).matchAll(/\/sa\/([a-z]+)/gu)].map(
        ([, account]) => `${account ?? ''}@${metadata.name.endsWith('-waypoint') ? 'waypoint' : 'z'}`,
      ),
    );
    expect(found.sort()).toEqual([...wanted].sort());
  });
});

describe('a waypoint before a Service whose pods are outside the mesh', () => {
  const sample: Sample = {
    workloads: [
      { id: 'a/Deployment/x', account: 'x', mesh: 'ambient' },
      { id: 'a/Deployment/y', account: 'y', mesh: 'none' },
      { id: 'b/Deployment/z', account: 'z', mesh: 'none' },
      { id: 'b/Deployment/w', account: 'w', mesh: 'ambient' },
    ],
    edges: [
      edgeOf('a/Deployment/x -> b/Deployment/z 80'),
      edgeOf('a/Deployment/y -> b/Deployment/z 9000'),
      edgeOf('b/Deployment/w -> b/Deployment/z 8080'),
    ],
    isolated: ['a', 'b'],
    behind: ['b'],
  };
  const { inventory, policies, tunnels, wider } = made(sample);

  it('is on the way of clients in ambient mode: to its tunnel port, and from it to the plain port', () => {
    const specOf = (name: string): string =>
      JSON.stringify(policies.find(({ metadata }) => metadata.name === name)?.['spec'] ?? {});
    expect(wider).toEqual([]);
    expect(specOf('sallyport-waypoint-ingress')).toContain('15008');
    expect(specOf('sallyport-waypoint-egress')).toMatch(/"port":80[,}]/u);
    const atServer = JSON.parse(specOf('sallyport-z-ingress')) as { ingress: readonly JsonObject[] };
    const ofWaypoint = atServer.ingress.filter((rule) => JSON.stringify(rule).includes('gateway-name'));
    const ports = ofWaypoint.flatMap((rule) => JSON.stringify(rule['ports']).match(/\d+/gu) ?? []);
    // Who is outside the mesh goes past it, so that its port is not the waypoint's; no tunnel ends at the server.
    expect(ports.sort()).toEqual(['80', '8080']);
    expect(specOf('sallyport-z-ingress')).not.toContain('15008');
  });

  it('admits those on record on their ports, and nobody else', () => {
    expect(tunnels.map(({ metadata }) => metadata.name)).toEqual(['sallyport-z-waypoint']);
    const closed = compileWorld({ ...inventory, policies: [...policies, ...tunnels] });
    const asked = (text: string): string => evaluateConnection(closed, connection(text), { mesh: true }).answer;
    expect(sample.edges.map((edge) => evaluateConnection(closed, edge, { mesh: true }).answer)).toEqual([
      'allowed',
      'allowed',
      'allowed',
    ]);
    // Of two ways each is refused by another layer: NetworkPolicy past the waypoint, the waypoint itself before the Service.
    expect(asked('a/Deployment/x -> b/Deployment/z 8080')).toBe('unknown');
    expect(asked('a/Deployment/x -> b/Deployment/z 7777')).toBe('denied');
    const admitted = JSON.stringify(asObject(tunnels[0]?.['spec'])['rules']);
    expect(admitted).toBe(
      JSON.stringify(
        [
          ['a/sa/x', '80'],
          ['b/sa/w', '8080'],
        ].map(([account, port]) => ({
          from: [{ source: { principals: [`cluster.local/ns/${account ?? ''}`] } }],
          to: [{ operation: { ports: [port] } }],
        })),
      ),
    );
  });
});

describe('a range of ports that is too long to be listed', () => {
  const EPHEMERAL = 'a/Deployment/x -> b/Deployment/z 32768-60999';
  const sample = (...edges: readonly string[]): Sample => ({
    workloads: [
      { id: 'a/Deployment/x', account: 'x', mesh: 'ambient' },
      { id: 'a/Deployment/y', account: 'y', mesh: 'ambient' },
      { id: 'b/Deployment/z', account: 'z', mesh: 'ambient' },
    ],
    edges: edges.map((text) => edgeOf(text)),
    isolated: ['b'],
  });
  const y80 = 'a/Deployment/y -> b/Deployment/z 80';
  const rulesOf = (policy: KubeManifest | undefined): string => JSON.stringify(asObject(policy?.['spec'])['rules']);
  const admits = (account: string, ...ports: readonly string[]): string =>
    JSON.stringify({
      from: [{ source: { principals: [`cluster.local/ns/a/sa/${account}`] } }],
      ...(ports.length === 0 ? {} : { to: [{ operation: { ports } }] }),
    });

  it('asks a person, and then admits the caller on every port, since a part of them would cut the rest', () => {
    expect(made(sample(EPHEMERAL, y80)).wider).toEqual(['b/Deployment/z']);
    const { inventory, policies, tunnels } = made(sample(EPHEMERAL, y80), true);
    expect(rulesOf(tunnels[0])).toContain(admits('x'));
    expect(rulesOf(tunnels[0])).toContain(admits('y', '80'));
    const closed = compileWorld({ ...inventory, policies: [...policies, ...tunnels] });
    for (const [text, answer] of [
      [EPHEMERAL, 'allowed'],
      ['a/Deployment/x -> b/Deployment/z 45000', 'allowed'],
      [y80, 'allowed'],
      ['a/Deployment/y -> b/Deployment/z 45000', 'denied'],
    ] as const)
      expect([text, evaluateConnection(closed, connection(text), { mesh: true }).answer]).toEqual([text, answer]);
  });

  it('does the same at a waypoint, and a short one is listed beside the requests on record', () => {
    const at = (...edges: readonly string[]): string => {
      const { context } = made({ ...sample(...edges), behind: ['b'] }, true);
      const [server] = context.inventory.workloads.filter(({ id }) => id === 'b/Deployment/z');
      return rulesOf(server === undefined ? undefined : deriveWaypointRequests(context, server)[0]);
    };
    expect(at('a/Deployment/x -> b/Deployment/z 8000-9500', y80)).toBe(`[${admits('x')},${admits('y', '80')}]`);
    expect(at('a/Deployment/x -> b/Deployment/z 8079-8081', 'a/Deployment/x -> b/Deployment/z 80')).toBe(
      JSON.stringify([
        {
          from: [{ source: { principals: ['cluster.local/ns/a/sa/x'] } }],
          to: [{ operation: { ports: ['80'] } }, { operation: { ports: ['8079', '8080', '8081'] } }],
        },
      ]),
    );
  });
});

describe('a caller of which runs go on under an earlier account', () => {
  const start = made({
    workloads: [
      { id: 'a/Deployment/x', account: 'x', mesh: 'ambient' },
      { id: 'a/Deployment/y', account: 'y', mesh: 'sidecar' },
      { id: 'b/Deployment/z', account: 'z', mesh: 'ambient' },
      { id: 'b/Deployment/w', account: 'w', mesh: 'sidecar' },
    ],
    edges: ['a/Deployment/x', 'a/Deployment/y'].flatMap((src) => [
      edgeOf(`${src} -> b/Deployment/z 80`),
      edgeOf(`${src} -> b/Deployment/w 80`),
    ]),
    isolated: ['b'],
  });
  const inventory: Inventory = {
    ...start.inventory,
    workloads: start.inventory.workloads.map((one) => ({
      ...one,
      podSets: one.podSets.map((set) => (one.namespace === 'a' ? { ...set, otherAccounts: ['before'] } : set)),
    })),
  };
  const context: CandidateContext = { ...start.context, inventory };
  const of = (id: string) => inventory.workloads.filter((one) => one.id === id);
  const tunnels = of('b/Deployment/z').flatMap((server) => deriveTunnelAccess(context, server).object ?? []);

  it('is admitted under both, and judged under each', () => {
    const asked = (policies: readonly KubeManifest[], src: string): string =>
      evaluateConnection(compileWorld({ ...inventory, policies }), connection(`${src} -> b/Deployment/z 80`), {
        mesh: true,
      }).answer;
    for (const src of ['a/Deployment/x', 'a/Deployment/y']) {
      expect([src, asked(tunnels, src)]).toEqual([src, 'allowed']);
      // What names the account of its new pods alone refuses the run that goes on.
      expect([src, asked(start.tunnels, src)]).toEqual([src, 'denied']);
    }
  });

  it('is named by its accounts where all of it has a sidecar, and by the port alone where it has none', () => {
    const moving = new Map(['x', 'y'].map((app) => [`a/Deployment/${app}`, ['cluster.local/ns/a/sa/to']]));
    const [server] = of('b/Deployment/w');
    const rules = server === undefined ? [] : deriveAuthorization(context, server, moving).rules;
    expect(rules.map(({ peer, rule }) => [peer, JSON.stringify(rule['from'] ?? 'anybody')])).toEqual([
      ['a/Deployment/x', '"anybody"'],
      [
        'a/Deployment/y',
        JSON.stringify([
          { source: { principals: ['before', 'to', 'y'].map((name) => `cluster.local/ns/a/sa/${name}`) } },
        ]),
      ],
    ]);
  });
});

describe('callers of one account on different ports', () => {
  const sample: Sample = {
    workloads: [
      { id: 'a/Deployment/x', account: 'shared', mesh: 'ambient' },
      { id: 'a/Deployment/y', account: 'shared', mesh: 'ambient' },
      { id: 'b/Deployment/z', account: 'z', mesh: 'ambient' },
    ],
    edges: [edgeOf('a/Deployment/x -> b/Deployment/z 80'), edgeOf('a/Deployment/y -> b/Deployment/z 9000')],
    isolated: ['b'],
  };
  it('are told of too where one of them comes to the same waypoint for another Service', () => {
    const edges = [edgeOf('a/Deployment/x -> b/Deployment/z 80'), edgeOf('a/Deployment/y -> b/Deployment/w 80')];
    const workloads = [...sample.workloads, { id: 'b/Deployment/w', account: 'w', mesh: 'ambient' as const }];
    expect([...made({ ...sample, workloads, edges, behind: ['b'] }).wider].sort()).toEqual([
      'b/Deployment/w',
      'b/Deployment/z',
    ]);
    expect(made({ ...sample, workloads, edges }).wider).toEqual([]);
  });
  it('are told of, and nothing is written before a person says so', () => {
    const { tunnels, wider } = made(sample);
    expect([tunnels, wider]).toEqual([[], ['b/Deployment/z']]);
    expect(made(sample, true).tunnels).toHaveLength(1);
  });
});
