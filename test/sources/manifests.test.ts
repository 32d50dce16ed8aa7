import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { refKey, refOf } from '../../src/model/object.ts';
import { EXIT, Failure } from '../../src/shared/pure/errors.ts';
import { getPath } from '../../src/shared/pure/json.ts';
import { readManifestDirectory } from '../../src/sources/manifests/index.ts';
import { makeFolder } from '../support/folder.ts';

const service = (name: string, more = '') => `apiVersion: v1\nkind: Service\nmetadata:\n  name: ${name}\n${more}`;

async function read(
  files: Readonly<Record<string, string | Uint8Array>>,
  defaultNamespace: string | undefined = 'shop',
) {
  return readManifestDirectory(await makeFolder(files), { defaultNamespace });
}

async function keysOf(files: Readonly<Record<string, string>>): Promise<readonly string[]> {
  return (await read(files)).objects.map((object) => refKey(refOf(object)));
}

describe('what is read', () => {
  it.each<readonly [string, Readonly<Record<string, string>>, readonly string[]]>([
    [
      'documents of one file',
      { 'a.yaml': `# head\n---\n${service('b')}---\n---\n${service('a')}` },
      ['/Service/shop/a', '/Service/shop/b'],
    ],
    [
      'yml and JSON',
      { 'a.yml': service('a'), 'b.json': '{"apiVersion":"v1","kind":"Service","metadata":{"name":"b"}}' },
      ['/Service/shop/a', '/Service/shop/b'],
    ],
    [
      'nothing else',
      { 'a.txt': service('a'), 'README.md': 'x', '.hidden.yaml': service('h'), '.git/b.yaml': service('g') },
      [],
    ],
    ['folders in folders', { 'x/y/z/a.yaml': service('a') }, ['/Service/shop/a']],
    [
      'the items of a list',
      { 'a.yaml': 'apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: a}\n' },
      ['/Service/shop/a'],
    ],
    [
      'the items of a typed list',
      { 'a.yaml': 'apiVersion: apps/v1\nkind: DeploymentList\nitems:\n- metadata: {name: a}\n' },
      ['apps/Deployment/shop/a'],
    ],
    ['an empty file', { 'a.yaml': '', 'b.yaml': '# only words\n', 'c.yaml': '---\n---\n' }, []],
    [
      'a document that ends with dots',
      { 'a.yaml': `${service('a')}...\n---\n${service('b')}` },
      ['/Service/shop/a', '/Service/shop/b'],
    ],
    ['text after a byte order mark', { 'a.yaml': `\ufeff${service('a')}` }, ['/Service/shop/a']],
    [
      'line breaks of Windows',
      { 'a.yaml': `${service('a')}---\n${service('b')}`.replaceAll('\n', '\r\n') },
      ['/Service/shop/a', '/Service/shop/b'],
    ],
  ])('%s', async (_title, files, expected) => {
    expect(await keysOf(files)).toEqual(expected);
  });

  it('says where each object stands', async () => {
    const snapshot = await read({
      'x/a.yaml': `# head\n---\n${service('a')}---\n# more\napiVersion: v1\nkind: List\nitems:\n- ${service('b').trimEnd().replaceAll('\n', '\n  ')}\n- ${service('c').trimEnd().replaceAll('\n', '\n  ')}\n`,
    });
    expect(Object.fromEntries(snapshot.origins)).toEqual({
      '/Service/shop/a': { file: 'x/a.yaml', document: 1, line: 3 },
      '/Service/shop/b': { file: 'x/a.yaml', document: 2, line: 12 },
      '/Service/shop/c': { file: 'x/a.yaml', document: 2, line: 16 },
    });
  });

  it('reads values as kubectl does', async () => {
    const snapshot = await read({
      'a.yaml': `${service('a')}spec:\n  yes: on\n  octal: 0755\n  date: 2024-01-01\n  time: 12:30:45\n  commit: 59e9123456\n  letter: e959053\n  text: "no"\n  n: ~\n`,
    });
    expect(snapshot.objects[0]?.['spec']).toEqual({
      yes: true,
      octal: 493,
      date: '2024-01-01',
      time: '12:30:45',
      commit: '59e9123456',
      letter: 'e959053',
      text: 'no',
      n: null,
    });
  });

  it('fills in merge keys, nearer keys first', async () => {
    const snapshot = await read({ 'a.yaml': `x: &x {a: 1, b: 2}\n${service('a')}spec:\n  b: 3\n  <<: *x\n` });
    expect(snapshot.objects[0]?.['spec']).toEqual({ a: 1, b: 3 });
  });

  it('never holds the values of a Secret', async () => {
    const secret = {
      apiVersion: 'v1',
      kind: 'Secret',
      type: 'Opaque',
      metadata: {
        name: 's',
        annotations: { 'kubectl.kubernetes.io/last-applied-configuration': '{"data":{"p":"aHVudGVyMg=="}}', keep: 'x' },
      },
      data: { p: 'aHVudGVyMg==' },
      stringData: { q: 'hunter2' },
    };
    const snapshot = await read({
      'a.json': JSON.stringify(secret),
      'b.yaml': `${JSON.stringify({ ...secret, metadata: { name: 't' } })} # flow\n`,
    });
    expect(snapshot.objects).toHaveLength(2);
    expect(JSON.stringify([snapshot.objects, snapshot.findings])).not.toMatch(/hunter2|aHVudGVyMg/);
    expect(snapshot.objects[0]).toMatchObject({ type: 'Opaque', metadata: { annotations: { keep: 'x' } } });
  });
});

describe('namespaces', () => {
  const crd = (scope: string) =>
    `apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: t.example.com}\nspec:\n  group: example.com\n  scope: ${scope}\n  names: {kind: Thing}\n`;
  const thing = 'apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: a}\n';

  it.each<readonly [string, string, string | undefined]>([
    ['a namespaced kind', service('a'), 'shop'],
    ['a kind that nobody knows', thing, 'shop'],
    [
      'a cluster-scoped kind',
      'apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: a}\n',
      undefined,
    ],
    [
      'a cluster-scoped kind that names one',
      'apiVersion: v1\nkind: Node\nmetadata: {name: a, namespace: x}\n',
      undefined,
    ],
    ['a kind that its CRD says is cluster-scoped', `${thing}---\n${crd('Cluster')}`, undefined],
    ['a kind that its CRD says is namespaced', `${thing}---\n${crd('Namespaced')}`, 'shop'],
  ])('of %s without one', async (_title, text, expected) => {
    const { objects } = await read({ 'a.yaml': text });
    const object = objects.find(({ metadata }) => metadata.name === 'a');
    expect(getPath(object, ['metadata', 'namespace'])).toBe(expected);
  });

  it('are default, with one finding for each file, when none is given', async () => {
    const root = await makeFolder({
      'a.yaml': `${service('a')}---\n${service('b')}`,
      'b.yaml': service('c', '  namespace: x\n'),
    });
    const snapshot = await readManifestDirectory(root);
    expect(snapshot.objects.map((object) => refKey(refOf(object)))).toEqual([
      '/Service/default/a',
      '/Service/default/b',
      '/Service/x/c',
    ]);
    expect(snapshot.findings).toMatchObject([
      { code: 'SP304', subject: 'a.yaml', message: expect.stringContaining('2 objects') as string },
    ]);
  });
});

describe('what is wrong is a finding, and the rest is read', () => {
  const bomb = `a: &a [x,x,x,x,x,x,x,x,x,x]\n${'bcdefgh'
    .split('')
    .map(
      (name, at) =>
        `${name}: &${name} [${Array(10)
          .fill(`*${'abcdefg'[at] ?? ''}`)
          .join(',')}]\n`,
    )
    .join('')}`;
  const deep = `${service('deep')}spec: ${'['.repeat(400)}${']'.repeat(400)}\n`;

  it.each<
    readonly [
      string,
      string,
      { readonly code: string; readonly severity?: string; readonly where?: RegExp; readonly message?: RegExp },
    ]
  >([
    [
      'a document that is not YAML',
      `${service('ok')}---\nkind: [\n`,
      { code: 'SP302', where: /^a\.yaml:\d+:\d+, document 2$/ },
    ],
    [
      'tabs',
      `---\n${service('ok')}---\na:\n\tb: 1\n`,
      { code: 'SP302', where: /^a\.yaml:8:1, document 2$/, message: /[Tt]abs/ },
    ],
    [
      'a key given twice',
      `${service('ok')}---\na: 1\nb: 2\na: 3\n`,
      { code: 'SP302', where: /^a\.yaml:8:1,/, message: /there already/ },
    ],
    ['a template', `${service('ok')}---\nkind: {{ .Values.kind }}\n`, { code: 'SP302', message: /template/ }],
    ['aliases that grow without bound', `${service('ok')}---\n${bomb}`, { code: 'SP302', message: /aliases/ }],
    ['values nested too deeply', `${service('ok')}---\n${deep}`, { code: 'SP302', message: /deep/ }],
    ['nesting that no parser survives', `${service('ok')}---\n${'['.repeat(20_000)}\n`, { code: 'SP302' }],
    ['an alias to nothing', `${service('ok')}---\na: *b\n`, { code: 'SP302', message: /[Aa]lias/ }],
    ['a text', `${service('ok')}---\nhello\n`, { code: 'SP360', severity: 'warning', where: /document 2/ }],
    [
      'no name',
      `${service('ok')}---\napiVersion: v1\nkind: Pod\nmetadata: {}\n`,
      { code: 'SP360', severity: 'warning' },
    ],
    [
      'a name that is a number',
      `${service('ok')}---\napiVersion: v1\nkind: Pod\nmetadata: {name: 7}\n`,
      { code: 'SP360', severity: 'warning' },
    ],
    [
      'a namespace that is not text',
      `${service('ok')}---\napiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: 7}\n`,
      { code: 'SP360', severity: 'warning' },
    ],
    [
      'a generated name',
      `${service('ok')}---\napiVersion: batch/v1\nkind: Job\nmetadata: {generateName: x-}\n`,
      { code: 'SP360', severity: 'info' },
    ],
    ['values of a chart', `${service('ok')}---\nreplicas: 1\nimage: x\n`, { code: 'SP360', severity: 'info' }],
    [
      'a Kustomization',
      `${service('ok')}---\nkind: Kustomization\nresources: [a.yaml]\n`,
      { code: 'SP360', severity: 'info' },
    ],
    [
      'the same object again',
      `${service('ok')}---\n${service('ok', '  labels: {second: "1"}\n')}`,
      { code: 'SP303', where: /^a\.yaml:6, document 2$/ },
    ],
  ])('%s', async (_title, text, finding) => {
    const snapshot = await read({ 'a.yaml': text });
    expect(snapshot.objects).toEqual([
      { apiVersion: 'v1', kind: 'Service', metadata: { name: 'ok', namespace: 'shop' } },
    ]);
    expect(snapshot.findings).toHaveLength(1);
    const [found] = snapshot.findings;
    expect(found?.code).toBe(finding.code);
    if (finding.severity !== undefined) expect(found?.severity).toBe(finding.severity);
    if (finding.where !== undefined) expect(found?.where).toMatch(finding.where);
    if (finding.message !== undefined) expect(found?.message).toMatch(finding.message);
  });

  it('bytes that are not UTF-8', async () => {
    const snapshot = await read({ 'a.yaml': Buffer.from([0x6b, 0xff, 0xfe]), 'b.yaml': service('ok') });
    expect(snapshot.objects).toHaveLength(1);
    expect(snapshot.findings).toMatchObject([{ code: 'SP302', subject: 'a.yaml', message: 'it is not UTF-8 text' }]);
  });

  it('never quotes what the file holds', async () => {
    const snapshot = await read({ 'a.yaml': 'kind: Secret\nstringData:\n  password: "hunter2\n' });
    expect(snapshot.findings).toHaveLength(1);
    expect(JSON.stringify(snapshot.findings)).not.toContain('hunter2');
  });

  it('keys that would change prototypes are plain keys', async () => {
    const snapshot = await read({
      'a.yaml': service('a', '  labels:\n    __proto__: {polluted: "yes"}\n'),
      'b.json': '{"apiVersion":"v1","kind":"Service","metadata":{"name":"b","__proto__":{"namespace":"evil"}}}',
    });
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
    expect(snapshot.objects.map((object) => refKey(refOf(object)))).toEqual(['/Service/shop/a', '/Service/shop/b']);
    for (const object of snapshot.objects) expect(Object.getPrototypeOf(object.metadata)).toBe(Object.prototype);
  });

  it('a file name that would write to the terminal is made safe', async () => {
    const snapshot = await read({ 'a\u001b[2J.yaml': 'kind: [\n' });
    expect(JSON.stringify(snapshot.findings)).not.toMatch(/\\u001b/);
  });
});

describe('links', () => {
  it('that leave the directory are not followed', async () => {
    const outside = await makeFolder({ 'secret.yaml': service('outside') });
    const root = await makeFolder({ 'a.yaml': service('a') });
    await symlink(join(outside, 'secret.yaml'), join(root, 'b.yaml'));
    await symlink(outside, join(root, 'c'));
    const snapshot = await readManifestDirectory(root, { defaultNamespace: 'shop' });
    expect(snapshot.objects).toHaveLength(1);
    expect(snapshot.findings.map(({ code, subject }) => `${code} ${subject}`)).toEqual(['SP361 b.yaml', 'SP361 c']);
  });

  it('that stay inside are read once, also in a circle', async () => {
    const root = await makeFolder({ '..data/a.yaml': service('a'), 'x/b.yaml': service('b') });
    await symlink('..data/a.yaml', join(root, 'a.yaml'));
    await symlink('.', join(root, 'circle'));
    await symlink('../x', join(root, 'x', 'again'));
    const snapshot = await readManifestDirectory(root, { defaultNamespace: 'shop' });
    expect(snapshot.objects.map((object) => refKey(refOf(object)))).toEqual(['/Service/shop/a', '/Service/shop/b']);
    expect(snapshot.findings).toEqual([]);
  });
});

it.each(['nowhere', 'a.yaml'])('refuses %s, which is not a directory', async (name) => {
  const root = await makeFolder({ 'a.yaml': service('a') });
  const error: unknown = await readManifestDirectory(join(root, name)).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(Failure);
  expect((error as Failure).detail).toMatchObject({ code: 'SP210', exit: EXIT.usage });
});
