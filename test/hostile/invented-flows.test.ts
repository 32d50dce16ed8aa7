import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createAggregator } from '../../src/flows/aggregate.ts';
import { MAX_UNREVIEWED_TARGETS, findUncorroborated, isSensitive, newestPart } from '../../src/flows/corroborate.ts';
import { findDoubtful } from '../../src/flows/review.ts';
import type { Edge } from '../../src/model/edge.ts';
import { formatEdge } from '../../src/model/edge.ts';
import type { Inventory, Workload } from '../../src/model/inventory.ts';
import { parseManifestText } from '../../src/sources/manifests/schema.ts';
import { openGates } from '../../src/plan/assemble.ts';
import { inventoryOf, snapshotOf } from '../inventory/snapshots.ts';
import { planFor } from '../phases/worlds.ts';
import { EXAMPLE, readTruth } from '../support/example-traffic.ts';
import { twoTeamsEdges } from '../support/rig.ts';
import type { EdgeParts } from '../flows/build.ts';
import { DAY, MONDAY, days, edge, emptyInventory, flow, stamped, workload } from '../flows/build.ts';

const holding = (id: string, ...sensitivity: readonly string[]): Workload => {
  const one = workload(id, { ports: [{ name: 'db', port: 5432, protocol: 'TCP' }] });
  return { ...one, classification: { ...one.classification, sensitivity } };
};
const world = (parts: Partial<Inventory> = {}): Inventory =>
  emptyInventory({
    workloads: [
      workload('shop/Deployment/web'),
      workload('shop/Deployment/owned'),
      workload('shop/CronJob/weekly', { schedule: { cron: '0 0 * * 0', suspended: false, by: 'CronJob' } }),
      holding('data/StatefulSet/db', 'personal-data', 'credentials'),
      holding('monitoring/Deployment/metrics', 'telemetry'),
    ],
    ...parts,
  });
const DB = 'data/StatefulSet/db';
/** A record of four weeks, so that something can be new in it. */
const record: readonly Edge[] = [
  edge('shop/Deployment/web', DB, { port: 5432, days: days(28), last: MONDAY + 27 * DAY }),
  edge('shop/Deployment/owned', 'shop/Deployment/web', { days: days(28), last: MONDAY + 27 * DAY }),
];
const seen = (count: number, from = 0, parts: EdgeParts = {}): EdgeParts => ({
  port: 5432,
  days: days(count, from),
  first: MONDAY + from * DAY,
  last: MONDAY + (from + count - 1) * DAY,
  ...parts,
});
const asked = (edges: readonly Edge[], inventory = world(), wanted = 3): readonly string[] =>
  findUncorroborated(edges, inventory, wanted).waiting.map(({ edge: one, why }) => `${formatEdge(one)}: ${why}`);

describe('whoever holds one pod and calls what he likes', () => {
  it('does not get a rule into a database for two days of calls', () => {
    const attack = edge('shop/Deployment/owned', DB, seen(2));
    expect(findDoubtful([...record, attack], world())).toEqual([]);
    expect(asked([...record, attack])).toEqual([
      'shop/Deployment/owned -> data/StatefulSet/db 5432/TCP: seen on 2 days, and a rule into data/StatefulSet/db, which holds personal-data, credentials wants 3 days',
    ]);
  });

  it('does not get one for three days either, where it began in the newest part of the record', () => {
    expect(asked([...record, edge('shop/Deployment/owned', DB, seen(4, 24))])).toEqual([
      expect.stringContaining('new: first seen 2026-10-29, in the newest part of the record'),
    ]);
  });

  it('does not get a way out of the database to the outside', () => {
    const attack = edge(DB, 'external:203.0.113.66', seen(2, 0, { port: 443 }));
    expect(asked([...record, attack])).toEqual([expect.stringContaining('to the outside from data/StatefulSet/db')]);
  });

  it('does not open a range of ports by calling three of them, for however long', () => {
    const attack = edge('shop/Deployment/owned', DB, seen(28, 0, { port: 32_768, endPort: 60_999 }));
    expect(asked([...record, attack])).toEqual([expect.stringContaining('it would open a range of ports into')]);
  });

  it('does not open an undeclared port by records that do not show who called', () => {
    const attack = edge('shop/Deployment/owned', DB, seen(28, 0, { port: 4444, guessedDirection: true }));
    expect(asked([...record, attack])).toEqual([expect.stringContaining('nobody declares that port')]);
    const usual = edge('shop/Deployment/owned', DB, seen(28, 0, { guessedDirection: true }));
    expect(asked([...record, usual])).toEqual([]);
  });

  it.each<[string, Edge, Partial<Inventory>]>([
    ['what has been there for as long as the record', edge('shop/Deployment/owned', DB, seen(28)), {}],
    ['what a person adopted', edge('shop/Deployment/owned', DB, seen(2, 0, { review: 'legitimate' })), {}],
    ['what a person cuts', edge('shop/Deployment/owned', DB, seen(2, 0, { review: 'to-be-cut' })), {}],
    ['what never passed', edge('shop/Deployment/owned', DB, seen(2, 0, { verdicts: { denied: 9 } })), {}],
    [
      'what configuration names, which no pod can write',
      edge('shop/Deployment/owned', DB, seen(2)),
      {
        declared: [
          {
            src: { kind: 'workload', id: 'shop/Deployment/owned' },
            dst: { kind: 'workload', id: DB },
            protocol: 'TCP',
            port: 5432,
            strength: 'weak',
            by: 'env DATABASE_URL',
          },
        ],
      },
    ],
    ['a schedule seen in three runs', edge('shop/CronJob/weekly', DB, seen(2, 0, { runs: ['1', '2', '3'] })), {}],
    ['what holds counters alone', edge('shop/Deployment/owned', 'monitoring/Deployment/metrics', seen(2)), {}],
  ])('nobody is asked about %s', (_, one, parts) => {
    expect(asked([...record, one], world(parts))).toEqual([]);
  });

  it('becomes one question when it reaches more than anybody has looked at, however patiently', () => {
    const scan = Array.from({ length: 5_000 }, (_, index) =>
      edge('shop/Deployment/owned', `external:198.51.${index >> 8}.${index & 255}`, seen(28, 0, { port: 443 })),
    );
    const { waiting, fanOuts } = findUncorroborated([...record, ...scan], world(), 3);
    expect(waiting).toEqual([]);
    expect(fanOuts.map(({ source, targets }) => ({ source, targets }))).toEqual([
      { source: 'shop/Deployment/owned', targets: 5_001 },
    ]);
    // What a gateway has by trade is adopted once.
    const adopted = scan.map((one) => ({ ...one, review: 'legitimate' as const }));
    expect(findUncorroborated([...record, ...adopted], world(), 3).fanOuts).toEqual([]);
    expect(findUncorroborated([...record, ...scan.slice(0, MAX_UNREVIEWED_TARGETS - 1)], world(), 3).fanOuts).toEqual(
      [],
    );
  });
});

describe('what is new', () => {
  it('is what begins in the newest quarter of a record, a day at least; a short record has nothing new', () => {
    expect(newestPart(record)).toBe(MONDAY + 27 * DAY - (27 * DAY) / 4);
    expect(newestPart([edge('a/b/c', DB, seen(5))])).toBe(MONDAY + 3 * DAY);
    expect(newestPart([edge('a/b/c', DB, seen(4))])).toBeUndefined();
    expect(newestPart([])).toBeUndefined();
  });
});

describe('a poisoned recording of the bundled example', () => {
  const { legitimate } = readTruth();
  const objects = readdirSync(join(EXAMPLE, 'cluster')).flatMap((file) =>
    parseManifestText(readFileSync(join(EXAMPLE, 'cluster', file), 'utf8')).chunks.flatMap(({ parsed }) =>
      parsed.objects.map(({ object }) => object),
    ),
  );
  const inventory = inventoryOf(snapshotOf(objects, 'directory'));
  /** Nine days, as the example has them. */
  const honest = legitimate.map(({ src, dst, protocol, port }) =>
    edge(src, dst, {
      ...(typeof port === 'number' ? { port } : { port: port.from, endPort: port.to }),
      protocol: protocol as Edge['protocol'],
      days: days(9),
      last: MONDAY + 8 * DAY,
    }),
  );
  const waits = (edges: readonly Edge[]): ReadonlySet<string> => {
    const { waiting, fanOuts } = findUncorroborated(edges, inventory, 3);
    return new Set([
      ...findDoubtful(edges, inventory).map((one) => one.edge.id),
      ...waiting.map((one) => one.edge.id),
      ...fanOuts.flatMap((one) => one.edges.map(({ id }) => id)),
    ]);
  };
  const sensitive = inventory.workloads.filter((one) => isSensitive(one)).map((one) => one.id);

  it('asks about nothing that is rightly there on all days', () => {
    expect(honest.length).toBeGreaterThan(200);
    expect([...waits(honest)].map((id) => formatEdge(honest.find((one) => one.id === id) ?? edge('?', '?')))).toEqual(
      [],
    );
  });

  it.each<[string, string, EdgeParts]>([
    ['one call to each store', 'fraud-payments/Deployment/payments-api', seen(1)],
    ['two days of calls to each store', 'fraud-payments/Deployment/payments-api', seen(2)],
    ['three days of calls at the end', 'ingress-nginx/Deployment/controller', seen(3, 6)],
    ['a new workload that calls each store', 'fraud-payments/Pod/newcomer', seen(2, 7)],
  ])('admits nobody to what is sensitive by %s', (_, src, poison) => {
    // A workload needs no rule to reach itself.
    const bad = sensitive.filter((dst) => dst !== src).map((dst) => edge(src, dst, { ...poison, port: 4444 }));
    expect(bad.length).toBeGreaterThan(20);
    const waiting = waits([...honest, ...bad]);
    expect(bad.filter((one) => !waiting.has(one.id)).map(formatEdge)).toEqual([]);
    // And hides nothing of what was there behind it.
    expect(honest.filter((one) => waiting.has(one.id) && one.src.kind === 'workload' && one.src.id !== src)).toEqual(
      [],
    );
  });
});

describe('a flood of invented flows', () => {
  const flood = (count: number, order: 'up' | 'down') => {
    const aggregator = createAggregator(world());
    aggregator.add(flow({ src: stamped('shop/Deployment/owned'), dst: stamped(DB), port: 5432 }));
    for (let at = 0; at < count; at += 1) {
      const index = order === 'up' ? at : count - 1 - at;
      aggregator.add(
        flow({
          src: stamped('shop/Deployment/owned'),
          dst: {
            ip: `203.${index >> 16}.${(index >> 8) & 255}.${index & 255}`,
            labels: {},
            reserved: ['world'],
            names: [],
          },
          port: 1 + (index % 65_000),
          first: MONDAY + (index % 3) * DAY,
          last: MONDAY + (index % 3) * DAY,
        }),
      );
    }
    return aggregator.finish([]);
  };

  it('fills neither the memory nor the record: beyond a bound the targets of a source are one, and that one is nobody', () => {
    const { edges } = flood(6_000, 'up');
    expect(edges.map((one) => `${formatEdge(one)} ${one.count}x on ${one.days.length} days`).sort()).toEqual([
      'shop/Deployment/owned -> data/StatefulSet/db 5432/TCP 1x on 1 days',
      'shop/Deployment/owned -> unknown: (its source reached more than 4096 destinations and ports) 1-65535/TCP 6000x on 3 days',
    ]);
    // Whatever the order of the records.
    expect(flood(6_000, 'down').edges).toEqual(edges);
  });

  it('below the bound keeps each of them', () => {
    expect(flood(4_000, 'up').edges).toHaveLength(4_001);
  });

  it('stands in the way of a plan until a person has looked', () => {
    const together = flood(5_000, 'up').edges.find((one) => one.dst.kind === 'unknown');
    if (together === undefined) throw new Error('the flood is on record');
    const made = { ...edge('front/Deployment/web', 'back/Deployment/api', { days: days(9) }), dst: together.dst };
    const flooded: Edge = { ...made, port: 1, endPort: 65_535, id: 'f100ded' };
    const subjects = openGates(planFor({ edges: [...twoTeamsEdges(), flooded] }, 'allow-list')).map(
      (gate) => `${gate.id} ${gate.subject}`,
    );
    expect(subjects).toContain('unknown f100ded');
  });
});
