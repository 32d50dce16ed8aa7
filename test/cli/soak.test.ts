// Soak as users meet it: the program as a process against an API server, with a signal that grows beside it.
import { appendFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import type { KubeManifest } from '../../src/model/object.ts';
import { formatRef, isKubeManifest, refKey, refOf } from '../../src/model/object.ts';
import type { FakeApi } from '../support/fake-api/server.ts';
import { startFakeApi } from '../support/fake-api/server.ts';
import type { Ended } from './shop.ts';
import { CLUSTER, documentOf, makeHome, sallyport } from './shop.ts';

const WEB = 'shop/Deployment/web';
const DB = 'shop/Deployment/db';
const TOOLBOX = 'desk/Deployment/toolbox';

interface Contact {
  readonly src?: string;
  readonly dst?: string;
  readonly port?: number;
  readonly verdict?: string;
  readonly at?: number;
}

function line({ src = WEB, dst = DB, port = 5432, verdict = 'allowed', at = Date.now() }: Contact): string {
  const time = new Date(at).toISOString();
  const flow = { first: time, last: time, src: { workload: src }, dst: { workload: dst } };
  return `${JSON.stringify({ ...flow, protocol: 'TCP', port, count: 1, verdict })}\n`;
}

const DAY = 86_400_000;
/** Web calls its database every day; the toolbox was accepted to be cut. */
const history = (): string =>
  [9, 8, 7, 6, 5, 4, 3, 2, 1]
    .flatMap((ago) => [line({ at: Date.now() - ago * DAY }), line({ src: TOOLBOX, at: Date.now() - ago * DAY })])
    .join('');

const CONFIG = `gates: {window: off, coverage: off, unseen-workloads: off}
soak: {minutes: 0.03, drainSeconds: 0, signals: [{source: edges, inputs: [signals/*.jsonl]}]}
cluster:
  cni: {name: cilium, ipBlockMatches: []}
  apiServer: [10.0.0.1/32]
`;

/** A shop on an API server of its own, with a signal that grows beside it: tests wait for real seconds, side by side. */
interface Shop {
  readonly api: FakeApi;
  readonly home: string;
  readonly place: readonly string[];
  /** The file of the signal. */
  readonly signal: string;
  /** Web keeps calling its database, as far as the signal tells. */
  readonly keepTalking: (contact?: () => Contact | undefined) => void;
  readonly stopTalking: () => void;
  readonly world: () => Readonly<Record<string, unknown>>;
  readonly run: (args: readonly string[], onStderr?: (all: string) => void) => Promise<Ended>;
}

function worldOf(api: FakeApi): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    api
      .objects()
      .filter(({ kind }) => kind !== 'Lease')
      .map((object) => {
        const { labels, annotations } = object.metadata;
        const written = Object.entries(object).filter(([key]) => key !== 'metadata' && key !== 'status');
        return [refKey(refOf(object)), { ...Object.fromEntries(written), labels, annotations }];
      }),
  );
}

async function openShop(): Promise<Shop> {
  const objects = Object.entries(CLUSTER)
    .flatMap(([, text]) => parseAllDocuments(text).map((one) => one.toJS() as unknown))
    .filter(isKubeManifest)
    .filter(({ kind, metadata }: KubeManifest) => kind !== 'Namespace' || metadata.name !== 'kube-system');
  const api = await startFakeApi({ objects, now: () => Date.now() });
  const home = await makeHome({ 'config.yaml': CONFIG, 'history.jsonl': history(), 'signals/a.jsonl': '' });
  const place = ['--kubeconfig', api.kubeconfig, '--state', 'state.sqlite', '--config', 'config.yaml', '--json'];
  const signal = join(home, 'signals', 'a.jsonl');
  const run: Shop['run'] = (args, onStderr) =>
    sallyport([...args, ...place], { home, ...(onStderr === undefined ? {} : { onStderr }) });
  let talk: ReturnType<typeof setInterval> | undefined;
  expect((await run(['observe', 'edges', 'history.jsonl'])).code).toBe(0);
  const accepted = await run(['accept', `src=${TOOLBOX}`, '--reason', 'forgotten']);
  expect(accepted.code).toBe(0);
  return {
    api,
    home,
    place,
    signal,
    keepTalking: (contact = () => ({})) => {
      talk = setInterval(() => {
        const next = contact();
        if (next !== undefined) appendFileSync(signal, line(next));
      }, 100);
    },
    stopTalking: () => clearInterval(talk),
    world: () => worldOf(api),
    run,
  };
}

const it = test.extend<{ shop: Shop }>({
  shop: async ({}, use) => {
    const shop = await openShop();
    await use(shop);
    shop.stopTalking();
    await shop.api.close();
  },
});

describe.concurrent('a live cluster under watch', { timeout: 240_000 }, () => {
  it('stops with 130 at Ctrl-C, and resume watches on', async ({ shop: { home, place, keepTalking, run } }) => {
    keepTalking();
    writeFileSync(join(home, 'config.yaml'), CONFIG.replace('minutes: 0.03', 'minutes: 0.2'));
    let stopped = false;
    let meanwhile: Promise<Ended> | undefined;
    const ended = await sallyport(['advance', 'shop', '--to', 'allow-list', '--yes', ...place], {
      home,
      onStderr: (all, child) => {
        if (stopped || !all.includes('soak:')) return;
        stopped = true;
        meanwhile = run(['status']);
        meanwhile.then(
          () => child.kill('SIGINT'),
          () => child.kill('SIGKILL'),
        );
      },
    });
    const seen = meanwhile === undefined ? {} : documentOf(await meanwhile);
    expect(seen).toMatchObject({
      namespaces: [{ openRun: { writer: expect.stringContaining('pid') as string }, soak: { left: false } }],
    });
    expect({ code: ended.code, document: documentOf(ended) }, ended.stderr).toMatchObject({
      code: 130,
      document: { outcome: 'cancelled', notRun: [] },
    });
    expect(ended.stderr).toContain('sallyport resume');
    const over = await run(['resume']);
    expect({ code: over.code, document: documentOf(over) }, over.stderr).toMatchObject({
      code: 0,
      document: { outcome: 'done' },
    });
  });

  it('advances when every edge was seen anew, and denials that were accepted pull nothing back', async ({
    shop: { home, signal, keepTalking, run },
  }) => {
    keepTalking();
    writeFileSync(join(home, 'config.yaml'), CONFIG.replace('minutes: 0.03', 'minutes: 0.2'));
    writeFileSync(signal, '{"not": "a record"}\n', { flag: 'a' });
    const ended = await run(['advance', 'shop', '--to', 'allow-list', '--yes'], (all) => {
      if (all.includes('soak:')) appendFileSync(signal, line({ src: TOOLBOX, verdict: 'denied' }));
    });
    const document = documentOf(ended);
    expect({ code: ended.code, document }, ended.stderr).toMatchObject({
      code: 0,
      document: {
        outcome: 'done',
        phase: 'allow-list',
        soak: { awaited: [], newCallers: [], denied: [{ spared: 'accepted to be cut' }] },
      },
    });
    expect(JSON.stringify(document['soak'])).toContain(`${WEB} -> ${DB} 5432/TCP`);
  });

  it('pulls back with exit 8 when an edge on record is denied, and leaves the cluster as it was', async ({
    shop: { keepTalking, world, run },
  }) => {
    const start = world();
    let denied = false;
    keepTalking(() => (denied ? { verdict: 'denied' } : {}));
    const ended = await run(['advance', 'shop', '--to', 'allow-list', '--yes'], (all) => {
      if (all.includes('[4/')) denied = true;
    });
    const document = documentOf(ended);
    expect({ code: ended.code, document }, ended.stderr).toMatchObject({
      code: 8,
      document: { outcome: 'undone', phase: 'none', done: [], error: { code: 'SP611' } },
    });
    expect(document['undone']).not.toEqual([]);
    expect(world()).toEqual(start);
    const trail = documentOf(await run(['audit', '--namespace', 'shop']));
    expect(JSON.stringify(trail)).toMatch(/pulled back in soak.*shop\/Deployment\/web -> shop\/Deployment\/db/);
    const status = documentOf(await run(['status']));
    expect(status['namespaces']).toEqual([]);
  });

  it('--detach leaves it soaking; status says what is awaited, and resume ends it', async ({
    shop: { signal, run },
  }) => {
    const left = await run(['advance', 'shop', '--to', 'allow-list', '--yes', '--detach']);
    expect({ code: left.code, document: documentOf(left) }, left.stderr).toMatchObject({
      code: 0,
      document: { outcome: 'soaking', soak: { awaited: [{ text: `${WEB} -> ${DB} 5432/TCP` }] } },
    });
    expect(documentOf(await run(['status']))).toMatchObject({
      namespaces: [{ namespace: 'shop', soak: { left: true, awaited: [{ text: `${WEB} -> ${DB} 5432/TCP` }] } }],
    });
    const again = await run(['advance', 'shop', '--yes']);
    expect({ code: again.code, document: documentOf(again) }).toMatchObject({
      code: 3,
      document: { error: { code: 'SP615' } },
    });
    const early = await run(['resume']);
    expect({ code: early.code, document: documentOf(early) }).toMatchObject({
      code: 3,
      document: { outcome: 'soaking', error: { code: 'SP610' } },
    });
    appendFileSync(signal, line({}));
    const over = await run(['resume']);
    expect({ code: over.code, document: documentOf(over) }, over.stderr).toMatchObject({
      code: 0,
      document: { outcome: 'done', phase: 'allow-list' },
    });
  });

  it.for([
    ['held', {}],
    ['pulled-back', { verdict: 'denied' }],
  ] as const)(
    'a watch ends what --detach left: %s',
    async ([outcome, contact], { shop: { home, place, signal, world, run } }) => {
      const start = world();
      const left = await run(['advance', 'shop', '--to', 'allow-list', '--yes', '--detach']);
      expect(left.code, left.stderr).toBe(0);
      appendFileSync(signal, line(contact));
      const watched = await sallyport(
        ['watch', '-o', 'jsonl', '--for', '120s', ...place.filter((word) => word !== '--json')],
        {
          home,
          onStart: (child) =>
            child.stdout?.on('data', (text: string) => {
              if (text.includes('"kind":"soak"')) child.kill('SIGTERM');
            }),
        },
      );
      expect(watched.code, watched.stderr).toBe(0);
      const told = watched.stdout
        .trim()
        .split('\n')
        .map((text) => JSON.parse(text) as Record<string, unknown>);
      expect(told.find(({ kind }) => kind === 'soak')).toMatchObject({ outcome, namespace: 'shop' });
      expect(told.at(-1)).toMatchObject({ event: 'ended' });
      const status = documentOf(await run(['status']));
      if (outcome === 'held')
        expect(status).toMatchObject({ namespaces: [{ namespace: 'shop', phase: 'allow-list' }] });
      else {
        expect(status['namespaces']).toEqual([]);
        expect(world()).toEqual(start);
      }
    },
  );

  it('takes back what it may where somebody changed an object of ours meanwhile and a person left that: resolve --keep theirs', async ({
    shop: { api, signal, world, run },
  }) => {
    const start = world();
    const left = await run(['advance', 'shop', '--to', 'allow-list', '--yes', '--detach']);
    expect(left.code, left.stderr).toBe(0);
    const policy = api.objects().find(({ metadata }) => metadata.name === 'sallyport-db-ingress');
    if (policy === undefined) throw new Error('the database has a policy');
    const object = formatRef(refOf(policy));
    const theirs = { ...policy, spec: { ...(policy['spec'] as object), ingress: [] } };
    api.put(theirs, 'somebody');
    appendFileSync(signal, line({ verdict: 'denied' }));
    // Nobody has decided: what is theirs is not overwritten, and the run stays as it is.
    const asked = await run(['resume']);
    expect({ code: asked.code, text: JSON.stringify(documentOf(asked)) }, asked.stderr).toMatchObject({
      code: 3,
      text: expect.stringContaining('SP613') as string,
    });
    const decided = await run(['resolve', object, '--keep', 'theirs', '--reason', 'the database moves']);
    expect(decided.code, decided.stderr).toBe(0);
    const ended = await run(['resume']);
    expect({ code: ended.code, document: documentOf(ended) }, ended.stderr).toMatchObject({
      code: 8,
      document: { outcome: 'undone', phase: 'none', error: { code: 'SP611' } },
    });
    expect(world()).toEqual({ ...start, [refKey(refOf(policy))]: { ...(world()[refKey(refOf(policy))] as object) } });
    expect(api.get(policy)?.['spec']).toEqual(theirs.spec);
    expect(documentOf(await run(['status']))['namespaces']).toEqual([]);
  });
});

describe.concurrent('a new caller', { timeout: 240_000 }, () => {
  it('is told, keeps the run soaking, goes on record, and is decided on by a person', async ({
    shop: { home, signal, keepTalking, run },
  }) => {
    const stranger: Contact = { src: TOOLBOX, dst: WEB, port: 8080, verdict: 'denied' };
    keepTalking();
    // It comes once the watch is told of: long enough for that to be seen.
    writeFileSync(join(home, 'config.yaml'), CONFIG.replace('minutes: 0.03', 'minutes: 0.2'));
    const ended = await run(['advance', 'shop', '--to', 'allow-list', '--yes'], (all) => {
      if (all.includes('soak:') && !all.includes('new caller')) appendFileSync(signal, line(stranger));
    });
    expect(ended.stderr.replaceAll(/\s+/g, ' ')).toContain(`new caller: ${TOOLBOX} -> ${WEB} 8080/TCP is denied`);
    const document = documentOf(ended);
    expect({ code: ended.code, document }, ended.stderr).toMatchObject({
      code: 3,
      document: { outcome: 'soaking', soak: { awaited: [], newCallers: [{ state: 'denied' }] } },
    });
    const flows = documentOf(await run(['flows', '--namespace', 'desk']));
    expect(JSON.stringify(flows)).toContain('"port":8080');
    expect((await run(['accept', `src=${TOOLBOX},dst=${WEB},port=8080/TCP`, '--reason', 'a scan'])).code).toBe(0);
    const over = await run(['resume']);
    expect({ code: over.code, document: documentOf(over) }, over.stderr).toMatchObject({
      code: 0,
      document: { outcome: 'done', phase: 'allow-list' },
    });
  });
});

describe.concurrent('verify', { timeout: 240_000 }, () => {
  it('reads the signals since the watch, and says with exit 6 what they contradict', async ({
    shop: { signal, keepTalking, stopTalking, run },
  }) => {
    keepTalking();
    expect((await run(['advance', 'shop', '--to', 'allow-list', '--yes'])).code).toBe(0);
    const quiet = await run(['verify', 'shop']);
    const asked = (ended: Ended): unknown =>
      (documentOf(ended)['gates'] as readonly { readonly id: string }[]).filter(({ id }) =>
        ['enforcement', 'denies-observed'].includes(id),
      );
    expect({ code: quiet.code, gates: asked(quiet) }, quiet.stderr).toEqual({ code: 0, gates: [] });
    stopTalking();
    appendFileSync(signal, line({ src: TOOLBOX }) + line({ src: TOOLBOX }) + line({ verdict: 'denied' }));
    const ended = await run(['verify', 'shop']);
    expect(ended.code).toBe(6);
    expect(asked(ended)).toMatchObject([
      {
        id: 'enforcement',
        facts: [
          `${TOOLBOX} -> ${DB} 5432/TCP`,
          expect.stringContaining('deny it'),
          expect.anything(),
          expect.stringContaining('seen 2x'),
        ],
      },
      {
        id: 'denies-observed',
        facts: [
          `${WEB} -> ${DB} 5432/TCP`,
          'an edge that must work is denied',
          expect.anything(),
          expect.stringContaining('seen 1x'),
        ],
      },
    ]);
  });
});
