// Rules that act, from a flow to an object of the cluster and back: what is written, what is only proposed, and what stops it.
import { appendFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { incident } from '../../src/cli/commands/incident.ts';
import type { App } from '../../src/cli/context.ts';
import { namespaceOf } from '../../src/model/object.ts';
import { openState } from '../../state/open.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import type { Json } from '../../src/shared/pure/json.ts';
import { actorRules } from '../../src/sources/kube/actor-rights.ts';
import { LEAD_RULES, buildSideRole } from '../../src/sources/kube/rights.ts';
import { CALICO_KINDS } from '../support/fake-api/kinds.ts';
import { isAllowed } from '../support/fake-api/rbac.ts';
import type { LoggedCall } from '../support/fake-api/server.ts';
import { idOf } from '../watch/world.ts';
import type { Place } from './watching.ts';
import { openPlace } from './watching.ts';

const RBAC = 'rbac.authorization.k8s.io/v1';

let place: Place;
let now = Date.now();
beforeEach(async () => {
  now = Date.now();
  place = await openPlace({ kinds: CALICO_KINDS, now: () => Date.now(), grants: ROLES });
});
afterEach(() => place.close());

const CONFIG = `cluster:
  cni: {name: calico, ipBlockMatches: []}
triggers:
  rules:
    - {name: scan, notice: denied, class: attack-like, does: quarantine, how: run}
  limits: {protected: ["prod-*"]}
`;

/** Somebody tries twelve ports of one workload. */
const scanOf = (source: string): string =>
  Array.from({ length: 12 }, (_, index) =>
    JSON.stringify({
      first: new Date(now).toISOString(),
      last: new Date(now).toISOString(),
      src: { workload: source },
      dst: { workload: idOf(0, 5) },
      protocol: 'TCP',
      port: 3000 + index,
      count: 1,
      verdict: 'denied',
    }),
  ).join('\n');

function started(options: object = {}, config = CONFIG) {
  const file = join(place.dir, 'flows.jsonl');
  writeFileSync(file, `${scanOf(idOf(0, 1))}\n`);
  writeFileSync(join(place.dir, 'config.yaml'), config);
  return {
    file,
    one: place.start(options, 'edges', [file], 'one', { config: join(place.dir, 'config.yaml') }),
  };
}

const held = (): readonly string[] =>
  place.server
    .objects()
    .filter(({ metadata }) => metadata.name.startsWith('sallyport-quarantine-'))
    .map(({ kind, metadata }) => `${kind} ${namespaceOf({ apiVersion: '', kind, metadata }) ?? ''}`);
const records = () => {
  const state = openState(join(place.dir, 'one.sqlite'), { target: undefined, mode: 'read' });
  try {
    return state.reader.triggered();
  } finally {
    state.close();
  }
};
const command = (app: App, ...args: Parameters<typeof incident> extends [App, ...infer Rest] ? Rest : never) =>
  incident(app, ...args);

/** What the watcher and the actor may, and nobody else. */
const ROLES: readonly KubeManifest[] = [buildSideRole('watcher').rules, actorRules()].flatMap((rules, at) => [
  {
    apiVersion: RBAC,
    kind: 'ClusterRole',
    metadata: { name: `role-${at}` },
    rules: JSON.parse(JSON.stringify(rules)) as Json,
  },
  {
    apiVersion: RBAC,
    kind: 'ClusterRoleBinding',
    metadata: { name: `binding-${at}` },
    roleRef: { kind: 'ClusterRole', name: `role-${at}` },
    subjects: [
      { kind: 'User', name: 'watch' },
      // Who asks on this server.
      { kind: 'User', name: 'tester' },
    ],
  },
]);
/** The Role of templates/watch/watch.yaml, where this watch leads. */
const LEAD: readonly KubeManifest[] = [
  {
    apiVersion: RBAC,
    kind: 'Role',
    metadata: { name: 'lead', namespace: 'ops' },
    rules: JSON.parse(JSON.stringify(LEAD_RULES)) as Json,
  },
  {
    apiVersion: RBAC,
    kind: 'RoleBinding',
    metadata: { name: 'lead', namespace: 'ops' },
    roleRef: { kind: 'Role', name: 'lead' },
    subjects: [{ kind: 'User', name: 'watch' }],
  },
];

/** The call in words, where the roles do not allow it. */
function forbidden({ method, path, query }: LoggedCall): readonly string[] {
  const parts = path.split('/').slice(1);
  const [root, first = '', ...more] = parts;
  const [group, rest] = root === 'api' ? ['', more] : [first, more.slice(1)];
  // What the API server serves, who one is and what one may, everybody may ask (ClusterRole system:basic-user).
  if (rest.length === 0 || group === 'authentication.k8s.io' || rest[0] === 'selfsubjectaccessreviews') return [];
  const isIn = rest[0] === 'namespaces' && rest.length > 2;
  const [resource = '', name] = isIn ? rest.slice(2) : rest;
  const namespace = isIn ? rest[1] : undefined;
  const read = name !== undefined ? 'get' : query['watch'] === undefined ? 'list' : 'watch';
  const verb = { GET: read, POST: 'create', PUT: 'update', PATCH: 'patch', DELETE: 'delete' }[method] ?? method;
  const resourceAttributes = { verb, group, resource, namespace, name };
  return isAllowed([...ROLES, ...LEAD], { user: 'watch', resourceAttributes })
    ? []
    : [`${verb} ${group}/${resource} ${name ?? ''}`];
}

it('a scan from inside is quarantined, on record before it is; a second one past the share is proposed, carried out by a person, and both are undone', async () => {
  const { file, one } = started({ act: true, lead: 'ops' });
  const line = await one.until(({ event }) => event === 'trigger');
  expect(line).toMatchObject({
    rule: 'scan',
    does: 'quarantine',
    subject: idOf(0, 1),
    how: 'run',
    outcome: 'done',
    why: [],
    limits: ['0 of 2 in this hour', '0 of 3 in force', '0 of 10 workloads of ns-0 in quarantine, at most 10 %'],
    notice: { kind: 'denied' },
  });
  expect(held()).toEqual(['NetworkPolicy ns-0']);
  appendFileSync(file, `${scanOf(idOf(0, 2))}\n`);
  expect(await one.until(({ event, subject }) => event === 'trigger' && subject === idOf(0, 2))).toMatchObject({
    outcome: 'proposed',
    why: [
      'the last of 2 an hour is left to other namespaces than ns-0',
      '2 of 10 workloads of ns-0 are more than 10 %',
    ],
  });
  expect(held()).toHaveLength(1);
  one.interrupt.stop();
  await one.ended;
  expect(one.lines.filter(({ kind }) => kind === 'blind')).toEqual([]);
  // The roles that are shipped for it are enough: no call is beyond them.
  expect([...new Set(place.server.calls.flatMap(forbidden))]).toEqual([]);

  const [first, second] = records().map(({ id }) => id);
  const app = place.app({ config: join(place.dir, 'config.yaml'), yes: true });
  let timeline = '';
  const heard: App = { ...app, output: { ...app.output, raw: (text) => void (timeline += text) } };
  expect(await command(heard, 'show', first, { output: 'md' })).toBe(0);
  for (const part of [
    'Rule: `scan`, by itself',
    '0 of 2 in this hour',
    'trigger begins',
    'noticed: denied',
    '12 ports',
  ])
    expect(timeline).toContain(part);
  expect(await command(app, 'run', second, { dryRun: true })).toBe(0);
  expect(held()).toHaveLength(1);
  expect(await command(app, 'run', second, { dryRun: false, reason: 'seen it' })).toBe(0);
  expect(held()).toHaveLength(2);
  await expect(command(app, 'run', second, { dryRun: false })).rejects.toMatchObject({ detail: { code: 'SP661' } });
  await expect(command(app, 'dismiss', second, { reason: 'x' })).rejects.toMatchObject({ detail: { code: 'SP661' } });
  expect(await command(app, 'confirm', first, { reason: 'it was right' })).toBe(0);
  expect(records().map(({ outcome, confirmedBy }) => [outcome, confirmedBy !== undefined])).toEqual([
    ['done', true],
    ['done', true],
  ]);
  for (const id of [first, second]) expect(await command(app, 'undo', id, { dryRun: false })).toBe(0);
  expect(held()).toEqual([]);
});

it('a quarantine by labels without the role for pods is refused before its first write, by name', async () => {
  const { one } = started({ act: true, lead: 'ops' }, CONFIG.replace('name: calico', 'name: kube-router'));
  expect(await one.until(({ event }) => event === 'trigger')).toMatchObject({
    outcome: 'refused',
    why: [expect.stringMatching(/^SP485 you may not patch pods in ns-0; nothing was written/u) as string],
  });
  expect(place.server.calls.filter(({ method, path }) => method !== 'GET' && /policies|pods/u.test(path))).toEqual([]);
  // It was said as the watch began, before anything happened that the rule is for.
  const blind = one.lines.findIndex(({ event, kind }) => event === 'notice' && kind === 'blind');
  expect(one.lines[blind]).toMatchObject({ what: 'rights', subject: 'the rule scan', state: 'raised' });
  expect(String(one.lines[blind]?.['text'])).toContain('this watch may not patch pods in ns-0');
  expect(blind).toBeLessThan(one.lines.findIndex(({ event }) => event === 'trigger'));
});

it.each([
  ['it was not told to act', {}, CONFIG, 'not told to act'],
  [
    'the configuration stops it',
    { act: true, lead: 'ops' },
    CONFIG.replace('triggers:', 'triggers:\n  stop: an audit'),
    'an audit',
  ],
  ['the namespace is protected', { act: true, lead: 'ops' }, CONFIG.replace('prod-*', 'ns-*'), 'ns-0 is protected'],
] as const)('nothing is written where %s', async (_, options, config, why) => {
  const { one } = started(options, config);
  const line = await one.until(({ event }) => event === 'trigger');
  expect(line).toMatchObject({ outcome: 'proposed', how: 'ask' });
  expect(String(line['why'])).toContain(why);
  expect(held()).toEqual([]);
});

it('the kill switch stops a watch that runs, by the state and by the cluster, without a restart', async () => {
  const { file, one } = started({ act: true, lead: 'ops' }, CONFIG.replace('protected', 'share: 0.5, protected'));
  await one.until(({ event }) => event === 'trigger');
  const app = place.app({ config: join(place.dir, 'config.yaml') });
  expect(await command(app, 'stop', undefined, { reason: 'false alarms' })).toBe(0);
  await app.close();
  appendFileSync(file, `${scanOf(idOf(0, 2))}\n`);
  const second = await one.until(({ event, subject }) => event === 'trigger' && subject === idOf(0, 2));
  expect(String(second['why'])).toContain('false alarms');
  await expect(command(app, 'start', undefined, { reason: 'over' })).rejects.toMatchObject({
    detail: { code: 'SP496' },
  });
  await app.close();
  const again = place.app({ config: join(place.dir, 'config.yaml'), yes: true });
  expect(await command(again, 'start', undefined, { reason: 'over' })).toBe(0);
  await again.close();
  place.server.put({
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name: 'kube-system', annotations: { 'sallyport.dev/stop': 'the owners say so' } },
  });
  appendFileSync(file, `${scanOf(idOf(0, 3))}\n`);
  const third = await one.until(({ event, subject }) => event === 'trigger' && subject === idOf(0, 3));
  expect(String(third['why'])).toContain('the owners say so');
  expect(held()).toHaveLength(1);
});

it('nobody switches rules off by labels on objects of his own; one that might be a quarantine is named, and a person asked', async () => {
  const strange = (
    apiVersion: string,
    kind: string,
    namespace: string,
    name: string,
    workload: string,
  ): KubeManifest => ({
    apiVersion,
    kind,
    metadata: {
      name,
      namespace,
      labels: { 'app.kubernetes.io/managed-by': 'sallyport', 'sallyport.dev/quarantine': `inc-${name}` },
      annotations: { 'sallyport.dev/workload': workload },
    },
    ...(kind === 'NetworkPolicy' ? { spec: { podSelector: { matchLabels: { none: 'such' } }, policyTypes: [] } } : {}),
  });
  const POLICY = ['networking.k8s.io/v1', 'NetworkPolicy'] as const;
  place.server.put(strange('v1', 'ServiceAccount', 'ns-0', 'sa', idOf(0, 1)));
  for (const n of [1, 2, 3, 4]) place.server.put(strange(...POLICY, 'ns-1', `q${n}`, idOf(1, n)));
  place.server.put(strange(...POLICY, 'ns-1', 'far', idOf(0, 1)));
  const { file, one } = started({ act: true, lead: 'ops' }, CONFIG.replace('protected', 'share: 0.5, protected'));
  expect(await one.until(({ event }) => event === 'trigger')).toMatchObject({ subject: idOf(0, 1), outcome: 'done' });
  for (const name of ['ServiceAccount ns-0/sa', 'NetworkPolicy ns-1/far', 'NetworkPolicy ns-1/q4'])
    await one.until(({ event, kind, object }) => event === 'notice' && kind === 'unrecorded' && object === name);
  place.server.put(strange(...POLICY, 'ns-0', 'near', idOf(0, 2)));
  appendFileSync(file, `${scanOf(idOf(0, 2))}\n`);
  const second = await one.until(({ event, subject }) => event === 'trigger' && subject === idOf(0, 2));
  expect(second).toMatchObject({ outcome: 'proposed' });
  expect(String(second['why'])).toContain('NetworkPolicy ns-0/near says');
});

it('acts only where it leads', async () => {
  await expect(started({ act: true }).one.ended).rejects.toMatchObject({ detail: { code: 'SP249' } });
});
