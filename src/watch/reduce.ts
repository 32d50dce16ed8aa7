import type { Gate } from '../model/finding.ts';
import { sessionLeft } from '../model/grant.ts';
import type { KubeManifest } from '../model/object.ts';
import { formatRef, namespaceOf, refOf } from '../model/object.ts';
import { compileWorld } from '../model/world.ts';
import { replaceNetworkPolicies } from '../model/world-change.ts';
import { expectedFields } from '../plan/drift.ts';
import { indexKnown } from '../plan/soak.ts';
import {
  byNamespace,
  judgeAllDrift,
  judgeAllProtection,
  judgeDrift,
  judgeOtherPolicies,
  judgePolicyChange,
  judgeProtection,
  keyOf,
} from './judge.ts';
import type { Notice } from './notice.ts';
import { allOf, bearingOf, findObject, networkPoliciesOf, withAllOf, withObject, withoutObject } from './objects.ts';
import type { Change, Draft, OverdueExperiment, Stranger, WatchEvent, WatchState, WatchedGrant } from './state.ts';
import { MOST_INVENTED, MOST_OF_NAMESPACE, MOST_OPEN, SOON_MS, clear, openUnder, raise, tell } from './state.ts';
import { agePassed, settleCallers, takeSightings } from './traffic.ts';

/** Policies taken in one by one before the world is built anew: what is compiled of old ones is let go with it. */
const MOST_PATCHES = 2000;

export interface Reduced {
  readonly state: WatchState;
  readonly notices: readonly Notice[];
}

/** What an event changes of what is known, and what is to be told of it. Pure; `now` in milliseconds since the epoch. */
export function reduceWatch(state: WatchState, event: WatchEvent, now: number): Reduced {
  const change: Change = { state, notices: [], now };
  take(change, event);
  return { state: change.state, notices: change.notices };
}

function take(change: Change, event: WatchEvent): void {
  switch (event.kind) {
    case 'expect':
      change.state = { ...change.state, awaited: new Set(event.kinds), ready: event.kinds.length === 0 };
      return;
    case 'listed':
      takeList(change, event.of, event.objects);
      return;
    case 'put':
    case 'gone':
      takeObject(change, event.object, event.kind === 'put');
      return;
    case 'record':
      change.state = {
        ...change.state,
        record: event.record,
        expected: expectedFields(event.record.applied),
        known: indexKnown(event.record.edges.map((edge) => ({ edge }))),
        edgeIds: new Set(event.record.edges.map(({ id }) => id)),
        keptByNamespace: byNamespace(event.record.kept),
      };
      settleCallers(change);
      if (!change.state.ready) return;
      judgeAllDrift(change);
      // The world that comes with the record is judged as a whole; one that stands is judged again where the phases are others.
      if (!change.state.stale) judgeAllProtection(change);
      return;
    case 'inventory': {
      const before = change.state.world;
      const world = compileWorld(event.inventory);
      const { unjudged } = change.state;
      change.state = { ...change.state, world, stale: false, unjudged: [], patches: 0 };
      if (before !== undefined && unjudged.length > 0) judgeOtherPolicies(change, unjudged, before, world);
      judgeAllProtection(change);
      return;
    }
    case 'sightings':
      takeSightings(change, event.sightings);
      return;
    case 'judged':
      for (const { namespace, gates } of event.namespaces) takeGates(change, namespace, gates);
      return;
    case 'probed':
      takeProbes(change, event.namespaces);
      return;
    case 'strangers':
      takeStrangers(change, event.found);
      return;
    case 'experiments':
      takeExperiments(change, event.found);
      return;
    case 'grants':
      judgeEnded(change, event.grants);
      change.state = { ...change.state, grants: event.grants };
      judgeGrants(change);
      return;
    case 'soaked':
      tell(change, {
        kind: 'soak',
        key: `soak\n${event.run}`,
        severity: event.outcome === 'held' ? 'info' : 'error',
        since: change.now,
        namespace: event.namespace,
        subject: event.run,
        text: event.text,
        run: event.run,
        outcome: event.outcome,
        phase: event.phase,
      });
      return;
    case 'away':
      raise(change, {
        kind: 'blind',
        key: `blind\n${event.what}\n${event.of}`,
        severity: 'warning',
        since: change.now,
        subject: event.of,
        text: `${event.of} ${event.what === 'rights' ? 'cannot be carried out' : 'is not seen'}: ${event.why}`,
        what: event.what,
        why: event.why,
      });
      return;
    case 'back':
      clear(change, `blind\n${event.what}\n${event.of}`, event.what === 'rights' ? 'it may now' : 'seen again');
      return;
    case 'tick':
      agePassed(change);
      judgeGrants(change);
      return;
  }
}

/** All of a kind: for the first time, or again after a time of which nothing is known. */
function takeList(change: Change, of: string, objects: readonly KubeManifest[]): void {
  const { state } = change;
  const awaited = new Set(state.awaited);
  awaited.delete(of);
  if (!state.ready) {
    const ready = awaited.size === 0;
    change.state = { ...state, awaited, ready, objects: withAllOf(state.objects, of, objects), stale: true };
    if (ready) {
      judgeAllDrift(change);
      judgeAllProtection(change);
    }
    return;
  }
  const there = new Set(objects.map(keyOf));
  for (const one of [...allOf(state.objects, of)]) if (!there.has(keyOf(one))) takeObject(change, one, false);
  for (const one of objects) {
    const known = findObject(change.state.objects, one);
    if (known?.metadata['resourceVersion'] !== one.metadata['resourceVersion'] || known === undefined)
      takeObject(change, one, true);
  }
}

function takeObject(change: Change, object: KubeManifest, isThere: boolean): void {
  const { state } = change;
  const before = findObject(state.objects, object);
  if (!isThere && before === undefined) return;
  const after = isThere ? object : undefined;
  const namespace = namespaceOf(object) ?? '';
  const bearing = bearingOf(before, after, state.objects.get(namespace)?.values() ?? []);
  const objects = isThere ? withObject(state.objects, object) : withoutObject(state.objects, object);
  change.state = { ...state, objects };
  if (!state.ready) return;
  judgeDrift(change, keyOf(object), after);
  switch (bearing) {
    case 'nothing':
      return;
    case 'network-policy':
      takePolicy(change, namespace, object);
      judgeProtection(change, namespace);
      return;
    case 'policy':
      change.state = {
        ...change.state,
        stale: true,
        unjudged: [...new Set([...change.state.unjudged, formatRef(refOf(object))])],
      };
      if (namespace !== '') judgeProtection(change, namespace);
      return;
    case 'cluster':
      change.state = { ...change.state, stale: true };
      judgeProtection(change, object.kind === 'Namespace' ? object.metadata.name : namespace);
  }
}

function takePolicy(change: Change, namespace: string, object: KubeManifest): void {
  const { world } = change.state;
  if (world === undefined) return;
  const policies = networkPoliciesOf(change.state.objects, namespace);
  const after = replaceNetworkPolicies(world, namespace, policies);
  const patches = change.state.patches + 1;
  judgePolicyChange(change, namespace, [object], world, after);
  change.state = { ...change.state, world: after, patches, stale: change.state.stale || patches >= MOST_PATCHES };
}

/** Gates of the record, of which the subject is an edge: what is enforced is not what is configured. */
const CONTRADICTS: Readonly<Record<string, 'passes' | 'plaintext'>> = { enforcement: 'passes', plaintext: 'plaintext' };
const EDGE_ID = /^[0-9a-f]{12}$/u;

function takeGates(change: Change, namespace: string, gates: readonly Gate[]): void {
  const found = new Set<string>();
  for (const gate of gates) {
    if (gate.answer === 'yes') continue;
    const what = EDGE_ID.test(gate.subject) ? CONTRADICTS[gate.id] : undefined;
    const key = `${what === undefined ? 'gate' : 'proxy'}\n${namespace}\n${gate.id}\n${gate.subject}`;
    found.add(key);
    const about = {
      key,
      severity: gate.answer === 'no' ? ('error' as const) : ('warning' as const),
      since: change.now,
      namespace,
      subject: gate.subject,
    };
    if (what === undefined)
      raise(change, {
        ...about,
        kind: 'gate',
        text: `${gate.id} ${gate.answer === 'no' ? 'does not hold' : 'cannot be told'} for ${gate.subject}: ${gate.facts[0] ?? ''}`,
        gate: gate.id,
        answer: gate.answer,
        facts: gate.facts,
        fix: gate.fix,
      });
    else
      raise(change, {
        ...about,
        kind: 'proxy',
        text: gate.facts.slice(0, 2).join(': '),
        edge: gate.subject,
        what,
        facts: gate.facts,
      });
  }
  for (const kind of ['gate', 'proxy'])
    for (const { key } of openUnder(change.state, `${kind}\n${namespace}\n`))
      if (!found.has(key)) clear(change, key, 'holds again');
}

function takeProbes(
  change: Change,
  namespaces: readonly { readonly namespace: string; readonly gates: readonly Gate[] }[],
): void {
  const found = new Set<string>();
  for (const { namespace, gates } of namespaces)
    for (const gate of gates) {
      if (gate.answer === 'yes') continue;
      const key = `probe\n${gate.subject}`;
      found.add(key);
      raise(change, {
        kind: 'probe',
        key,
        severity: gate.answer === 'no' ? 'error' : 'warning',
        since: change.now,
        namespace,
        subject: gate.subject,
        text: `${gate.subject}: ${gate.facts[0] ?? ''}`,
        answer: gate.answer,
        facts: gate.facts,
        fix: gate.fix,
      });
    }
  // A pair that is not in the file any more is over as well.
  for (const { key } of openUnder(change.state, 'probe\n')) if (!found.has(key)) clear(change, key, 'as it must be');
}

function takeStrangers(change: Change, strangers: readonly Stranger[]): void {
  const keyOf = ({ object }: Stranger): string => `unrecorded\n${object}`;
  const found = new Set(strangers.map(keyOf));
  // First what is over: it makes room for what is new.
  for (const { key } of openUnder(change.state, 'unrecorded\n'))
    if (!found.has(key)) clear(change, key, 'gone, or on record');
  const told = new Map<string, number>();
  for (const stranger of strangers) {
    const { object, namespace, claims, counts } = stranger;
    const of = `${counts}\n${namespace ?? ''}`;
    told.set(of, (told.get(of) ?? 0) + 1);
    // What does not count leaves room for what does, and what one namespace makes for what others do. Beyond that there is a count.
    const room = counts === 'nowhere' ? MOST_INVENTED / 2 : counts === 'in its namespace' ? MOST_INVENTED : MOST_OPEN;
    const most = namespace !== undefined && (told.get(of) ?? 0) > MOST_OF_NAMESPACE ? 0 : room;
    const draft: Draft = {
      kind: 'unrecorded',
      key: keyOf(stranger),
      severity: counts === 'nowhere' ? 'info' : 'warning',
      since: change.now,
      ...(namespace === undefined ? {} : { namespace }),
      subject: object,
      text:
        counts === 'nowhere'
          ? `${object} bears the label of a ${claims}, and no playbook writes such a thing: it does not count`
          : `${object} says that a ${claims} is in force, and no record here has it: rules ask a person ${counts}`,
      object,
      claims,
      counts,
    };
    raise(change, draft, most);
  }
}

function takeExperiments(change: Change, overdue: readonly OverdueExperiment[]): void {
  const keyOf = ({ run }: OverdueExperiment): string => `experiment\n${run}`;
  const found = new Set(overdue.map(keyOf));
  for (const { key } of openUnder(change.state, 'experiment\n')) if (!found.has(key)) clear(change, key, 'it is back');
  for (const one of overdue) {
    const { run, namespace, object, until, text } = one;
    raise(change, {
      kind: 'experiment',
      key: keyOf(one),
      severity: 'error',
      since: until ?? change.now,
      namespace,
      subject: object,
      text,
      run,
      object,
      until: until ?? null,
    });
  }
}

/** Grants that were there and are not among those of now. That of a person leaves sessions, which nothing else tells of. */
function judgeEnded(change: Change, now: readonly WatchedGrant[]): void {
  const ids = new Set(now.map(({ id }) => id));
  const before = new Map(change.state.grants.map((grant) => [grant.id, grant]));
  for (const { key, subject } of openUnder(change.state, 'grant\n')) {
    if (ids.has(subject)) continue;
    const left = (before.get(subject)?.pods ?? []).map(sessionLeft);
    clear(change, key, ['taken back', ...left].join('; '));
  }
}

function judgeGrants(change: Change): void {
  const { grants } = change.state;
  for (const grant of grants) judgeGrant(change, grant);
}

function judgeGrant(change: Change, grant: WatchedGrant): void {
  const left = grant.expires - change.now;
  const key = `grant\n${grant.id}`;
  if (left > SOON_MS) {
    clear(change, key, 'prolonged');
    return;
  }
  const when = new Date(grant.expires).toISOString();
  raise(change, {
    kind: 'grant',
    key,
    severity: left <= 0 ? 'error' : 'warning',
    since: change.now,
    namespace: grant.namespace,
    subject: grant.id,
    text: left <= 0 ? `${grant.text} expired at ${when} and is still open` : `${grant.text} expires at ${when}`,
    grant: grant.id,
    what: left <= 0 ? 'expired' : 'expiring',
    expires: grant.expires,
  });
}
