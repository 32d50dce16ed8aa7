// What the API server takes and refuses, beside what we say of the same NetworkPolicy.
import fc from '../support/fast-check.ts';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { parseNetworkPolicy } from '../../src/model/network-policy.ts';
import { matchSelector, parseSelector } from '../../src/model/selector.ts';
import type { Json, JsonObject } from '../../src/shared/pure/json.ts';
import { asObject, asString, isJsonObject } from '../../src/shared/pure/json.ts';
import { connect } from '../support/apiserver/client.ts';
import { deleteNamespace } from '../support/apiserver/controllers.ts';
import { networkPolicy } from '../support/world.ts';

const admin = connect(inject('apiServer').admin);
const NAMESPACE = 'policy-validation';
const PATH = `/apis/networking.k8s.io/v1/namespaces/${NAMESPACE}/networkpolicies`;

beforeAll(async () => {
  await admin.must('POST', '/api/v1/namespaces', { metadata: { name: NAMESPACE } });
});
afterAll(async () => {
  await deleteNamespace(admin, NAMESPACE);
  admin.close();
});

type Verdict = 'takes' | 'warns' | 'refuses';

interface Said {
  readonly verdict: Verdict;
  /** Fields that the server names as refused. */
  readonly fields: readonly string[];
}

/** As `kubectl apply` asks: unknown fields are refused. Nothing is written. */
async function serverSays(spec: Json, metadata: JsonObject = {}): Promise<Said> {
  const object = {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name: 'p', ...metadata },
    spec,
  };
  const { status, headers, body, text } = await admin.request(
    'POST',
    `${PATH}?dryRun=All&fieldValidation=Strict`,
    object,
  );
  if (status === 201) return { verdict: headers['warning'] === undefined ? 'takes' : 'warns', fields: [] };
  if (status !== 422 && status !== 400) throw new Error(`${status}: ${text}`);
  const causes = asObject(asObject(body as Json)['details'])['causes'];
  const fields = Array.isArray(causes)
    ? (causes as readonly Json[]).flatMap((one) => asString(asObject(one)['field']) ?? [])
    : [];
  return { verdict: 'refuses', fields };
}

function weSay(spec: Json, metadata: JsonObject = {}): Said {
  const { findings } = parseNetworkPolicy({
    ...networkPolicy(`${NAMESPACE}/p`, {}),
    metadata: { namespace: NAMESPACE, name: 'p', ...metadata },
    spec,
  });
  const refused = findings.filter(({ code }) => code !== 'SP342');
  const verdict = refused.length > 0 ? 'refuses' : findings.length > 0 ? 'warns' : 'takes';
  return { verdict, fields: refused.map(({ where }) => where ?? '') };
}

const ingress = (rule: JsonObject): JsonObject => ({ podSelector: {}, ingress: [rule] });
const egress = (rule: JsonObject): JsonObject => ({ podSelector: {}, policyTypes: ['Egress'], egress: [rule] });
const port = (entry: JsonObject): JsonObject => ingress({ ports: [entry] });
const block = (entry: Json): JsonObject => ingress({ from: [{ ipBlock: entry }] });
const chosen = (expression: JsonObject): JsonObject => ({ podSelector: { matchExpressions: [expression] } });
const labels = (matchLabels: JsonObject): JsonObject => ({ podSelector: { matchLabels } });
const long = (length: number): string => 'a'.repeat(length);

const CASES: readonly (readonly [string, Verdict, JsonObject])[] = [
  ['an empty spec', 'takes', {}],
  ['an empty selector', 'takes', { podSelector: {} }],
  ['null everywhere', 'takes', { podSelector: null, policyTypes: null, ingress: null, egress: null }],
  ['rules that are null', 'takes', ingress({ from: null, ports: null })],
  ['a rule that is null', 'takes', { podSelector: {}, ingress: [null] }],
  ['a port entry that is null', 'takes', { podSelector: {}, ingress: [{ ports: [null] }] }],
  ['an invalid selector operator', 'refuses', chosen({ key: 'a', operator: 'in', values: ['b'] })],
  ['no selector operator', 'refuses', chosen({ key: 'a', values: ['b'] })],
  ['an operator of node selectors', 'refuses', chosen({ key: 'a', operator: 'Gt', values: ['1'] })],
  ['In with empty values', 'refuses', chosen({ key: 'a', operator: 'In', values: [] })],
  ['NotIn without values', 'refuses', chosen({ key: 'a', operator: 'NotIn' })],
  ['Exists with values', 'refuses', chosen({ key: 'a', operator: 'Exists', values: ['b'] })],
  ['DoesNotExist with values', 'refuses', chosen({ key: 'a', operator: 'DoesNotExist', values: ['b'] })],
  ['Exists with an empty list', 'takes', chosen({ key: 'a', operator: 'Exists', values: [] })],
  ['In with an empty value', 'takes', chosen({ key: 'a', operator: 'In', values: [''] })],
  ['In with a value that is none', 'refuses', chosen({ key: 'a', operator: 'In', values: ['b c'] })],
  ['In with a value that is too long', 'refuses', chosen({ key: 'a', operator: 'In', values: [long(64)] })],
  ['In with a number', 'refuses', chosen({ key: 'a', operator: 'In', values: [1] })],
  ['In with null', 'takes', chosen({ key: 'a', operator: 'In', values: [null] })],
  ['an expression without a key', 'refuses', chosen({ operator: 'Exists' })],
  ['an expression that is null', 'refuses', { podSelector: { matchExpressions: [null] } }],
  ['a key with a prefix', 'takes', chosen({ key: 'example.com/a', operator: 'Exists' })],
  ['a key with an empty prefix', 'refuses', chosen({ key: '/a', operator: 'Exists' })],
  ['a key with two prefixes', 'refuses', chosen({ key: 'b/c/a', operator: 'Exists' })],
  ['a key with a prefix in capitals', 'refuses', chosen({ key: 'Example.com/a', operator: 'Exists' })],
  ['a key of 63 characters', 'takes', labels({ [long(63)]: 'b' })],
  ['a key of 64 characters', 'refuses', labels({ [long(64)]: 'b' })],
  ['a prefix of 253 characters', 'takes', labels({ [`${long(63)}.${long(63)}.${long(63)}.${long(61)}/a`]: 'b' })],
  ['a prefix of 254 characters', 'refuses', labels({ [`${long(63)}.${long(63)}.${long(63)}.${long(62)}/a`]: 'b' })],
  ['a label in a prefix of 64 characters', 'takes', labels({ [`${long(64)}/a`]: 'b' })],
  ['a value of 63 characters', 'takes', labels({ a: long(63) })],
  ['a value of 64 characters', 'refuses', labels({ a: long(64) })],
  ['a value that begins with a dash', 'refuses', labels({ a: '-b' })],
  ['a value with capitals, dots and underscores', 'takes', labels({ a: 'B.c_d-e' })],
  ['an empty value', 'takes', labels({ a: '' })],
  ['a value that is null', 'takes', labels({ a: null })],
  ['a value that is a number', 'refuses', labels({ a: 1 })],
  ['a value that is true', 'refuses', labels({ a: true })],
  ['matchLabels that are a list', 'refuses', { podSelector: { matchLabels: [] } }],
  ['a selector that is a text', 'refuses', { podSelector: 'app=web' }],
  ['a field that no selector has', 'refuses', { podSelector: { matchLabel: { a: 'b' } } }],
  ['a misspelt field of the spec', 'refuses', { podSelector: {}, ingres: [] }],
  ['a misspelt field of a rule', 'refuses', ingress({ form: [{ podSelector: {} }] })],
  ['to in an ingress rule', 'refuses', ingress({ to: [{ podSelector: {} }] })],
  ['rules of a direction that policyTypes leaves out', 'takes', { ...egress({}), policyTypes: ['Ingress'] }],
  ['a policy type that is none', 'refuses', { podSelector: {}, policyTypes: ['ingress'] }],
  ['a policy type that is empty', 'refuses', { podSelector: {}, policyTypes: [''] }],
  ['a policy type twice', 'takes', { podSelector: {}, policyTypes: ['Ingress', 'Ingress'] }],
  ['three policy types', 'refuses', { podSelector: {}, policyTypes: ['Ingress', 'Egress', 'Ingress'] }],
  ['policy types that are a text', 'refuses', { podSelector: {}, policyTypes: 'Ingress' }],
  ['an empty list of policy types', 'takes', { podSelector: {}, policyTypes: [] }],
  ['port 0', 'refuses', port({ port: 0 })],
  ['port 65535', 'takes', port({ port: 65_535 })],
  ['port 65536', 'refuses', port({ port: 65_536 })],
  ['a negative port', 'refuses', port({ port: -1 })],
  ['a port with a fraction', 'refuses', port({ port: 80.5 })],
  ['a port that is true', 'refuses', port({ port: true })],
  ['a port number as text', 'refuses', port({ port: '80' })],
  ['a port that is an empty text', 'refuses', port({ port: '' })],
  ['a port name of 15 characters', 'takes', port({ port: 'fifteen-letters' })],
  ['a port name of 16 characters', 'refuses', port({ port: 'sixteen-letters1' })],
  ['a port name in capitals', 'refuses', port({ port: 'HTTP' })],
  ['a port name with two dashes in a row', 'refuses', port({ port: 'a--b' })],
  ['a port name that begins with a dash', 'refuses', port({ port: '-a' })],
  ['a port name that ends with a dash', 'refuses', port({ port: 'a-' })],
  ['a port name without a letter', 'refuses', port({ port: '1-2' })],
  ['a port name with a dot', 'refuses', port({ port: 'a.b' })],
  ['endPort below port', 'refuses', port({ port: 10, endPort: 9 })],
  ['endPort equal to port', 'takes', port({ port: 10, endPort: 10 })],
  ['endPort without port', 'refuses', port({ endPort: 9 })],
  ['endPort with a port name', 'refuses', port({ port: 'sql', endPort: 9 })],
  ['endPort 65536', 'refuses', port({ port: 10, endPort: 65_536 })],
  ['endPort that is null', 'takes', port({ port: 10, endPort: null })],
  ['endPort as text', 'refuses', port({ port: 10, endPort: '20' })],
  ['an unknown protocol', 'refuses', port({ protocol: 'ICMP' })],
  ['a protocol in small letters', 'refuses', port({ protocol: 'tcp', port: 1 })],
  ['an empty protocol', 'refuses', port({ protocol: '', port: 1 })],
  ['a protocol that is null', 'takes', port({ protocol: null, port: 1 })],
  ['SCTP', 'takes', port({ protocol: 'SCTP' })],
  ['a field that no port has', 'refuses', port({ port: 1, endport: 2 })],
  ['a CIDR', 'takes', block({ cidr: '10.0.0.0/8' })],
  ['a CIDR with host bits', 'warns', block({ cidr: '10.0.0.1/8' })],
  ['a CIDR of an address', 'takes', block({ cidr: '10.0.0.1/32' })],
  ['a CIDR without a prefix', 'refuses', block({ cidr: '10.0.0.1' })],
  ['no CIDR', 'refuses', block({})],
  ['a block that is null', 'refuses', block(null)],
  ['an empty CIDR', 'refuses', block({ cidr: '' })],
  ['a prefix that is too long', 'refuses', block({ cidr: '10.0.0.0/33' })],
  ['a prefix with a leading zero', 'warns', block({ cidr: '10.0.0.0/08' })],
  ['an octal address', 'warns', block({ cidr: '010.0.0.0/8' })],
  ['a shortened address', 'refuses', block({ cidr: '10.0/16' })],
  ['an IPv6 CIDR', 'takes', block({ cidr: 'fd00::/8' })],
  ['an IPv6 CIDR written in full', 'warns', block({ cidr: 'fd00:0:0:0:0:0:0:0/8' })],
  ['an IPv6 CIDR in capitals', 'warns', block({ cidr: 'FD00::/8' })],
  ['an IPv6 CIDR with a zone', 'refuses', block({ cidr: 'fe80::%eth0/64' })],
  ['an IPv4 CIDR mapped into IPv6', 'warns', block({ cidr: '::ffff:10.0.0.0/104' })],
  ['an exception', 'takes', block({ cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] })],
  ['an exception outside its CIDR', 'refuses', block({ cidr: '10.0.0.0/8', except: ['11.0.0.0/16'] })],
  ['an exception of the whole CIDR', 'refuses', block({ cidr: '10.0.0.0/8', except: ['10.0.0.0/8'] })],
  ['an exception that is wider', 'refuses', block({ cidr: '10.0.0.0/8', except: ['10.0.0.0/7'] })],
  ['an exception of the other family', 'refuses', block({ cidr: '10.0.0.0/8', except: ['fd00::/16'] })],
  ['an exception with host bits', 'warns', block({ cidr: '10.0.0.0/8', except: ['10.1.0.1/16'] })],
  ['an exception that is no CIDR', 'refuses', block({ cidr: '10.0.0.0/8', except: ['10.1.0.0'] })],
  ['an exception that is null', 'refuses', block({ cidr: '10.0.0.0/8', except: [null] })],
  ['a block beside a selector', 'refuses', ingress({ from: [{ ipBlock: { cidr: '10.0.0.0/8' }, podSelector: {} }] })],
  ['a peer without anything', 'refuses', ingress({ from: [{}] })],
  ['a peer that is null', 'refuses', { podSelector: {}, ingress: [{ from: [null] }] }],
  ['a peer whose selectors are null', 'refuses', ingress({ from: [{ podSelector: null, namespaceSelector: null }] })],
  ['a peer whose selector is wrong', 'refuses', egress({ to: [{ namespaceSelector: { matchLabels: { a: '%' } } }] })],
  ['a field that no peer has', 'refuses', egress({ to: [{ podSelector: {}, serviceSelector: {} }] })],
];

describe('the API server and ours', () => {
  it.each(CASES)('judge %s alike: it %s', async (_title, verdict, spec) => {
    const [server, ours] = [await serverSays(spec), weSay(spec)];
    expect({ server: server.verdict, ours: ours.verdict }).toEqual({ server: verdict, ours: verdict });
    // What does not decode has no causes; the place of everything else is the same, or one names the other's parent.
    const isNear = (a: string, b: string): boolean => a.startsWith(b) || b.startsWith(a);
    expect(server.fields.filter((one) => !ours.fields.some((other) => isNear(one, other)))).toEqual([]);
  });

  it.each([
    ['a name with a space', { name: 'a b' }, 'refuses'],
    ['a name in capitals', { name: 'P' }, 'refuses'],
    ['a name with dots', { name: 'a.b' }, 'takes'],
    ['a name of 253 characters', { name: long(253) }, 'takes'],
    ['a name of 254 characters', { name: long(254) }, 'refuses'],
    ['a name that begins with a dash', { name: '-a' }, 'refuses'],
    ['a label that is none', { labels: { 'a b': 'c' } }, 'refuses'],
    ['a label value that is none', { labels: { a: 'c d' } }, 'refuses'],
    ['a label value that is a number', { labels: { a: 1 } }, 'refuses'],
    ['an annotation that is a number', { annotations: { a: 1 } }, 'refuses'],
    ['an annotation of any text', { annotations: { a: 'c d' } }, 'takes'],
  ] as const)('judge %s alike', async (_title, metadata, verdict) => {
    const [server, ours] = [await serverSays({}, metadata), weSay({}, metadata)];
    expect({ server: server.verdict, ours: ours.verdict }).toEqual({ server: verdict, ours: verdict });
  });

  it('refuse an object of a namespace that is not there, and a second one of a name', async () => {
    const object = networkPolicy(`${NAMESPACE}/twice`, { podSelector: {} });
    const elsewhere = PATH.replace(NAMESPACE, 'policy-nowhere');
    const missing = await admin.request('POST', elsewhere, networkPolicy('policy-nowhere/p', {}));
    expect([missing.status, (missing.body as { message: string }).message]).toEqual([
      404,
      'namespaces "policy-nowhere" not found',
    ]);
    expect((await admin.request('POST', PATH, object)).status).toBe(201);
    expect((await admin.request('POST', PATH, object)).status).toBe(409);
  });
});

const numRuns = Number(process.env['FC_RUNS'] ?? 1500);
// One seed, so that a run repeats; with FC_RUNS every run looks elsewhere.
const seeded = process.env['FC_RUNS'] === undefined ? { seed: 20_261_123 } : {};

/* Valid policies of which one value is replaced by another: whatever comes of it, both must say the same. */

const VALID: JsonObject = {
  podSelector: { matchLabels: { app: 'db' }, matchExpressions: [{ key: 'tier', operator: 'In', values: ['a', 'b'] }] },
  policyTypes: ['Ingress', 'Egress'],
  ingress: [
    {
      from: [
        { podSelector: { matchLabels: { app: 'web' } }, namespaceSelector: { matchLabels: { team: 'x' } } },
        { ipBlock: { cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] } },
      ],
      ports: [{ protocol: 'TCP', port: 80, endPort: 90 }, { port: 'http' }],
    },
  ],
  egress: [{ to: [{ namespaceSelector: {} }], ports: [{ protocol: 'UDP', port: 53 }] }],
};
const VALUES: readonly Json[] = [
  ...[
    null,
    '',
    'a',
    'A',
    '-',
    'a b',
    '80',
    'TCP',
    'Exists',
    'NotIn',
    'Ingress',
    '10.0.0.0/8',
    '10.0.0.0/9',
    'fd00::/8',
  ],
  ...['10.0.0.1/24', '10.1.2.3/24', 'FD00::/8', 'a.b/c', 'a--b', 'UDP', 'Egress'],
  ...[0, 1, 53, 85, 70_000, -1, 1.5, true, [], {}, [''], ['a'], [null], { a: 'b' }, { matchLabels: {} }],
  ...[{ key: 'a', operator: 'Exists' }, { cidr: '10.0.0.0/24' }, { port: 1 }, [{ port: 1 }], [{}]],
];

type Path = readonly (string | number)[];

function pathsOf(value: Json, at: Path = []): readonly Path[] {
  const own = Array.isArray(value)
    ? (value as readonly Json[]).flatMap((item, index) => pathsOf(item, [...at, index]))
    : isJsonObject(value)
      ? Object.entries(value).flatMap(([key, item]) => pathsOf(item ?? null, [...at, key]))
      : [];
  return at.length === 0 ? own : [at, ...own];
}

function valueAt(value: Json, path: Path): Json {
  return path.reduce<Json>((at, key) => (at as Readonly<Record<string | number, Json>>)[key] ?? null, value);
}

function replaced(value: Json, [key, ...rest]: Path, by: Json): Json {
  if (key === undefined) return by;
  if (Array.isArray(value)) {
    return (value as readonly Json[]).map((item, index) => (index === key ? replaced(item, rest, by) : item));
  }
  const object = asObject(value);
  return { ...object, [key]: replaced(object[key] ?? null, rest, by) };
}

describe('generated policies', () => {
  it('are taken and refused alike', async () => {
    const seen = { takes: 0, warns: 0, refuses: 0 };
    // Values of the same type half of the time, so that enough is taken.
    const change = fc.constantFrom(...pathsOf(VALID)).chain((path) => {
      const alike = VALUES.filter((value) => typeof value === typeof valueAt(VALID, path));
      return fc.tuple(fc.constant(path), fc.oneof(fc.constantFrom(...VALUES), fc.constantFrom(...alike)));
    });
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 2 }), async (changes) => {
        const spec = changes.reduce<Json>((value, [path, by]) => replaced(value, path, by), VALID);
        const [server, ours] = [await serverSays(spec), weSay(spec)];
        seen[server.verdict] += 1;
        expect(ours.verdict).toBe(server.verdict);
      }),
      { numRuns, ...seeded },
    );
    process.stderr.write(`policies beside the API server: ${JSON.stringify(seen)}\n`);
    expect(Math.min(seen.takes + seen.warns, seen.refuses)).toBeGreaterThan(100);
  });
});

describe('label selectors', () => {
  const LABELS: readonly Readonly<Record<string, string>>[] = [{}, { a: '' }, { a: 'x' }, { a: 'y', b: 'x' }];
  const path = `/api/v1/namespaces/${NAMESPACE}/configmaps`;

  it('pick what the API server picks: NotIn takes an absent label, an empty value does not', async () => {
    for (const [index, own] of LABELS.entries())
      await admin.must('POST', path, { metadata: { name: `c${index}`, labels: { of: 'selectors', ...own } } });
    for (const [text, expression] of [
      ['a', { key: 'a', operator: 'Exists' }],
      ['!a', { key: 'a', operator: 'DoesNotExist' }],
      ['a in (x)', { key: 'a', operator: 'In', values: ['x'] }],
      ['a in ()', { key: 'a', operator: 'In', values: [''] }],
      ['a=', { key: 'a', operator: 'In', values: [''] }],
      ['a notin (x)', { key: 'a', operator: 'NotIn', values: ['x'] }],
      ['a notin (x,y)', { key: 'a', operator: 'NotIn', values: ['x', 'y'] }],
      ['b notin (x)', { key: 'b', operator: 'NotIn', values: ['x'] }],
    ] as const) {
      const { body } = await admin.must('GET', `${path}?labelSelector=${encodeURIComponent(`of=selectors,${text}`)}`);
      const { items } = body as { items: readonly { readonly metadata: { readonly name: string } }[] };
      const { selector } = parseSelector({ matchExpressions: [expression] }, 'selector');
      const ours = LABELS.flatMap((own, index) => (matchSelector(selector, own) ? [`c${index}`] : []));
      expect([text, ...items.map(({ metadata }) => metadata.name).sort()]).toEqual([text, ...ours]);
    }
  });
});
