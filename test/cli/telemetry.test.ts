// What /metrics says, and that nobody who can invent names can make it grow or say something else.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openTelemetry } from '../../src/cli/telemetry.ts';
import type { TelemetrySource } from '../../src/cli/telemetry.ts';
import fc from '../support/fast-check.ts';
import { NOTICE_KINDS } from '../../src/watch/notice.ts';
import { reduceWatch } from '../../src/watch/reduce.ts';
import { startWatch } from '../../src/watch/state.ts';
import { parseCommandLine } from '../../src/cli/program.ts';
import { parseYamlDocuments } from '../../src/shared/io/yaml.ts';
import { asArray, asObject } from '../../src/shared/pure/json.ts';
import type { Json } from '../../src/shared/pure/json.ts';
import { LEAD_RULES } from '../../src/sources/kube/rights.ts';
import { ROOT } from '../support/imports.ts';
import { CONFIG } from '../support/rig.ts';
import { START, byKind, deploymentOf, generate, idOf, sightingOf } from '../watch/world.ts';

const template = (file: string): string => readFileSync(join(ROOT, 'templates', file), 'utf8');

function sourceOf(): TelemetrySource {
  let state = startWatch(CONFIG);
  const { objects, record } = generate(1);
  const kinds = byKind(objects);
  const send = (event: Parameters<typeof reduceWatch>[1]): void => {
    ({ state } = reduceWatch(state, event, START));
  };
  send({ kind: 'expect', kinds: [...kinds.keys()] });
  send({ kind: 'record', record });
  for (const [of, list] of kinds) send({ kind: 'listed', of, objects: list });
  const extra = deploymentOf('ns-0', 'new');
  send({ kind: 'put', of: 'apps/v1 Deployment', object: extra });
  return {
    state: () => state,
    health: () => ({ ready: true, lastTurn: START, loadMs: 1500, loads: 1, events: 7 }),
    gates: () => [{ namespace: 'ns-0', gates: [{ id: 'review', answer: 'no', subject: 'ns-0', facts: [], fix: '' }] }],
    latency: [{ control: 'mesh-hop', unit: 'ms', p50: 1, p99: 4, n: 10, source: 'fortio', measuredAt: START }],
    clock: { now: () => START },
    process: false,
  };
}

describe('/metrics', () => {
  it('has the names that were asked for, and our own', async () => {
    const telemetry = openTelemetry();
    telemetry.attach(sourceOf());
    telemetry.leads(true);
    telemetry.sighted([
      sightingOf(idOf(0, 1), idOf(0, 5), 8080, START, { verdict: 'denied', count: 3 }),
      sightingOf(idOf(0, 1), idOf(0, 5), 8080, START, { verdict: 'denied', mtls: 'no' }),
      sightingOf(idOf(0, 1), idOf(0, 5), 8080, START, { verdict: 'denied', mtls: 'yes', count: 2 }),
      sightingOf(idOf(0, 0), idOf(0, 1), 8080, START),
      sightingOf(idOf(0, 2), idOf(0, 1), 8080, START),
    ]);
    const lines = new Set((await telemetry.render()).split('\n'));
    for (const line of [
      'ml_network_violations_total{source="ns-0/Deployment/app-1",destination="ns-0/Deployment/app-5",port="8080/TCP"} 3',
      'ml_auth_failures_total{service="ns-0/Deployment/app-5",reason="plaintext"} 1',
      'ml_auth_failures_total{service="ns-0/Deployment/app-5",reason="authorization"} 2',
      'ml_active_sessions{service="ns-0/Deployment/app-1"} 2',
      'ml_auth_latency_seconds{control="mesh-hop",percentile="99"} 0.004',
      'sallyport_phase{namespace="ns-0",phase="allow-list"} 2',
      'sallyport_gates{namespace="ns-0",answer="no"} 1',
      'sallyport_open_notices{kind="unprotected",severity="error"} 1',
      'sallyport_drift{namespace="ns-0"} 0',
      'sallyport_grants{state="expired"} 0',
      'sallyport_leader 1',
      'sallyport_ready 1',
      'sallyport_load_seconds 1.5',
    ])
      expect([...lines]).toContain(line);
  });

  it('counts notices from 0, so that the first of a kind is a rise', async () => {
    const lines = new Set((await openTelemetry().render()).split('\n'));
    for (const kind of NOTICE_KINDS)
      for (const severity of ['info', 'warning', 'error'])
        expect(lines).toContain(`sallyport_notices_total{kind="${kind}",severity="${severity}",state="raised"} 0`);
  });

  it('has a bound on every metric whose labels come from traffic, and counts what is beyond it', async () => {
    const telemetry = openTelemetry(5);
    const denied = (index: number) =>
      sightingOf(`ns-0/Deployment/x${index}`, idOf(0, 0), 8080, START, { verdict: 'denied' });
    telemetry.sighted(Array.from({ length: 100 }, (_, index) => denied(index)));
    telemetry.sighted([denied(0), denied(99)]);
    const text = await telemetry.render();
    const series = text.split('\n').filter((line) => line.startsWith('ml_network_violations_total{'));
    expect(series).toHaveLength(6);
    expect(series).toContain(
      'ml_network_violations_total{source="ns-0/Deployment/x0",destination="ns-0/Deployment/app-0",port="8080/TCP"} 2',
    );
    expect(series).toContain('ml_network_violations_total{source="other",destination="other",port="other"} 96');
    expect(text).toContain('sallyport_series_folded_total{metric="ml_network_violations_total"} 96');
  });

  it('says nothing but data, whatever somebody is called', async () => {
    const LINE =
      /^(?:#.*|[a-zA-Z_:][a-zA-Z0-9_:]*(?:\{(?:[a-z_]+="(?:[^"\\\n]|\\[\\n"])*",?)*\})? [-+0-9.e]+(?:Inf|NaN)?|)$/u;
    await fc.assert(
      fc.asyncProperty(fc.array(fc.string({ unit: 'binary', maxLength: 40 }), { maxLength: 5 }), async (names) => {
        const telemetry = openTelemetry();
        const hostile = [...names, 'x"} 1\nsallyport_leader 9', '\\', '\u202e', 'y'.repeat(5000)];
        telemetry.sighted(
          hostile.map((name) => ({
            ...sightingOf(idOf(0, 0), idOf(0, 1), 1, START, { verdict: 'denied' }),
            key: {
              src: { kind: 'external', name },
              dst: { kind: 'workload', id: name },
              protocol: 'TCP',
              port: 1,
            },
          })),
        );
        const text = await telemetry.render();
        for (const line of text.split('\n')) expect(line).toMatch(LINE);
        expect(text).not.toContain('sallyport_leader 9\n');
        expect(Math.max(...text.split('\n').map((line) => line.length))).toBeLessThan(1200);
      }),
      { numRuns: 20 },
    );
  });
});

describe('what is shipped beside it', () => {
  it('asks for metrics that there are', async () => {
    const telemetry = openTelemetry();
    telemetry.attach({ ...sourceOf(), process: true });
    const known = new Set(
      (await telemetry.render())
        .split('\n')
        .flatMap((line) => (line.startsWith('# TYPE ') ? [line.split(' ')[2] ?? ''] : [])),
    );
    for (const file of ['telemetry/rules.yaml', 'telemetry/dashboard.json']) {
      const asked = new Set(template(file).match(/\b(?:ml|sallyport|nodejs)_[a-z_]+\b/gu));
      expect(
        [...asked].filter((name) => !known.has(name)),
        file,
      ).toEqual([]);
      expect(asked.size).toBeGreaterThan(8);
    }
  });

  it('is a dashboard whose panels do not lie on each other', () => {
    const dashboard = JSON.parse(template('telemetry/dashboard.json')) as {
      readonly panels: readonly {
        readonly title: string;
        readonly gridPos: { x: number; y: number; w: number; h: number };
      }[];
    };
    const cells = new Map<string, string>();
    for (const { title, gridPos } of dashboard.panels) {
      expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24);
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x += 1)
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y += 1) {
          expect(cells.get(`${x},${y}`), title).toBeUndefined();
          cells.set(`${x},${y}`, title);
        }
    }
  });

  it('is a Deployment that fits "restricted", starts what there is, and keeps its state', async () => {
    const documents = parseYamlDocuments(template('watch/watch.yaml'));
    const objects = documents.map(({ value }) => asObject(value as Json));
    expect(documents.map(({ problem }) => problem).filter((one) => one !== undefined)).toEqual([]);
    const deployment = objects.find((one) => one['kind'] === 'Deployment');
    const pod = asObject(asObject(asObject(deployment?.['spec'])['template'])['spec']);
    const container = asObject(asArray(pod['containers'])[0]);
    expect(asObject(deployment?.['spec'])['strategy']).toEqual({ type: 'Recreate' });
    expect(pod).toMatchObject({ securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } } });
    expect(container).toMatchObject({
      securityContext: {
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
      },
      readinessProbe: { httpGet: { path: '/readyz' } },
      livenessProbe: { httpGet: { path: '/healthz' } },
    });
    const args = asArray(container['args']).map(String);
    expect((await parseCommandLine(args, '0', () => undefined)).action).toBeDefined();
    const roles = objects
      .filter((one) => one['kind'] === 'ClusterRoleBinding')
      .map((one) => asObject(one['roleRef'])['name']);
    expect(roles).toEqual(['sallyport-watcher', 'sallyport-operator']);
    const lead = objects.find((one) => one['kind'] === 'Role');
    expect(lead?.['rules']).toEqual(LEAD_RULES);
    expect(asObject(lead?.['metadata'])['namespace']).toBe(args[args.indexOf('--lead') + 1]);
    expect(objects.find((one) => one['kind'] === 'RoleBinding')).toMatchObject({
      metadata: { namespace: 'sallyport' },
      roleRef: { kind: 'Role', name: 'sallyport-watch-lead' },
    });
  });
});
