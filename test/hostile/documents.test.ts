import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readConfig, readDecisions, readLatency } from '../../src/cli/config.ts';
import { dueTimes } from '../../src/flows/schedules.ts';
import { matchEdges, parseQuery } from '../../src/flows/query.ts';
import { matchText } from '../../src/model/glob.ts';
import { buildInventory } from '../../src/inventory/build.ts';
import { parseSignatures } from '../../src/inventory/signatures.ts';
import type { Snapshot } from '../../src/model/inventory.ts';
import { DEFAULT_CONFIG } from '../../src/model/config.ts';
import type { Json } from '../../src/shared/pure/json.ts';
import { canonicalJson } from '../../src/shared/pure/json.ts';
import { maskManifest } from '../../src/shared/pure/mask.ts';
import { parseYaml, parseYamlDocuments, parseYamlTrees, renderYaml } from '../../src/shared/io/yaml.ts';
import { parseManifestText } from '../../src/sources/manifests/schema.ts';
import { readContexts, readKubeAccess } from '../../src/sources/kube/kubeconfig.ts';
import {
  parseGroupList,
  parseListItem,
  parseListPage,
  parseResourceList,
  parseRetryAfter,
  parseStatus,
} from '../../src/sources/kube/schema.ts';
import { shippedSignatures, snapshotOf } from '../inventory/snapshots.ts';
import { ROOT } from '../support/imports.ts';
import { twoTeamsEdges } from '../support/rig.ts';
import fc from '../support/fast-check.ts';
import { HOSTILE_TEXTS, HOSTILE_VALUES, deepJson, jsonMutation, mutate, mutateJson, mutation, runs } from './mutate.ts';
import { outcomeOf } from './outcome.ts';

const EXAMPLE = join(ROOT, 'examples/fraud-detection');
const manifests = readdirSync(join(EXAMPLE, 'cluster'))
  .filter((file) => file.endsWith('.yaml'))
  .map((file) => readFileSync(join(EXAMPLE, 'cluster', file), 'utf8'));
const damages = fc.array(mutation, { minLength: 1, maxLength: 4 });
const changes = fc.array(jsonMutation, { minLength: 1, maxLength: 3 });
const anything: fc.Arbitrary<Json> = fc.oneof(
  fc.constantFrom(...HOSTILE_VALUES.map((value) => value as Json)),
  fc.constantFrom<Json>(...HOSTILE_TEXTS),
  fc.jsonValue() as fc.Arbitrary<Json>,
);

let dir = '';
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'sallyport-hostile-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const file = (name: string, bytes: Buffer | string): string => {
  const path = join(dir, name);
  writeFileSync(path, bytes);
  return path;
};

/** What a text turns out to be, so that two readings can be held together. */
function yamlOf(text: string): string {
  const documents = parseYamlDocuments(text);
  for (const { value, problem } of documents) {
    if ((value === undefined) === (problem === undefined)) throw new Error('neither a value nor a problem, or both');
    if (problem !== undefined && (problem.line < 1 || problem.column < 1)) throw new Error('a problem without a place');
  }
  parseYamlTrees(text);
  return JSON.stringify([documents, parseYaml(text), parseManifestText(text).chunks.map(({ parsed }) => parsed.notes)]);
}

describe('YAML of whoever may write a file', () => {
  it('damaged is read or refused with a place, twice the same', async () => {
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...manifests), fc.nat(1_000_000), damages, async (text, at, by) => {
        // A slice keeps a case small; it begins in the middle of a document as well as at its start.
        const from = at % text.length;
        const damaged = by.reduce(mutate, Buffer.from(text.slice(from, from + 3_000))).toString('utf8');
        expect(await outcomeOf(() => yamlOf(damaged))).toEqual(await outcomeOf(() => yamlOf(damaged)));
      }),
      { numRuns: runs(40) },
    );
  });

  it.each<[string, string]>([
    ['a bomb of aliases', bomb(9, 10)],
    [
      'a bomb of merge keys',
      `a: &a {x: 1}\n${Array.from({ length: 40 }, (_, i) => `b${i}: &b${i}\n  <<: [*a, *a]\n  y: *a`).join('\n')}`,
    ],
    ['an alias of itself', 'a: &a [*a]'],
    ['an alias of its parent', 'a: &a {b: *a}'],
    ['an anchor given twice', 'a: &a 1\nb: &a [*a, *a]\nc: *a'],
    ['a long text behind many aliases', `a: &a ${'x'.repeat(100_000)}\nb: [${'*a,'.repeat(5_000)}]`],
    [
      'aliases of merged maps',
      `a: &a {${Array.from({ length: 500 }, (_, i) => `k${i}: 1`).join(', ')}}\n${Array.from({ length: 500 }, (_, i) => `b${i}: {<<: *a}`).join('\n')}`,
    ],
    ['depth in flow', '['.repeat(100_000)],
    ['depth in maps', '{a: '.repeat(10_000)],
    ['depth in blocks', Array.from({ length: 1_000 }, (_, i) => `${' '.repeat(i)}a:`).join('\n')],
    ['depth in sequences', '- '.repeat(10_000)],
    ['JSON of great depth', deepJson(100_000, 'object')],
    ['JSON lists of great depth', deepJson(100_000)],
    ['tags', '!!js/function "x": !!binary AAAA\na: !!set {x}\nb: !<tag:evil> 1\nc: !!python/object:os.system x'],
    [
      'keys of the prototype',
      '__proto__: {polluted: 1}\nconstructor: {prototype: {polluted: 1}}\n<<: {__proto__: {polluted: 1}}',
    ],
    ['keys given twice', 'kind: A\nkind: B'],
    ['directives', '%YAML 9.9\n%TAG ! tag:evil,\n---\n!x 1'],
    ['many documents', '---\na: 1\n'.repeat(1_000)],
    ['many anchors', Array.from({ length: 5_000 }, (_, i) => `- &a${i} x`).join('\n')],
    [
      'numbers',
      'a: 1e400\nb: 0x7fffffffffffffffffffffff\nc: 9007199254740993\nd: .nan\ne: -.inf\nf: 1_000\ng: 190:20:30',
    ],
    ...HOSTILE_TEXTS.map((text): [string, string] => [
      `the text ${JSON.stringify(text.slice(0, 20))}`,
      `a: ${text}\n${text}: b`,
    ]),
  ])('%s is a value of bounded size or a problem', async (_, text) => {
    const outcome = await outcomeOf(() => yamlOf(text));
    expect(outcome.kind).toBe('result');
    // What aliases stand for is bounded, so that whatever prints or hashes an object is, too.
    if (outcome.kind === 'result') expect(outcome.value.length).toBeLessThan(4 * text.length + 40_000_000);
  });

  it('written from any value is read back as that value', () => {
    fc.assert(
      fc.property(anything, (value) => {
        const read = parseYaml(renderYaml({ a: value }));
        expect('value' in read && canonicalJson(read.value)).toBe(canonicalJson({ a: value }));
      }),
      { numRuns: runs(300) },
    );
  });
});

function bomb(levels: number, width: number): string {
  const lines = [`a0: &a0 [${Array.from({ length: width }, () => 'lol').join(', ')}]`];
  for (let level = 1; level < levels; level += 1)
    lines.push(`a${level}: &a${level} [${Array.from({ length: width }, () => `*a${level - 1}`).join(', ')}]`);
  return lines.join('\n');
}

describe('objects of whoever may create one', () => {
  const signatures = shippedSignatures();
  const byKind = new Map<string, object[]>();
  for (const text of manifests)
    for (const { parsed } of parseManifestText(text).chunks)
      for (const { object } of parsed.objects) {
        const known = byKind.get(object.kind);
        if (known === undefined) byKind.set(object.kind, [object]);
        else known.push(object);
      }
  // One namespace's worth: two of each kind, so that a case is small and every reader has something to read.
  const base = [...byKind.values()].flatMap((objects) => objects.slice(0, 2));
  const inventoryOf = (objects: readonly unknown[], source: Snapshot['source']): string => {
    const snapshot = snapshotOf(objects, source);
    const inventory = buildInventory(snapshot, { config: DEFAULT_CONFIG, signatures, now: Date.UTC(2026, 9, 14) });
    for (const { id } of inventory.workloads)
      if (!/^[^/]+\/[A-Za-z0-9-]+\/[^/]+$/.test(id)) throw new Error(`a workload called ${id}`);
    for (const object of snapshot.objects) maskManifest(object);
    return JSON.stringify([inventory.workloads, inventory.services, inventory.declared, inventory.findings]);
  };

  it('there are objects of many kinds to change', () => {
    expect(byKind.size).toBeGreaterThan(15);
  });

  it('with any field changed still make an inventory, twice the same, from a cluster and from a directory', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(base.length - 1), changes, fc.boolean(), async (at, by, live) => {
        // Past the metadata that the API server insists on, everything is somebody's.
        const source = live ? 'cluster' : 'directory';
        const objects = base.map((object, index) => {
          if (index !== at) return object;
          const changed = by.reduce<unknown>(mutateJson, object);
          const text = JSON.stringify(changed);
          const [first] = parseManifestText(text).chunks.flatMap(({ parsed }) => parsed.objects);
          return first?.object ?? object;
        });
        const once = await outcomeOf(() => inventoryOf(objects, source));
        expect(once.kind).toBe('result');
        expect(await outcomeOf(() => inventoryOf(structuredClone(objects), source))).toEqual(once);
      }),
      { numRuns: runs(20) },
    );
  });

  it('whose names no API server would take are not read as objects', () => {
    const notes = parseManifestText(
      ['$(:>PWNED)', '../../x', 'a;b', 'a b', '"', 'x\ny', '\u202ex', '', '..']
        .map((name) => JSON.stringify({ apiVersion: 'v1', kind: 'Service', metadata: { name, namespace: 'shop' } }))
        .join('\n---\n'),
    ).chunks.flatMap(({ parsed }) => [...parsed.objects, ...parsed.notes.map((note) => note.kind)]);
    expect(new Set(notes)).toEqual(new Set(['not-an-object']));
    const odd = (metadata: object, kind = 'Service', apiVersion = 'v1') =>
      parseManifestText(JSON.stringify({ apiVersion, kind, metadata })).chunks[0]?.parsed.objects.length;
    expect(odd({ name: 'web', namespace: '../..' })).toBe(0);
    expect(odd({ name: 'web', namespace: 'shop' }, '$(:>PWNED)')).toBe(0);
    expect(odd({ name: 'web', namespace: 'shop' }, 'Service', 'v1; :>PWNED')).toBe(0);
    expect(odd({ name: 'system:controller:x' }, 'ClusterRole', 'rbac.authorization.k8s.io/v1')).toBe(1);
  });

  it('schedules that nobody can mean are unreadable, not endless', () => {
    for (const cron of [
      ...HOSTILE_TEXTS,
      '@every 1e400h',
      `@every ${'9'.repeat(400)}h`,
      '@every 0.0000000001s',
      '0 0 31 2 *',
      '0 0 30 2 *',
      '* * * * * *',
      '*/0 * * * *',
      `${'1,'.repeat(20_000)}1 * * * *`,
      '0-59/1-59/1 * * * *',
      '99999999999999999999 * * * *',
      'TZ=../../etc/passwd 0 0 * * *',
      `CRON_TZ=${'a'.repeat(10_000)} 0 0 * * *`,
    ])
      for (const at of [0, Date.UTC(2026, 9, 5), 8.64e15]) {
        const due = dueTimes({ cron }, at);
        if (due !== undefined)
          expect(
            Object.values(due).every((time) => !Number.isNaN(time)),
            cron,
          ).toBe(true);
      }
  });
});

describe('files of an operator', () => {
  const config = readFileSync(join(EXAMPLE, 'config.yaml'));
  const decisions = readFileSync(join(EXAMPLE, 'decisions.yaml'));
  const latency = Buffer.from(
    '- {control: mtls, unit: ms, p50: 0.4, p99: 1.2, n: 1000, source: lab, measuredAt: "2026-10-01T00:00:00Z"}\n',
  );
  it.each<[string, Buffer, (path: string) => Promise<unknown>]>([
    ['configuration', config, readConfig],
    ['decisions', decisions, readDecisions],
    ['latency', latency, readLatency],
  ])('damaged are a result or a Failure with file and field: %s', async (name, bytes, read) => {
    await fc.assert(
      fc.asyncProperty(damages, async (by) => {
        const path = file(name, by.reduce(mutate, bytes));
        expect(await outcomeOf(() => read(path))).toEqual(await outcomeOf(() => read(path)));
      }),
      { numRuns: runs(30) },
    );
    for (const text of [
      ...HOSTILE_TEXTS,
      bomb(9, 10),
      deepJson(100_000),
      '{"__proto__": {"gates": {"review": "off"}}}',
    ])
      await outcomeOf(() => read(file(name, text)));
    const changed = await outcomeOf(() => readConfig(file('proto', '{"__proto__": {"gates": {"review": "off"}}}')));
    expect(changed.kind).toBe('failure');
  });

  const KUBECONFIG = Buffer.from(`apiVersion: v1
kind: Config
current-context: prod
clusters: [{name: one, cluster: {server: "https://one.example:6443", certificate-authority-data: Y2E=, proxy-url: "http://p:1"}}]
users: [{name: jane, user: {token: t0ken, as: deputy, as-groups: [g1], exec: {command: login, apiVersion: client.authentication.k8s.io/v1}}}]
contexts: [{name: prod, context: {cluster: one, user: jane, namespace: shop}}]
`);
  it('a damaged kubeconfig is a context or a Failure, and nothing of it runs', async () => {
    await fc.assert(
      fc.asyncProperty(damages, async (by) => {
        const kubeconfig = file('kubeconfig', by.reduce(mutate, KUBECONFIG));
        const read = async () => JSON.stringify(await readKubeAccess({ kubeconfig, context: 'prod' }));
        expect(await outcomeOf(read)).toEqual(await outcomeOf(read));
        await outcomeOf(() => readContexts({ kubeconfig }));
      }),
      { numRuns: runs(120) },
    );
    for (const text of [...HOSTILE_TEXTS, bomb(9, 10), deepJson(100_000)])
      await outcomeOf(() => readKubeAccess({ kubeconfig: file('kubeconfig', text) }));
  });

  it('signatures with any value in them are taken or refused with their place', async () => {
    const files = readdirSync(join(ROOT, 'templates/signatures')).map(
      (name) => JSON.parse(readFileSync(join(ROOT, 'templates/signatures', name), 'utf8')) as unknown,
    );
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...files), changes, async (value, by) => {
        await outcomeOf(() => parseSignatures(by.reduce(mutateJson, value)));
      }),
      { numRuns: runs(60) },
    );
  });
});

describe('queries', () => {
  const edges = twoTeamsEdges();
  const words = fc.oneof(
    fc.constantFrom(...HOSTILE_TEXTS),
    fc.constantFrom(
      'ns',
      'src',
      'dst',
      'port',
      'verdict',
      'before',
      'gate',
      'subject',
      'id',
      '*',
      '7d',
      '8080/TCP',
      '9e9d',
    ),
    fc.string({ unit: 'binary' }),
  );
  it('of any text select edges that are there, or are refused', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(words, words), { minLength: 1, maxLength: 5 }), async (parts) => {
        const text = parts.map(([key, value]) => `${key}=${value}`).join(',');
        await outcomeOf(() => {
          const found = matchEdges(parseQuery(text), edges, Date.UTC(2026, 9, 5));
          expect(found.every((edge) => edges.includes(edge))).toBe(true);
        });
      }),
      { numRuns: runs(400) },
    );
  });

  it('with stars agree with a plain reading of them', () => {
    const alphabet = fc.string({ unit: fc.constantFrom('a', 'b', '*', '\n', '.', '$'), maxLength: 12 });
    fc.assert(
      fc.property(alphabet, alphabet, (pattern, text) => {
        const naive = new RegExp(
          `^${pattern
            .split('*')
            .map((part) => part.replace(/[.$\n]/g, '\\$&'))
            .join('[^]*')}$`,
        );
        expect(matchText(pattern, text)).toBe(naive.test(text));
      }),
      { numRuns: runs(500) },
    );
  });
});

describe('answers of an API server', () => {
  it('of any shape are read for what they are', async () => {
    await fc.assert(
      fc.asyncProperty(anything, changes, async (value, by) => {
        const list = {
          kind: 'List',
          metadata: { continue: 'x', resourceVersion: '1' },
          items: [{ metadata: { name: 'a' } }],
          groups: [
            { name: 'apps', versions: [{ groupVersion: 'apps/v1' }], preferredVersion: { groupVersion: 'apps/v1' } },
          ],
          resources: [{ name: 'pods', kind: 'Pod', namespaced: true, verbs: ['list'] }],
          details: { causes: [{ reason: 'x', message: 'y', field: 'z' }], retryAfterSeconds: 3 },
          code: 409,
          message: 'm',
        };
        for (const body of [value, by.reduce<unknown>(mutateJson, list) as Json]) {
          const all = await outcomeOf(() => [
            parseStatus(body),
            parseListPage(body),
            parseResourceList(body, 'apps/v1'),
            [...parseGroupList(body)],
            typeof body === 'object' && body !== null && !Array.isArray(body)
              ? parseListItem(body as { readonly [key: string]: Json }, 'v1', 'Pod')
              : undefined,
          ]);
          expect(all.kind).toBe('result');
        }
      }),
      { numRuns: runs(300) },
    );
    for (const text of HOSTILE_TEXTS) {
      const seconds = parseRetryAfter(text, 0);
      expect(seconds === undefined || seconds >= 0, text).toBe(true);
    }
  });
});
