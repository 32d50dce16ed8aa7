import { appendFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openState } from '../../state/open.ts';
import type { State } from '../../state/open.ts';
import { followFlows } from '../../src/cli/observe-follow.ts';
import type { FollowRequest } from '../../src/cli/observe-follow.ts';
import { openApp } from '../../src/cli/context.ts';
import type { App } from '../../src/cli/context.ts';
import { observe } from '../../src/cli/commands/observe.ts';
import { openInterrupt } from '../../src/cli/interrupt.ts';
import type { Output } from '../../src/cli/output.ts';
import type { Edge } from '../../src/model/edge.ts';
import type { Evidence } from '../../src/model/evidence.ts';
import { isFailure } from '../../src/shared/pure/errors.ts';
import { asNumber, asObject } from '../../src/shared/pure/json.ts';
import type { Json } from '../../src/shared/pure/json.ts';
import type { FeedEvent } from '../../src/sources/feed.ts';
import { findSource } from '../../src/sources/registry.ts';
import type { FlowSource } from '../../src/sources/flow-source.ts';
import fc from '../support/fast-check.ts';
import { makeFolder } from '../support/folder.ts';
import { manualClock, settle } from '../support/manual-clock.ts';
import type { ManualClock } from '../support/manual-clock.ts';
import { CLUSTER, sallyport } from './shop.ts';

const START = Date.UTC(2026, 9, 20, 12);
const SECOND = 1000;

function source(name: string): FlowSource {
  const found = findSource(name);
  if (found === undefined) throw new Error(`no source ${name}`);
  return found;
}

/** One line of neutral edges: web calls db, so many seconds after the start. */
function line(second: number, count = 1, port = 5432): string {
  const at = new Date(START + second * SECOND).toISOString();
  return `${JSON.stringify({ first: at, last: at, src: { workload: 'shop/Deployment/web' }, dst: { workload: 'shop/Deployment/db' }, protocol: 'TCP', port, count, verdict: 'allowed' })}\n`;
}

interface Shop {
  readonly home: string;
  readonly state: string;
  readonly notes: string[];
  readonly documents: Readonly<Record<string, unknown>>[];
  app(): App;
  read<T>(look: (state: State) => T): Promise<T>;
  edges(): Promise<readonly Edge[]>;
  evidence(): Promise<Evidence>;
}

async function shop(): Promise<Shop> {
  const home = await makeFolder(CLUSTER);
  const state = join(home, 'state.sqlite');
  const notes: string[] = [];
  const documents: Readonly<Record<string, unknown>>[] = [];
  const output: Output = {
    json: true,
    color: false,
    width: 80,
    interactive: false,
    documented: false,
    line: () => undefined,
    document: (_, body) => documents.push(body as Readonly<Record<string, unknown>>),
    names: () => undefined,
    raw: () => undefined,
    note: (text) => notes.push(text),
    progress: () => undefined,
    event: () => false,
  };
  const made: Shop = {
    home,
    state,
    notes,
    documents,
    app: () => openApp({ manifests: join(home, 'cluster'), state }, output, {}, openInterrupt()),
    async read(look) {
      const target = await made.app().stateFile();
      const opened = openState(state, { target: target.target, mode: 'read' });
      try {
        return look(opened);
      } finally {
        opened.close();
      }
    },
    edges: () => made.read(({ reader }) => reader.edges()),
    evidence: () => made.read(({ reader }) => reader.evidence()),
  };
  return made;
}

/** A feed that the test drives: what it pushes comes, and the position is how many pieces were pushed. */
interface Script {
  readonly open: FollowRequest['open'];
  push(event: FeedEvent): Promise<void>;
  lines(bytes: string): Promise<void>;
  end(): Promise<void>;
  fail(error: Error): Promise<void>;
  /** When it is listened to. */
  readonly opened: Promise<void>;
  /** Where the following began. */
  readonly from: Json | undefined;
}

function script(): Script {
  const queue: (FeedEvent | 'end' | Error)[] = [];
  let wake: (() => void) | undefined;
  let pushed = 0;
  let from: Json | undefined;
  let open: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  const put = async (what: FeedEvent | 'end' | Error): Promise<void> => {
    queue.push(what);
    wake?.();
    await settle();
  };
  return {
    open: async function* (position) {
      from = position;
      open();
      pushed = asNumber(position) ?? 0;
      for (;;) {
        const next = queue.shift();
        if (next === undefined) await new Promise<void>((resolve) => (wake = resolve));
        else if (next === 'end') return;
        else if (next instanceof Error) throw next;
        else yield next;
      }
    },
    push: put,
    lines: (text) => put({ kind: 'lines', name: 'a.jsonl', bytes: Buffer.from(text), position: (pushed += 1) }),
    end: () => put('end'),
    fail: (error) => put(error),
    opened,
    get from() {
      return from;
    },
  };
}

function start(
  one: Shop,
  clock: ManualClock,
  feed: Script,
  more: Partial<FollowRequest> = {},
): { readonly app: App; readonly ended: Promise<number> } {
  const app = one.app();
  const ended = followFlows(app, {
    source: source('edges'),
    key: 'edges test',
    open: feed.open,
    badRecords: 'skip',
    clock,
    ...more,
  });
  // Looked at later; a failure in between is no unhandled one.
  ended.catch(() => undefined);
  return { app, ended };
}

const sum = (edges: readonly Edge[]): number => edges.reduce((total, edge) => total + edge.count, 0);

describe('what is followed', () => {
  it('goes on record batch by batch, each with the position up to which it was read', async () => {
    const one = await shop();
    const clock = manualClock(START);
    const feed = script();
    const { ended } = start(one, clock, feed);
    await feed.opened;
    await feed.lines(line(0) + line(1));
    await feed.lines(line(2));
    expect(await one.edges()).toEqual([]);
    await clock.pass(30 * SECOND);
    expect(sum(await one.edges())).toBe(3);
    expect(await one.read(({ reader }) => asObject(reader.follow('edges test')?.position)['feed'])).toBe(2);
    await feed.lines(line(40));
    await feed.end();
    expect(await ended).toBe(0);
    expect(sum(await one.edges())).toBe(4);
    expect(one.documents).toMatchObject([
      {
        records: 4,
        edges: { added: 1, updated: 0 },
        follow: { batches: 2, gaps: [], ended: 'the end of what was followed' },
      },
    ]);
    expect(await one.read(({ reader }) => reader.imports().map(({ records }) => records))).toEqual([3, 1]);
  });

  it('is kept at Ctrl-C and said, and goes on from there the next time', async () => {
    const one = await shop();
    const clock = manualClock(START);
    const feed = script();
    const { app, ended } = start(one, clock, feed);
    await feed.opened;
    await feed.lines(line(0) + line(1));
    app.interrupt.stop();
    expect(await ended).toBe(0);
    expect(sum(await one.edges())).toBe(2);
    expect(one.documents).toMatchObject([{ records: 2, follow: { ended: 'Ctrl-C' } }]);
    const next = script();
    const second = start(one, clock, next, { forMs: 60 * SECOND });
    await next.opened;
    expect(next.from).toBe(1);
    await next.lines(line(5));
    second.app.interrupt.stop();
    // It was to take a minute: that is not what it did.
    expect(await second.ended).toBe(130);
    expect(sum(await one.edges())).toBe(3);
  });

  it('ends after the time given, whether or not anything came', async () => {
    const one = await shop();
    const clock = manualClock(START);
    const feed = script();
    const { ended } = start(one, clock, feed, { forMs: 1800 * SECOND });
    await feed.opened;
    await clock.pass(1800 * SECOND);
    expect(await ended).toBe(0);
    expect(one.documents).toMatchObject([{ records: 0, follow: { ended: 'the time given', batches: 0 } }]);
    expect(await one.edges()).toEqual([]);
  });

  it('records a gap with its time, from the last record before to the first after, and the gate counts it', async () => {
    const one = await shop();
    const clock = manualClock(START);
    const feed = script();
    const { ended } = start(one, clock, feed);
    await feed.opened;
    await clock.pass(200 * SECOND);
    await feed.lines(line(0));
    await feed.push({ kind: 'gap', why: 'the file was cut short' });
    expect(one.notes.some((note) => note.startsWith('a gap'))).toBe(false);
    await feed.lines(line(100));
    await feed.end();
    await ended;
    expect((await one.evidence()).gaps).toEqual([
      { source: 'edges', from: START, to: START + 100 * SECOND, why: 'the file was cut short' },
    ]);
    expect(one.notes.join('\n')).toContain(
      'nothing of edges from 2026-10-20T12:00:00.000Z to 2026-10-20T12:01:40.000Z',
    );
    const said = await sallyport(
      ['plan', 'shop', '--to', 'allow-list', '--manifests', 'cluster', '--state', one.state, '--json'],
      {
        home: one.home,
      },
    );
    const gates = (JSON.parse(said.stdout) as { gates: { id: string; answer: string; facts: string[] }[] }).gates;
    const losses = gates.find((gate) => gate.id === 'losses');
    expect(losses?.answer).toBe('no');
    expect(losses?.facts.join('\n')).toContain('100.00%');
    expect(losses?.facts.join('\n')).toContain('the file was cut short');
  });

  it('waits while another process writes to the state, and loses nothing', async () => {
    const one = await shop();
    const clock = manualClock(START);
    const feed = script();
    const { ended } = start(one, clock, feed);
    await feed.opened;
    const other = await one.app().writableState();
    await feed.lines(line(0));
    await clock.pass(30 * SECOND);
    await clock.pass(SECOND);
    await feed.lines(line(31));
    await clock.pass(SECOND);
    other.close();
    for (let second = 0; second < 40; second += 1) await clock.pass(SECOND);
    expect(sum(await one.edges())).toBe(2);
    await feed.end();
    expect(await ended).toBe(0);
  });

  it('by two at once is recorded by one of them alone', async () => {
    const one = await shop();
    const clock = manualClock(START);
    const [first, second] = [script(), script()];
    const a = start(one, clock, first);
    const b = start(one, clock, second);
    await second.opened;
    await first.lines(line(0));
    await second.lines(line(0));
    await first.end();
    expect(await a.ended).toBe(0);
    await second.end();
    await expect(b.ended).rejects.toMatchObject({ detail: { code: 'SP514', exit: 5 } });
    expect(sum(await one.edges())).toBe(1);
  });

  it('is refused where it is of another format, and counted where it is a line among others', async () => {
    const one = await shop();
    const clock = manualClock(START);
    const wrong = script();
    const refused = start(one, clock, wrong);
    await wrong.opened;
    await wrong.lines('{"flow":{"time":"2026-10-05T00:00:00Z"}}\n');
    await expect(refused.ended).rejects.toMatchObject({ detail: { code: 'SP244' } });
    const feed = script();
    const { ended } = start(one, clock, feed);
    await feed.opened;
    await feed.lines(`${line(0)}nonsense\n`);
    await feed.lines('more nonsense\n');
    await feed.end();
    expect(await ended).toBe(0);
    expect(one.documents.at(-1)).toMatchObject({ records: 1, bad: 2 });
    expect((await one.evidence()).sources).toMatchObject([{ records: 1, bad: 2 }]);
  });

  it('stops at a bad line where the user says so: its batch is not on record, those before are', async () => {
    const one = await shop();
    const clock = manualClock(START);
    const feed = script();
    const { ended } = start(one, clock, feed, { badRecords: 'abort' });
    await feed.opened;
    await feed.lines(line(0));
    await clock.pass(30 * SECOND);
    await feed.lines(line(31));
    await feed.lines('nonsense\n');
    await expect(ended).rejects.toSatisfy(isFailure);
    expect(sum(await one.edges())).toBe(1);
    const again = script();
    const second = start(one, clock, again);
    await again.opened;
    expect(again.from).toBe(1);
    await again.end();
    await second.ended;
  });

  it('gives, however it is cut and wherever it crashes, the edges of one import', async () => {
    const pieces = fc.array(
      fc.array(fc.tuple(fc.nat({ max: 3 }), fc.integer({ min: 1, max: 5 })), { minLength: 1, maxLength: 4 }),
      {
        minLength: 1,
        maxLength: 6,
      },
    );
    await fc.assert(
      fc.asyncProperty(
        pieces,
        fc.array(fc.constantFrom('commit', 'crash', 'stop', 'go'), { maxLength: 6 }),
        async (cuts, fates) => {
          const one = await shop();
          const clock = manualClock(START);
          const texts = cuts.map((piece, index) =>
            piece.map(([port, count]) => line(index, count, 5432 + port)).join(''),
          );
          let done = 0;
          let turn = 0;
          while (done < texts.length) {
            const feed = script();
            const { app, ended } = start(one, clock, feed);
            await feed.opened;
            done = asNumber(feed.from) ?? 0;
            for (const text of texts.slice(done)) {
              await feed.lines(text);
              done += 1;
              const fate = fates[turn++] ?? 'go';
              if (fate === 'commit') await clock.pass(30 * SECOND);
              if (fate === 'crash') {
                await feed.fail(new Error('a bug'));
                break;
              }
              if (fate === 'stop') {
                app.interrupt.stop();
                break;
              }
            }
            await feed.end();
            await ended.catch(() => undefined);
            await app.close();
            done =
              (await one.read(({ reader }) => asNumber(asObject(reader.follow('edges test')?.position)['feed']))) ?? 0;
          }
          const whole = await shop();
          await writeFile(join(whole.home, 'all.jsonl'), texts.join(''));
          await observe(whole.app(), 'edges', [join(whole.home, 'all.jsonl')], {});
          expect(await one.edges()).toEqual(await whole.edges());
        },
      ),
      { numRuns: 15 },
    );
  });
});

describe('observe --follow, as a process', () => {
  it('follows a file through its rotation, ends at SIGINT with what it read, and goes on from there', async () => {
    const one = await shop();
    const file = join(one.home, 'flows.jsonl');
    await writeFile(file, line(0));
    const args = ['observe', 'edges', '--follow', file, '--manifests', 'cluster', '--state', one.state, '--json'];
    let rotated = false;
    const first = await sallyport(args, {
      home: one.home,
      onStderr: (all, child) => {
        if (!rotated && all.includes('following 1 file')) {
          rotated = true;
          void appendFile(file, line(1))
            .then(() => rename(file, `${file}.1`))
            .then(() => writeFile(file, line(2)));
        }
        if (all.includes('following 2 files')) child.kill('SIGINT');
      },
    });
    expect(first.code).toBe(0);
    const document = JSON.parse(first.stdout) as { records: number; follow: { ended: string; gaps: unknown[] } };
    expect(document).toMatchObject({ follow: { ended: 'Ctrl-C', gaps: [] } });
    await appendFile(file, line(3));
    const second = await sallyport([...args, '--for', '3s'], { home: one.home });
    expect(second.code).toBe(0);
    expect(JSON.parse(second.stdout)).toMatchObject({ follow: { ended: 'the time given', gaps: [] } });
    expect(sum(await one.edges())).toBe(4);
    // Both runs together took each line once; the file itself is now refused.
    const whole = await sallyport(['observe', 'edges', file, '--manifests', 'cluster', '--state', one.state], {
      home: one.home,
    });
    expect(whole.code).toBe(2);
    expect(whole.stderr).toContain('SP295');
    expect(sum(await one.edges())).toBe(4);
  });
});

describe('observe --follow refuses', () => {
  it.each([
    ['edges', ['x.jsonl'], { for: '3s' }, 'SP293'],
    ['edges', ['x.jsonl'], { follow: true, for: 'soon' }, 'SP296'],
    ['kiali', ['x.json'], { follow: true }, 'SP293'],
    ['istio', ['http://127.0.0.1:1'], { follow: true }, 'SP293'],
    ['edges', ['-', 'x.jsonl'], { follow: true }, 'SP293'],
    ['edges', ['grpc://127.0.0.1:1'], {}, 'SP293'],
    ['hubble', ['grpcs://127.0.0.1:1'], { cert: 'a.pem' }, 'SP293'],
    ['hubble', ['grpc://127.0.0.1:1'], { tokenFile: 'token' }, 'SP293'],
    ['hubble', ['grpc://maria:secret@127.0.0.1:1'], {}, 'SP293'],
    ['hubble', ['grpc://127.0.0.1:1'], { follow: true, until: '1h' }, 'SP293'],
  ])('%s %j with %j', async (name, inputs, options, code) => {
    const one = await shop();
    await expect(observe(one.app(), name, inputs, options)).rejects.toMatchObject({ detail: { code, exit: 2 } });
  });
});
