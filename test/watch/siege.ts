// The compressed day under attack, with rules that act: scans, floods of invented names, spoofed senders, and outages of whatever an answer needs. The
// record, the kill switch and the lead outlive the process that answers; the answers themselves are the program's.
import type { Responder } from '../../src/cli/watch-respond.ts';
import { openResponder } from '../../src/cli/watch-respond.ts';
import type { TriggerConfig, TriggerRecord } from '../../src/model/trigger.ts';
import { DEFAULT_LIMITS } from '../../src/model/trigger.ts';
import type { Edge } from '../../src/model/edge.ts';
import { edgeId } from '../../src/model/edge.ts';
import type { Sighting } from '../../src/plan/soak.ts';
import { EXIT, Failure } from '../../src/shared/pure/errors.ts';
import type { Notice } from '../../src/watch/notice.ts';
import type { DayReport, Siege, Stage } from './day.ts';
import { runDay } from './day.ts';
import { START, edgeOf, idOf, sightingOf } from './world.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

const CONFIG: TriggerConfig = {
  act: true,
  rules: [
    { name: 'inside', notice: 'denied', class: 'attack-like', does: 'quarantine', how: 'run' },
    { name: 'outside', notice: 'denied', class: 'attack-like', does: 'block', how: 'run' },
    { name: 'told', notice: 'drift', does: 'escalate', how: 'run' },
  ],
  limits: DEFAULT_LIMITS,
};

/** What an attack or an outage had to come to. */
export interface Answer {
  readonly name: string;
  readonly at: number;
  /** Milliseconds from its beginning to the answer; undefined: none, where one was due. */
  readonly afterMs: number | undefined;
  /** What was done or proposed, in words. */
  readonly text: string;
}

export interface SiegeReport {
  readonly day: DayReport;
  readonly answers: readonly Answer[];
  /** Carried out by itself, and nobody that attacked; or over a limit; or while stopped. */
  readonly wrong: readonly string[];
  readonly runs: number;
  readonly proposals: number;
  readonly told: number;
  readonly dropped: readonly string[];
}

interface Due {
  readonly name: string;
  readonly at: number;
  readonly is: (record: TriggerRecord) => boolean;
}

const scanner = (source: string, now: number, count = 12, namespace = 0): readonly Sighting[] =>
  Array.from({ length: count }, (_, index) =>
    sightingOf(source, idOf(namespace, 5), 4000 + index, now, { verdict: 'denied' }),
  );
const fromOutside = (ip: string, now: number, name?: string, namespace = 0): readonly Sighting[] =>
  scanner('x/Deployment/x', now, 12, namespace).map((one): Sighting => {
    const key = { ...one.key, src: { kind: 'external' as const, ip, ...(name === undefined ? {} : { name }) } };
    return { ...one, key, id: edgeId(key) };
  });

/** A day with attacks and outages on top of the ordinary one. */
export async function runSiege(namespaces: number, stepSec: number): Promise<SiegeReport> {
  const records = new Map<string, TriggerRecord & { readonly doneAt: number }>();
  const inForce = new Set<string>();
  const dropped: string[] = [];
  const wrong: string[] = [];
  const due: Due[] = [];
  const attackers = new Set<string>([idOf(0, 7)]);
  let stop: string | undefined;
  let stateAway = false;
  let apiAway = false;
  let leads = 1;

  const siege = (stage: Stage): Siege => {
    const { now, happen, later, push, open } = stage;
    const away = (what: string): Failure =>
      new Failure({ code: 'SP400', exit: EXIT.cluster, message: `${what} is away` });
    const process = (id: number): Responder =>
      openResponder({
        config: CONFIG,
        now,
        acts: true,
        own: 'sallyport',
        fired: () =>
          Promise.resolve(
            [...records.values()].map((one) => ({ ...one, inForce: inForce.has(one.id), confirmed: false })),
          ),
        killed: () => (apiAway ? Promise.reject(away('the API server')) : Promise.resolve(stop)),
        leads: () => leads === id,
        newId: () => `inc-${records.size}`,
        save: (record) => {
          if (stateAway) return Promise.reject(away('the state'));
          records.set(record.id, { ...record, doneAt: now() });
          return Promise.resolve();
        },
        carryOut: (record) => {
          if (stop !== undefined) wrong.push(`${record.subject} while stopped`);
          if (record.does !== 'escalate') {
            inForce.add(record.id);
            if (!attackers.has(record.subject)) wrong.push(`${record.does} ${record.subject}`);
            const hour = [...records.values()].filter(
              (one) => one.how === 'run' && one.does !== 'escalate' && now() - one.at < HOUR,
            ).length;
            if (hour > CONFIG.limits.perHour || inForce.size > CONFIG.limits.most) wrong.push('over a limit');
          }
          return Promise.resolve({ outcome: 'done', why: [] });
        },
        tell: () => undefined,
        note: (text) => dropped.push(text),
      });
    let one = process(1);
    const denied =
      (part: string) =>
      (notice: Notice): boolean =>
        notice.kind === 'denied' && notice.subject.includes(part);
    const answered = (name: string, at: number, is: Due['is']): void => void due.push({ name, at: START + at, is });
    const attack = (name: string, at: number, source: string, is: (record: TriggerRecord) => boolean): void => {
      attackers.add(source);
      happen(name, at, MINUTE, () => push(scanner(source, now())), denied(source));
      answered(name, at, (record) => record.subject === source && is(record));
    };
    const cleanUp = (at: number): void => later(at, () => inForce.clear());
    const done = ({ outcome, how }: TriggerRecord): boolean => outcome === 'done' && how === 'run';
    const proposed = ({ outcome }: TriggerRecord): boolean => outcome === 'proposed';

    answered(
      'a pod scans, a new target each 10 s',
      7 * HOUR,
      (record) => record.subject === idOf(0, 7) && done(record),
    );
    attack('a second workload of that namespace scans', 7.2 * HOUR, idOf(0, 8), proposed);
    attackers.add('198.51.100.9');
    happen(
      'an address outside scans',
      7.3 * HOUR,
      MINUTE,
      // Another namespace: in the one where the pod was, the last answer of the hour is left to others.
      () => push(fromOutside('198.51.100.9', now(), undefined, 1)),
      denied('198.51.100.9'),
    );
    answered('an address outside scans', 7.3 * HOUR, (record) => record.subject === '198.51.100.9' && done(record));
    happen(
      'a flood: 400 invented workloads and 200 addresses scan at once',
      7.4 * HOUR,
      MINUTE,
      () => {
        for (let n = 0; n < 400; n += 1) push(scanner(`shop-${n % 7}/Deployment/flood-${n}`, now()));
        for (let n = 0; n < 200; n += 1)
          push(fromOutside(`203.0.113.${n}`, now(), n % 2 === 0 ? `flood-${n}.example` : undefined));
      },
      denied('flood-'),
      (notice) => denied('flood-')(notice) || denied('203.0.113.')(notice) || notice.kind === 'folded',
    );
    answered(
      'a flood: 400 invented workloads and 200 addresses scan at once',
      7.4 * HOUR,
      (record) => proposed(record) && record.at >= START + 7.4 * HOUR,
    );
    cleanUp(9.2 * HOUR);

    const partner = '192.0.2.40';
    later(10.5 * HOUR, () =>
      stage.setRecord((record) => {
        const edge = edgeOf(idOf(0, 0), idOf(0, 5));
        const key = { ...edge, src: { kind: 'external' as const, ip: partner } };
        const known: Edge = { ...key, id: edgeId(key), review: 'legitimate' };
        return { ...record, edges: [...record.edges, known], kept: [...record.kept, known] };
      }),
    );
    happen(
      'somebody scans with the address of a partner',
      11 * HOUR,
      MINUTE,
      () => push(fromOutside(partner, now())),
      denied(partner),
    );
    answered(
      'somebody scans with the address of a partner',
      11 * HOUR,
      (record) => record.subject === partner && proposed(record),
    );

    later(11.5 * HOUR, () => (stateAway = true));
    attack('a scan while the state cannot be written (10 min)', 11.5 * HOUR + MINUTE, idOf(3, 1), done);
    later(11.5 * HOUR + 11 * MINUTE, () => (stateAway = false));
    cleanUp(12.9 * HOUR);

    later(13 * HOUR, () => (stop = 'the kill switch is thrown: an exercise'));
    attack('a scan while the kill switch is thrown', 13 * HOUR + MINUTE, idOf(4, 1), proposed);
    later(13.5 * HOUR, () => (stop = undefined));

    later(16 * HOUR, () => (leads = 0));
    attack('a scan while the leader is dead, until another leads (65 s)', 16 * HOUR, idOf(4, 2), done);
    later(16 * HOUR + 65_000, () => {
      leads = 2;
      // Another process: it knows the record, and what is open when it has listed everything.
      one = process(2);
      for (const notice of open()) one.notice({ ...notice, state: 'raised' });
    });

    later(17 * HOUR, () => (apiAway = true));
    attack('a scan while the API server is away (5 min)', 17 * HOUR + MINUTE, idOf(5, 1), done);
    later(17 * HOUR + 6 * MINUTE, () => (apiAway = false));
    cleanUp(23 * HOUR);
    return { notice: (notice) => one.notice(notice), turn: (state) => one.turn(state) };
  };

  const day = await runDay({ namespaces, days: 1, stepSec, siege });
  const all = [...records.values()];
  return {
    day,
    answers: due.map(({ name, at, is }): Answer => {
      const found = all.find((record) => record.at >= at && is(record));
      return {
        name,
        at,
        afterMs: found === undefined ? undefined : found.doneAt - at,
        text: found === undefined ? '' : `${found.outcome} ${found.does} ${found.subject}: ${found.why.join('; ')}`,
      };
    }),
    wrong,
    runs: all.filter(({ how, does }) => how === 'run' && does !== 'escalate').length,
    proposals: all.filter(({ how }) => how === 'ask').length,
    told: all.filter(({ how, does }) => how === 'run' && does === 'escalate').length,
    dropped,
  };
}
