import { describe, expect, it } from 'vitest';
import type { Json } from '../../src/shared/pure/json.ts';
import { makeFolder, readTree } from '../support/folder.ts';
import type { Ended } from '../support/sallyport.ts';
import { sallyport } from '../support/sallyport.ts';

const deployment = (namespace: string, name: string, port: string): string => `
apiVersion: apps/v1
kind: Deployment
metadata: {name: ${name}, namespace: ${namespace}}
spec:
  selector: {matchLabels: {app: ${name}}}
  template:
    metadata: {labels: {app: ${name}}}
    spec: {containers: [{name: main, image: registry.example/${name}:1, ports: [${port}]}]}
---`;

const policy = (name: string, spec: string): string => `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: ${name}, namespace: shop}
spec: ${spec}
---`;

const APPS = [
  'apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: lab}\n---',
  deployment('shop', 'web', '{containerPort: 8080}'),
  deployment('shop', 'db', '{name: sql, containerPort: 5432}'),
  deployment('lab', 'probe', '{containerPort: 9000}'),
].join('');
const POLICIES = [
  policy('deny', '{podSelector: {}, policyTypes: [Ingress]}'),
  policy(
    'db',
    '{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: sql}]}]}',
  ),
].join('');
/** Nothing says of which CNI this is, so that the configuration has to. */
const CONFIG = 'cluster:\n  cni: {name: calico, ipBlockMatches: []}\n';

const FILES = { 'cluster/apps.yaml': APPS, 'cluster/policies.yaml': POLICIES, 'config.yaml': CONFIG };

async function reach(files: Readonly<Record<string, string>>, ...args: readonly string[]): Promise<Ended> {
  const root = await makeFolder(files);
  const placed = args.map((arg) => arg.replace(/^@/u, `${root}/`));
  const config = files['config.yaml'] === undefined ? [] : ['--config', `${root}/config.yaml`];
  const ended = await sallyport(['reach', '--manifests', `${root}/cluster`, ...config, ...placed], {
    home: `${root}/home`,
  });
  return { ...ended, stdout: ended.stdout.replaceAll(root, '.'), stderr: ended.stderr.replaceAll(root, '.') };
}

function documentOf({ stdout }: Ended): { readonly [key: string]: Json } {
  return JSON.parse(stdout) as { readonly [key: string]: Json };
}

const WEB = 'shop/Deployment/web';
const DB = 'shop/Deployment/db';
const PROBE = 'lab/Deployment/probe';

describe('reach', () => {
  it.each([
    ['text', []],
    ['csv', ['-o', 'csv']],
    ['dot', ['-o', 'dot']],
    ['mermaid', ['--output', 'mermaid']],
    ['json', ['--json']],
  ] as const)('prints as %s who can connect to whom', async (format, args) => {
    const ended = await reach(FILES, ...args);
    expect(ended.code).toBe(0);
    expect(ended.stdout).toMatchSnapshot();
    if (format === 'text') expect(Math.max(...ended.stdout.split('\n').map((line) => line.length))).toBeLessThan(81);
  });

  it('is one document with -o json as with --json, and with the kinds that were evaluated', async () => {
    const [flag, output] = [await reach(FILES, '--json'), await reach(FILES, '-o', 'json')];
    expect(output.stdout).toBe(flag.stdout);
    const { apiVersion, kind, scope, connections } = documentOf(flag);
    expect({ apiVersion, kind, scope }).toEqual({
      apiVersion: 'sallyport.dev/v1',
      kind: 'Reach',
      scope: [
        'NetworkPolicy',
        'AdminNetworkPolicy',
        'BaselineAdminNetworkPolicy',
        'ClusterNetworkPolicy',
        'GlobalNetworkPolicy',
      ],
    });
    expect((connections as readonly { src: string; dst: string }[]).map(({ src, dst }) => `${src} ${dst}`)).toEqual(
      [`${DB} ${PROBE}`, `${WEB} ${PROBE}`, `${WEB} ${DB}`].sort(),
    );
  });

  it('leaves no state behind', async () => {
    const root = await makeFolder(FILES);
    await sallyport(['reach', '--manifests', `${root}/cluster`], { home: `${root}/home` });
    expect(Object.keys(await readTree(root)).filter((name) => name.includes('sqlite'))).toEqual([]);
  });

  it.each([
    ['a denied connection: why, where, and the rule that would allow it', [PROBE, DB, '5432']],
    ['an allowed one: the rule that admits it, and that without it it is denied', [WEB, DB, '5432']],
    ['one that no policy isolates', [WEB, PROBE, '9000']],
  ] as const)('explains %s', async (_title, [from, to, port]) => {
    const ended = await reach(FILES, '--from', from, '--to', to, '--port', port, '--explain');
    expect(ended.code).toBe(0);
    expect(ended.stdout).toMatchSnapshot();
  });

  it('proposes a rule that, applied, allows the connection', async () => {
    const ask = ['--from', PROBE, '--to', DB, '--port', '5432', '--explain', '--json'];
    const { query } = documentOf(await reach(FILES, ...ask)) as {
      query: { answer: string; flip: { changes: { object: string; field: string; rule: Json }[] } };
    };
    expect(query.answer).toBe('denied');
    const [change] = query.flip.changes;
    expect(change).toMatchObject({ object: 'NetworkPolicy shop/db', field: 'spec.ingress' });
    const spec = `{podSelector: {matchLabels: {app: db}}, ingress: [${JSON.stringify(change?.rule)}]}`;
    const after = await reach({ ...FILES, 'more/p.yaml': policy('more', spec) }, ...ask, '--policies', '@more');
    expect(documentOf(after)['query']).toMatchObject({ answer: 'allowed' });
  });

  it('adds the policies of --policies to those of the cluster, one of the same name in place of the old', async () => {
    const files = { ...FILES, 'more/p.yaml': policy('db', '{podSelector: {matchLabels: {app: db}}, ingress: [{}]}') };
    const ended = await reach(files, '--policies', '@more', '--to', DB, '-o', 'csv');
    expect(ended.stdout.split('\r\n').filter((line) => line.startsWith(PROBE))).toEqual(
      ['TCP', 'UDP', 'SCTP'].map((protocol) => `${PROBE},${DB},allowed,${protocol},1,65535,`),
    );
  });

  it.each(['text', 'json', 'csv', 'dot', 'mermaid'])(
    'shows with --diff, as %s, what opens and what closes',
    async (format) => {
      const spec =
        '{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{namespaceSelector: {}}], ports: [{port: 5433}]}]}';
      const ended = await reach(
        { ...FILES, 'new/p.yaml': policy('db', spec) },
        '--diff',
        '@new',
        '--to',
        DB,
        '-o',
        format,
      );
      expect(ended.code).toBe(0);
      expect(ended.stdout).toMatchSnapshot();
    },
  );

  it('says that nothing changes under the same policies', async () => {
    const ended = await reach({ ...FILES, 'new/p.yaml': POLICIES }, '--diff', '@new');
    expect(ended.stdout).toContain('Nothing changes.');
    expect(
      documentOf(await reach({ ...FILES, 'new/p.yaml': POLICIES }, '--diff', '@new', '--json'))['changes'],
    ).toEqual([]);
  });

  it('gives the reason of what cannot be told', async () => {
    const broken = policy('odd', '{podSelector: {matchLabels: {app: web}}, ingres: []}');
    const ended = await reach({ ...FILES, 'cluster/odd.yaml': broken }, '--to', WEB, '--from', PROBE, '--json');
    expect(ended.stderr).toContain('SP341 NetworkPolicy shop/odd');
    const { connections } = documentOf(ended) as { connections: { allowed: Json; unknown: { reason: string }[] }[] };
    expect(connections).toHaveLength(1);
    expect(connections[0]?.allowed).toEqual([]);
    expect(connections[0]?.unknown[0]?.reason).toBe(
      'ingress: whether NetworkPolicy shop/odd (not valid) admits it is not known',
    );
  });

  it('says what is wrong with the input, with its place, and what could not be read', async () => {
    const odd = policy('odd', '{podSelector: {}, ingress: [{ports: [{port: 9, endPort: 8}]}]}');
    const files = { ...FILES, 'cluster/odd.yaml': odd, 'cluster/torn.yaml': 'kind: {{ .Values.kind }}\n' };
    const ended = await reach(
      { ...files, 'more/p.yaml': policy('db', '{podSelecto: {}}') },
      '--json',
      '--policies',
      '@more',
    );
    expect(ended.stderr).toContain('SP302 torn.yaml: ');
    expect(ended.stderr).toMatch(/SP340 NetworkPolicy shop\/odd: spec\.ingress.*refuses this policy \(odd\.yaml:2\)/u);
    expect(ended.stderr).toMatch(/SP341 NetworkPolicy shop\/db: spec\.podSelecto .*\(\.\/more\/p\.yaml:2\)/u);
    expect(documentOf(ended)['notRead']).toEqual(['torn.yaml']);
    expect((await reach(files)).stdout).toContain('Not read: torn.yaml. A policy there may decide otherwise.');
  });

  it('answers for an empty cluster', async () => {
    const empty = { 'cluster/README': 'nothing here' };
    const text = await reach(empty);
    expect(text.code).toBe(0);
    expect(text.stdout).toMatch(/^0 sources, 0 destinations: 0 of 0 pairs may connect\./u);
    expect(documentOf(await reach(empty, '--json'))['connections']).toEqual([]);
  });

  it('takes no object whose name holds markup, formulas or control characters', async () => {
    const evil = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: '=a"]|<b>\\x', namespace: "e\\u001b[31mvil"}
spec:
  selector: {matchLabels: {app: e}}
  template: {metadata: {labels: {app: e}}, spec: {containers: [{name: m, image: i}]}}
`;
    for (const format of ['text', 'json', 'csv', 'dot', 'mermaid']) {
      const { stdout, code } = await reach({ ...FILES, 'cluster/evil.yaml': evil }, '-o', format);
      expect(code).toBe(0);
      expect(stdout).not.toContain('\u001b');
      if (format === 'mermaid') expect(stdout).not.toMatch(/\["[^"]*["\]|<>][^"]*"\]\n/u);
      expect(stdout).not.toContain(']|<b>');
      if (format === 'json') expect(() => JSON.parse(stdout) as Json).not.toThrow();
    }
  });
});

describe('reach refuses', () => {
  it.each([
    ['an unknown workload, with the nearest names', ['--from', 'shop/Deployment/wb'], 'SP252', WEB],
    ['a pattern that nothing matches', ['--to', 'nowhere/*'], 'SP252', 'inventory'],
    ['a port that is none', ['--port', '70000'], 'SP251', '1 to 65535'],
    ['a protocol that is none', ['--port', '53/icmp'], 'SP251', '53/udp'],
    ['an unknown format', ['-o', 'xml'], 'SP104', 'mermaid'],
    ['two formats', ['--json', '-o', 'csv'], 'SP250', '--output csv'],
    ['a directory of policies that is not there', ['--policies', '@none'], 'SP210', 'none'],
  ] as const)('%s', async (_title, args, code, hint) => {
    const ended = await reach(FILES, ...args);
    expect(ended.code).toBe(2);
    const said = ended.stderr.replaceAll(/\s+/gu, ' ') + ended.stdout;
    expect(said).toContain(code);
    expect(said).toContain(hint);
  });
});
