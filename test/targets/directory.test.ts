import { chmod, mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Target } from '../../src/engine/contract.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { refOf } from '../../src/model/object.ts';
import type { Change } from '../../src/plan/change.ts';
import { fieldChange, invertChange } from '../../src/plan/change.ts';
import { EXIT, Failure } from '../../src/shared/pure/errors.ts';
import type { FieldPath, Json } from '../../src/shared/pure/json.ts';
import { directoryLockPath, openDirectoryTarget } from '../../src/targets/directory.ts';
import { renderLock } from '../../src/targets/locks.ts';
import { makeFolder, readTree } from '../support/folder.ts';
import { stoppedClock } from '../support/stopped-clock.ts';

const SHOP = `# Our shop.
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: shop
spec:
  replicas:   1   # as few as can be
  template:
    metadata:
      labels:
        'app': "web" # found by the Service

    spec:
      containers:
      - name: main
        image: "web:1"
---
# The end`;

const WEB = { apiVersion: 'apps/v1', kind: 'Deployment', namespace: 'shop', name: 'web' };
const INJECT: FieldPath = ['spec', 'template', 'metadata', 'labels', 'sidecar.istio.io/inject'];

const open = (dir: string, now = 0): Promise<Target> =>
  openDirectoryTarget({ dir, defaultNamespace: 'shop', clock: stoppedClock(now) });

async function editOf(target: Target, path: FieldPath, after: Json | undefined, ref = WEB): Promise<Change> {
  const live = await target.readObject(ref);
  const field = live === undefined ? undefined : fieldChange(live, path, after);
  if (field === undefined) throw new Error('nothing to change');
  return { kind: 'edit', ref, owner: 'other', fields: [field] };
}

function policy(name: string, namespace = 'shop', more: object = {}): KubeManifest {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name, namespace },
    spec: { podSelector: {} },
    ...more,
  };
}

async function failureOf(attempt: Promise<unknown>): Promise<Failure['detail']> {
  const error: unknown = await attempt.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof Failure)) throw new Error(`a Failure was expected, not ${String(error)}`);
  return error.detail;
}

describe('bytes', () => {
  it('of a whole way there and back, by one process each step, are those of the start', async () => {
    const dir = await makeFolder({ 'shop.yaml': SHOP, 'values.yaml': 'a: b\n' });
    await chmod(join(dir, 'shop.yaml'), 0o640);
    const before = await readTree(dir);
    const changes: Change[] = [];
    const run = async (make: (target: Target) => Change | Promise<Change>) => {
      const target = await open(dir);
      const hold = await target.acquire(['shop', ''], 'me@here');
      const change = await make(target);
      await target.rehearse(change);
      await target.apply(change);
      changes.push(change);
      await hold.release();
    };
    await run(() => ({ kind: 'create', object: policy('web') }));
    await run((target) => editOf(target, INJECT, 'true'));
    await run((target) => editOf(target, ['spec', 'replicas'], 2));
    await run((target) => editOf(target, ['spec', 'replicas'], 3));
    await run((target) => editOf(target, ['spec', 'template', 'metadata', 'labels', 'app'], undefined));
    await run((target) => editOf(target, ['spec', 'template', 'spec'], { containers: [] }));
    await run((target) =>
      editOf(target, ['metadata', 'labels', 'a/b'], 'c', { ...WEB, apiVersion: 'v1', kind: 'Service' }),
    );
    await run(() => ({ kind: 'create', object: { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'new' } } }));
    expect(await readFile(join(dir, 'shop.yaml'), 'utf8')).toBe(`# Our shop.
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, labels: {a/b: c}}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: shop
spec:
  replicas:   3   # as few as can be
  template:
    metadata:
      labels:
        sidecar.istio.io/inject: "true"

    spec:
      containers: []
---
# The end`);
    for (const change of changes.reverse()) {
      const target = await open(dir);
      const hold = await target.acquire(['shop', ''], 'me@here');
      await target.apply(invertChange(change));
      await hold.release();
    }
    expect(await readTree(dir)).toEqual(before);
    expect((await stat(join(dir, 'shop.yaml'))).mode & 0o777).toBe(0o640);
  });

  it('come back after a run was killed between its note of them and its write', async () => {
    const dir = await makeFolder({ 'shop.yaml': SHOP });
    const before = await readTree(dir);
    const target = await open(dir);
    const change = await editOf(target, ['spec', 'replicas'], 5);
    await target.apply(change);
    const [note] = await readdir(join(dir, 'sallyport/.original'));
    // The file as it was, the note there already: what a crash in between leaves.
    await writeFile(join(dir, 'shop.yaml'), SHOP);
    await target.apply(change);
    expect(await readdir(join(dir, 'sallyport/.original'))).toEqual([note]);
    await target.apply(invertChange(change));
    expect(await readTree(dir)).toEqual(before);
  });

  it('are tidied up by the next run where a killed one wrote nothing but its note and half a file', async () => {
    const dir = await makeFolder({ 'shop.yaml': SHOP });
    const before = await readTree(dir);
    const target = await open(dir);
    await target.apply(await editOf(target, ['spec', 'replicas'], 5));
    await writeFile(join(dir, 'shop.yaml'), SHOP);
    await writeFile(join(dir, '.shop.yaml.sallyport-tmp'), 'half');
    await (await target.acquire(['shop'], 'me@here')).release();
    expect(await readTree(dir)).toEqual(before);
  });

  it('of another namespace under way are left alone by the tidying', async () => {
    const dir = await makeFolder({ 'shop.yaml': SHOP });
    const target = await open(dir);
    await target.apply(await editOf(target, ['spec', 'replicas'], 5));
    await writeFile(join(dir, 'shop.yaml'), SHOP);
    await (await target.acquire(['bank'], 'me@here')).release();
    expect(await readdir(join(dir, 'sallyport/.original'))).toHaveLength(1);
  });

  it('that somebody wrote meanwhile elsewhere in the file stay', async () => {
    const dir = await makeFolder({ 'shop.yaml': SHOP });
    const target = await open(dir);
    const change = await editOf(target, ['spec', 'replicas'], 5);
    await target.apply(change);
    const touched = (await readFile(join(dir, 'shop.yaml'), 'utf8')).replace('web:1', 'web:2');
    await writeFile(join(dir, 'shop.yaml'), touched);
    await target.apply(invertChange(change));
    expect(await readFile(join(dir, 'shop.yaml'), 'utf8')).toBe(SHOP.replace('web:1', 'web:2'));
    expect(await readdir(dir)).toEqual(['shop.yaml']);
  });

  it('of a file behind a link inside are written there, and the link stays', async () => {
    const dir = await makeFolder({ '.real/shop.yaml': SHOP });
    await symlink('.real/shop.yaml', join(dir, 'shop.yaml'));
    const before = await readTree(dir);
    const target = await open(dir);
    const change = await editOf(target, INJECT, 'true');
    await target.apply(change);
    expect(await readFile(join(dir, '.real/shop.yaml'), 'utf8')).toContain('sidecar.istio.io/inject');
    await target.apply(invertChange(change));
    expect(await readTree(dir)).toEqual(before);
  });
});

describe('new objects', () => {
  it('stand in a folder for each namespace, which goes with the last of them', async () => {
    const dir = await makeFolder({ 'a.yaml': SHOP });
    const before = await readTree(dir);
    const target = await open(dir);
    const creates: Change[] = [
      policy('web'),
      policy('web', 'bank'),
      { ...policy('web'), apiVersion: 'crd.projectcalico.org/v1' },
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'bank' } },
    ].map((object) => ({ kind: 'create', object }));
    for (const change of creates) await target.apply(change);
    const files = Object.keys(await readTree(join(dir, 'sallyport')));
    expect(files.sort()).toEqual([
      '_cluster/',
      '_cluster/namespace-bank.yaml',
      'bank/',
      'bank/networkpolicy-web.yaml',
      'shop/',
      expect.stringMatching(/^shop\/networkpolicy-web-[0-9a-f]{8}\.yaml$/) as string,
      'shop/networkpolicy-web.yaml',
    ]);
    expect((await stat(join(dir, 'sallyport/shop/networkpolicy-web.yaml'))).mode & 0o777).toBe(0o644);
    expect(await readFile(join(dir, 'sallyport/bank/networkpolicy-web.yaml'), 'utf8')).toBe(
      'apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: web\n  namespace: bank\nspec:\n  podSelector: {}\n',
    );
    for (const change of creates) await target.apply(invertChange(change));
    expect(await readTree(dir)).toEqual(before);
  });

  it.each(['con', 'x'.repeat(253), 'a.b-c', '0'])('named %j stay in their folder and read back', async (name) => {
    const parent = await makeFolder({ 'dir/a.yaml': SHOP });
    const before = await readTree(parent);
    const target = await open(join(parent, 'dir'));
    for (const object of [policy(name), policy('x', name.slice(0, 63).replaceAll('.', '-'))]) {
      const change: Change = { kind: 'create', object };
      await target.apply(change);
      const made = Object.keys(await readTree(parent)).filter((file) => before[file] === undefined);
      expect(made.filter((file) => !file.startsWith('dir/sallyport/'))).toEqual([]);
      expect(await target.readObject(refOf(object))).toEqual(object);
      await target.apply(invertChange(change));
      expect(await readTree(parent)).toEqual(before);
    }
  });

  // They would be read as none, and names from a cluster or a file are never of this kind: see the reading.
  it.each(['../../escape', '..', '/etc/passwd', 'a/b', '.hidden', 'CON\u0000', 'x'.repeat(300), 'ünï', 'a\nb: c'])(
    'named %j, as no API server takes it, are written nowhere',
    async (name) => {
      const parent = await makeFolder({ 'dir/a.yaml': SHOP });
      const before = await readTree(parent);
      const target = await open(join(parent, 'dir'));
      for (const object of [policy(name), policy('x', name)]) {
        expect(await failureOf(target.apply({ kind: 'create', object }))).toMatchObject({ code: 'SP478' });
        expect(await readTree(parent)).toEqual(before);
      }
    },
  );

  it('are not written through a link that leads out', async () => {
    const outside = await makeFolder();
    const dir = await makeFolder({ 'a.yaml': SHOP });
    await symlink(outside, join(dir, 'sallyport'));
    const failure = await failureOf((await open(dir)).apply({ kind: 'create', object: policy('web') }));
    expect(failure).toMatchObject({ code: 'SP477', exit: EXIT.refused });
    expect(await readdir(outside)).toEqual([]);
  });

  it('never are Secrets', async () => {
    const dir = await makeFolder();
    const secret = {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 's', namespace: 'shop' },
      stringData: { p: 'hunter2' },
    };
    expect(await failureOf((await open(dir)).apply({ kind: 'create', object: secret }))).toMatchObject({
      code: 'SP473',
    });
    expect(await readdir(dir)).toEqual([]);
  });
});

describe('refusals, with nothing written', () => {
  it.each<readonly [string, string, (target: Target) => Promise<Change>, string]>([
    [
      'an edit of a file in which something does not parse',
      `${SHOP}\n---\nkind: [\n`,
      (target) => editOf(target, INJECT, 'true'),
      'SP474',
    ],
    [
      'an edit of a value that stands in an alias',
      SHOP.replace('labels:\n        \'app\': "web"', 'labels: *l').replace(
        'kind: Deployment',
        'kind: Deployment\nx: &l {app: web}',
      ),
      (target) => editOf(target, INJECT, 'true'),
      'SP473',
    ],
    [
      'the deletion of a document of somebody else',
      SHOP,
      async (target) => ({ kind: 'delete', ref: WEB, before: (await target.readObject(WEB)) ?? policy('none') }),
      'SP475',
    ],
  ])('%s', async (_title, text, make, code) => {
    const dir = await makeFolder({ 'shop.yaml': text });
    const before = await readTree(dir);
    const target = await open(dir);
    const change = await make(target);
    for (const attempt of [() => target.rehearse(change), () => target.apply(change)]) {
      const failure = await failureOf(attempt());
      expect(failure).toMatchObject({ code, exit: EXIT.refused });
      expect(failure.where).toContain('shop.yaml:');
    }
    expect(await readTree(dir)).toEqual(before);
  });

  it('an own file to which somebody added an object is not deleted', async () => {
    const dir = await makeFolder();
    const target = await open(dir);
    const create: Change = { kind: 'create', object: policy('web') };
    await target.apply(create);
    const path = join(dir, 'sallyport/shop/networkpolicy-web.yaml');
    await writeFile(path, `${await readFile(path, 'utf8')}---\n${SHOP}\n`);
    const before = await readTree(dir);
    expect(await failureOf(target.apply(invertChange(create)))).toMatchObject({ code: 'SP475' });
    expect(await readTree(dir)).toEqual(before);
  });

  it('a directory that is not there is wrong use', async () => {
    expect(await failureOf(open(join(await makeFolder(), 'nowhere')))).toMatchObject({
      code: 'SP210',
      exit: EXIT.usage,
    });
  });
});

describe('locks', () => {
  const lock = (more: object) =>
    renderLock({ holder: 'other@there', host: hostname(), pid: 1, since: Date.UTC(2024, 0, 2), token: 't', ...more });
  // Above what Linux hands out.
  const GONE = 2 ** 22 + 7;

  it.each<readonly [string, string]>([
    ['of a process that lives', lock({ pid: process.ppid })],
    ['of another host', lock({ host: 'elsewhere', pid: GONE })],
    ['of another holder in this process', lock({ pid: process.pid })],
    ['that cannot be read', 'half a lo'],
  ])('%s keep others out, and say who and since when', async (_title, text) => {
    const dir = await makeFolder();
    await mkdir(join(dir, 'sallyport/.lock'), { recursive: true });
    await writeFile(directoryLockPath(dir, 'shop'), text);
    const failure = await failureOf((await open(dir)).acquire(['shop'], 'me@here'));
    expect(failure).toMatchObject({ code: 'SP471', exit: EXIT.refused, where: directoryLockPath(dir, 'shop') });
    if (text.startsWith('{')) expect(failure.message).toMatch(/other@there since 2024-01-02T00:00:00.000Z/);
    expect(await readFile(directoryLockPath(dir, 'shop'), 'utf8')).toBe(text);
  });

  it.each<readonly [string, string]>([
    ['of a process that is gone', lock({ pid: GONE })],
    ['of the same holder in the same process', lock({ pid: process.pid, holder: 'me@here' })],
  ])('%s are taken over', async (_title, text) => {
    const dir = await makeFolder();
    await mkdir(join(dir, 'sallyport/.lock'), { recursive: true });
    await writeFile(directoryLockPath(dir, 'shop'), text);
    const hold = await (await open(dir)).acquire(['shop'], 'me@here');
    await hold.assertHeld();
    await hold.release();
    expect(await readdir(dir)).toEqual([]);
  });

  it.each<readonly [string, Readonly<Record<string, string>>]>([
    ['sallyport', { sallyport: 'a note\n' }],
    ['sallyport/.lock', { 'sallyport/.lock': 'a note\n' }],
  ])('of a directory with a plain file named %s are refused, by name, and the file stays', async (_name, files) => {
    const dir = await makeFolder({ 'shop.yaml': SHOP, ...files });
    const before = await readTree(dir);
    const target = await open(dir);
    await target.rehearse(await editOf(target, ['spec', 'replicas'], 2));
    const failure = await failureOf(target.acquire(['shop'], 'me@here'));
    expect(failure).toMatchObject({ code: 'SP477', exit: EXIT.refused, where: directoryLockPath(dir, 'shop') });
    expect(failure.message).toContain(join(dir, 'sallyport/.lock'));
    expect(failure.hint).toContain('Move it away');
    expect(await readTree(dir)).toEqual(before);
  });

  it('of a directory with a link to nowhere named sallyport are refused, and the link stays', async () => {
    const dir = await makeFolder({ 'shop.yaml': SHOP });
    await symlink('nowhere', join(dir, 'sallyport'));
    expect(await failureOf((await open(dir)).acquire(['shop'], 'me@here'))).toMatchObject({ code: 'SP477' });
    expect((await readdir(dir)).toSorted()).toEqual(['sallyport', 'shop.yaml']);
  });

  it('are given to one of many that ask at once', async () => {
    const dir = await makeFolder();
    const answers = await Promise.allSettled(
      Array.from({ length: 12 }, async (_one, at) => (await open(dir)).acquire(['', 'shop'], `run-${at}`)),
    );
    const holds = answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []));
    expect(holds).toHaveLength(1);
    await holds[0]?.assertHeld();
    await holds[0]?.release();
    expect(await readdir(dir)).toEqual([]);
  });
});

it('waits for no pods, and says that readiness is simulated', async () => {
  const target = await open(await makeFolder());
  const result = await target.awaitRollout({ id: 'shop/Deployment/web', ref: WEB }, new AbortController().signal);
  expect(result).toMatchObject({ workload: 'shop/Deployment/web', outcome: 'simulated' });
});

it('is known by its real path, whatever link leads to it', async () => {
  const parent = await makeFolder({ 'dir/a.yaml': SHOP });
  await symlink('dir', join(parent, 'link'));
  const [one, two] = [await open(join(parent, 'dir')), await open(join(parent, 'link'))];
  expect(one.id).toMatch(/^[0-9a-f]{16}$/);
  expect(two.id).toBe(one.id);
});
