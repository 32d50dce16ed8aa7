import fc from '../support/fast-check.ts';
import { describe, expect, it } from 'vitest';
import { createAttributor } from '../../src/flows/attribute.ts';
import {
  createAddressBook,
  holdsOfPods,
  holdsOfSlices,
  joinWatched,
  lastHeld,
  seePod,
} from '../../src/flows/address-history.ts';
import type { AddressBook } from '../../src/flows/address-history.ts';
import type { AddressHistory, AddressHold, Watched } from '../../src/model/address-hold.ts';
import { holdKey, mergeHold } from '../../src/model/address-hold.ts';
import { endpointKey } from '../../src/model/edge.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import type { Json } from '../../src/shared/pure/json.ts';
import { HOUR, MONDAY, emptyInventory, end, workload } from './build.ts';

const MINUTE = 60_000;
const IP = '10.0.3.3';
const at = (minutes: number): number => MONDAY + minutes * MINUTE;
const iso = (time: number): string => new Date(time).toISOString();

interface PodParts {
  readonly uid?: string;
  readonly ip?: string;
  readonly owner?: string;
  readonly start?: number;
  /** When the sandbox had its network. */
  readonly network?: number;
  readonly finished?: number;
  /** The containers alone have ended: the pod is being deleted. */
  readonly stopped?: number;
  readonly hostNetwork?: boolean;
}

function podObject(name: string, parts: PodParts = {}): KubeManifest {
  const { ip = IP, start = at(0), network, finished, stopped } = parts;
  const ended = finished ?? stopped;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      namespace: 'shop',
      uid: parts.uid ?? `uid-${name}`,
      labels: { app: name.split('-')[0] ?? '' },
      ownerReferences: [{ controller: true, kind: 'ReplicaSet', name: parts.owner ?? name.replace(/-[^-]+$/, '') }],
    },
    spec: { nodeName: 'n1', ...(parts.hostNetwork === true ? { hostNetwork: true } : {}) },
    status: {
      phase: finished === undefined ? 'Running' : 'Succeeded',
      podIP: ip,
      podIPs: [{ ip }],
      startTime: iso(start),
      conditions:
        network === undefined
          ? []
          : [{ type: 'PodReadyToStartContainers', status: 'True', lastTransitionTime: iso(network) }],
      containerStatuses: [
        { name: 'main', state: ended === undefined ? { running: {} } : { terminated: { finishedAt: iso(ended) } } },
      ],
    },
  };
}

const A = 'web-6d4cf56db6-x2x9k';
const B = 'api-7c5ddbdf54-b7k2p';

const inventory = emptyInventory({
  workloads: [workload('shop/Deployment/web'), workload('shop/Deployment/api')],
  nodes: [{ name: 'n1', addresses: ['192.168.1.1'], podCIDRs: ['10.0.0.0/16'] }],
});

/** What is on record after the book was drained, as the state keeps it. */
function historyOf(
  ...records: readonly { holds: readonly AddressHold[]; watched: readonly Watched[] }[]
): AddressHistory {
  const rows = new Map<string, AddressHold>();
  for (const hold of records.flatMap((one) => one.holds)) {
    const key = `${hold.ip}\n${holdKey(hold)}`;
    const known = rows.get(key);
    rows.set(key, known === undefined ? hold : mergeHold(known, hold));
  }
  return {
    holdsOf: (ip) => [...rows.values()].filter((hold) => hold.ip === ip),
    watched: joinWatched(records.flatMap((one) => one.watched)),
  };
}

function whose(history: AddressHistory, time: number, ip = IP): string {
  const attributor = createAttributor(inventory, history);
  const { party } = attributor.attribute(end({ ip }), time, 'TCP', 80);
  const endpoint = attributor.settle(party, time, time);
  return endpoint.kind === 'unknown' ? endpoint.why : endpointKey(endpoint);
}

const NOBODY = 'address was held by nobody known at that time';
const CHANGED = 'address changed hands';
const UNWATCHED = 'address may have changed hands while nobody watched the pods';

function watched(steps: (book: AddressBook) => void): AddressHistory {
  const book = createAddressBook();
  steps(book);
  return historyOf(book.drain());
}

describe('who held an address, by a watch', () => {
  it('is the pod from the start of its sandbox to its end, and nobody after', () => {
    const history = watched((book) => {
      book.listed([seePod(podObject(A, { start: at(-30) }))], at(0));
      book.changed(seePod(podObject(A, { start: at(-30), finished: at(10) })), at(11));
      book.alive(at(60));
    });
    expect([-31, -29, 5, 10, 12].map((minute) => whose(history, at(minute)))).toEqual([
      NOBODY,
      'shop/Deployment/web',
      'shop/Deployment/web',
      'shop/Deployment/web',
      NOBODY,
    ]);
  });

  it('is never the present holder for what the last one did', () => {
    const history = watched((book) => {
      book.listed([seePod(podObject(A))], at(1));
      book.gone(seePod(podObject(A, { stopped: at(20) })), at(21));
      book.changed(seePod(podObject(B, { start: at(30) })), at(30));
      book.alive(at(60));
    });
    expect([10, 25, 40, 59].map((minute) => whose(history, at(minute)))).toEqual([
      'shop/Deployment/web',
      NOBODY,
      'shop/Deployment/api',
      'shop/Deployment/api',
    ]);
  });

  it('cannot be told within the margin of the clocks of a change of hands', () => {
    const history = watched((book) => {
      book.listed([seePod(podObject(A))], at(1));
      book.gone(seePod(podObject(A, { stopped: at(20) })), at(21));
      book.changed(seePod(podObject(B, { start: at(20) })), at(21));
      book.alive(at(60));
    });
    const near = [-3000, -1000, 1000, 3000].map((ms) => whose(history, at(20) + ms));
    expect(near).toEqual(['shop/Deployment/web', CHANGED, CHANGED, 'shop/Deployment/api']);
  });

  it('is unknown for a record that lasts over a change of hands, and known for one in which its pod ended', () => {
    const history = watched((book) => {
      book.listed([seePod(podObject(A))], at(1));
      book.gone(seePod(podObject(A, { stopped: at(20) })), at(21));
      book.changed(seePod(podObject(B, { start: at(30) })), at(30));
      book.alive(at(60));
    });
    const lasting = (first: number, last: number): string => {
      const attributor = createAttributor(inventory, history);
      const { party } = attributor.attribute(end({ ip: IP }), at(first), 'TCP', 80, at(last));
      const endpoint = attributor.settle(party, at(first), at(last));
      return endpoint.kind === 'unknown' ? endpoint.why : endpointKey(endpoint);
    };
    expect([lasting(10, 15), lasting(10, 25), lasting(10, 35), lasting(25, 35), lasting(35, 60)]).toEqual([
      'shop/Deployment/web',
      'shop/Deployment/web',
      CHANGED,
      CHANGED,
      'shop/Deployment/api',
    ]);
  });

  it('is one workload though its pods followed one another', () => {
    const next = 'web-6d4cf56db6-zzzzz';
    const history = watched((book) => {
      book.listed([seePod(podObject(A))], at(1));
      book.gone(seePod(podObject(A, { stopped: at(20) })), at(21));
      book.changed(seePod(podObject(next, { start: at(20) })), at(21));
      book.alive(at(60));
    });
    expect(whose(history, at(20))).toBe('shop/Deployment/web');
  });

  it('is unknown after a pod was deleted by force: it may run on', () => {
    const history = watched((book) => {
      book.listed([seePod(podObject(A))], at(1));
      book.gone(seePod(podObject(A)), at(20));
      book.alive(at(60));
    });
    expect([19, 30].map((minute) => whose(history, at(minute)))).toEqual(['shop/Deployment/web', UNWATCHED]);
  });

  it('is unknown in a gap for a pod that was gone afterwards, and known for one that was still there', () => {
    const history = watched((book) => {
      const other = podObject(B, { ip: '10.0.3.4' });
      book.listed([seePod(podObject(A)), seePod(other)], at(1));
      book.alive(at(10));
      book.listed([seePod(other)], at(30));
      book.alive(at(60));
      expect(book.gaps).toEqual([{ from: at(10), to: at(30) }]);
    });
    expect([9, 20, 40].map((minute) => whose(history, at(minute)))).toEqual([
      'shop/Deployment/web',
      UNWATCHED,
      UNWATCHED,
    ]);
    expect([9, 20, 40].map((minute) => whose(history, at(minute), '10.0.3.4'))).toEqual(
      Array(3).fill('shop/Deployment/api'),
    );
  });

  it('is known from its own start for a pod that came in a gap', () => {
    const history = watched((book) => {
      book.listed([], at(1));
      book.listed([seePod(podObject(B, { start: at(20) }))], at(30));
      book.alive(at(60));
    });
    expect([19, 21, 59].map((minute) => whose(history, at(minute)))).toEqual([
      NOBODY,
      'shop/Deployment/api',
      'shop/Deployment/api',
    ]);
  });

  it('follows a pod whose sandbox was made anew to its other address', () => {
    const history = watched((book) => {
      book.listed([seePod(podObject(A))], at(1));
      book.changed(seePod(podObject(A, { ip: '10.0.3.9', network: at(20) })), at(21));
      book.alive(at(60));
    });
    expect([19, 22].map((minute) => whose(history, at(minute)))).toEqual(['shop/Deployment/web', NOBODY]);
    expect([19, 22].map((minute) => whose(history, at(minute), '10.0.3.9'))).toEqual([NOBODY, 'shop/Deployment/web']);
  });

  it('leaves out the host network, whose address is the node’s', () => {
    const history = watched((book) => {
      book.listed([seePod(podObject(A, { hostNetwork: true, ip: '192.168.1.1' }))], at(1));
    });
    expect(history.holdsOf('192.168.1.1')).toEqual([]);
    expect(whose(history, at(2), '192.168.1.1')).toBe('node');
  });

  it('is told in pieces as well as at once', () => {
    const steps: readonly ((book: AddressBook) => void)[] = [
      (book) => book.listed([seePod(podObject(A))], at(1)),
      (book) => book.alive(at(10)),
      (book) => book.changed(seePod(podObject(B, { ip: '10.0.3.4', start: at(11) })), at(12)),
      (book) => book.gone(seePod(podObject(A, { stopped: at(15) })), at(16)),
      (book) => book.listed([seePod(podObject(B, { ip: '10.0.3.4', start: at(11) }))], at(40)),
      (book) => book.changed(seePod(podObject(B, { ip: '10.0.3.4', start: at(11), finished: at(50) })), at(51)),
      (book) => book.alive(at(60)),
    ];
    const ask = (history: AddressHistory): readonly string[] =>
      [IP, '10.0.3.4'].flatMap((ip) =>
        [0, 5, 11, 13, 15, 18, 30, 45, 52].map((minute) => whose(history, at(minute), ip)),
      );
    const whole = ask(watched((book) => steps.forEach((step) => step(book))));
    fc.assert(
      fc.property(fc.array(fc.boolean(), { minLength: steps.length, maxLength: steps.length }), (drained) => {
        const book = createAddressBook();
        const records = steps.flatMap((step, index) => {
          step(book);
          return drained[index] === true ? [book.drain()] : [];
        });
        expect(ask(historyOf(...records, book.drain()))).toEqual(whole);
      }),
    );
  });
});

describe('a pod as it stands now', () => {
  it('held its address since its sandbox began, and not before', () => {
    const history = historyOf({ holds: holdsOfPods([podObject(A, { start: at(0) })], at(60)), watched: [] });
    expect([-1, 1, 59].map((minute) => whose(history, at(minute)))).toEqual([
      NOBODY,
      'shop/Deployment/web',
      'shop/Deployment/web',
    ]);
    expect(whose(history, at(90))).toBe(UNWATCHED);
  });

  it('did not hold it before its sandbox was made anew', () => {
    const [hold] = holdsOfPods([podObject(A, { start: at(0), network: at(30) })], at(60));
    expect(hold?.from).toBe(at(30));
    const [usual] = holdsOfPods([podObject(A, { start: at(0), network: at(0) + 9_000 })], at(60));
    expect(usual?.from).toBe(at(0));
  });

  it('goes on being the same pod in a later snapshot', () => {
    const first = { holds: holdsOfPods([podObject(A)], at(10)), watched: [] };
    const later = { holds: holdsOfPods([podObject(A)], at(600)), watched: [] };
    expect(whose(historyOf(first, later), at(300))).toBe('shop/Deployment/web');
  });
});

describe('EndpointSlices', () => {
  const slice = (uid: string, name: string, conditions: Json = {}): KubeManifest => ({
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: 'web-x', namespace: 'shop' },
    endpoints: [{ addresses: [IP], conditions, targetRef: { kind: 'Pod', namespace: 'shop', name, uid } }],
  });

  it('say who was there where pods do not', () => {
    const history = historyOf({ holds: holdsOfSlices([slice('u', A)], at(10)), watched: [] });
    expect([10, 11].map((minute) => whose(history, at(minute)))).toEqual(['shop/Deployment/web', NOBODY]);
  });

  it('add to what the pods say, and do not outweigh it', () => {
    const pods = { holds: holdsOfPods([podObject(B, { start: at(5) })], at(20)), watched: [] };
    const slices = { holds: holdsOfSlices([slice('uid-old', A), slice(`uid-${B}`, B)], at(10)), watched: [] };
    expect(whose(historyOf(pods, slices), at(10))).toBe('shop/Deployment/api');
    expect(
      historyOf(pods, slices)
        .holdsOf(IP)
        .map((hold) => hold.by),
    ).toEqual([['endpoints', 'snapshot'], ['endpoints']]);
  });

  it('count nobody who is leaving', () => {
    expect(holdsOfSlices([slice('u', A, { terminating: true })], at(10))).toEqual([]);
  });
});

describe('records', () => {
  const named = (pod: string, app: string) => end({ ip: IP, namespace: 'shop', pod, labels: { app } });

  it('that name pods at an address say later whose it was', () => {
    const attributor = createAttributor(inventory);
    attributor.attribute(named(A, 'web'), at(0), 'TCP');
    attributor.attribute(named(A, 'web'), at(60), 'TCP');
    const history = historyOf({ holds: attributor.sighted(), watched: [] });
    expect([30, 61].map((minute) => whose(history, at(minute)))).toEqual(['shop/Deployment/web', NOBODY]);
  });

  it('do not join two days of a name that the next pod has as well', () => {
    const attributor = createAttributor(inventory);
    for (const hours of [0, 1, 50, 51]) attributor.attribute(named('db-0', 'db'), at(0) + hours * HOUR, 'TCP');
    const history = historyOf({ holds: attributor.sighted(), watched: [] });
    expect([30, 25 * 60, 50 * 60 + 30].map((minute) => whose(history, at(minute)))).toEqual([
      'shop/Pod/db-0',
      NOBODY,
      'shop/Pod/db-0',
    ]);
  });

  it('that name another pod than was there keep their word, and are counted', () => {
    const history = historyOf({ holds: holdsOfPods([podObject(B, { start: at(0) })], at(60)), watched: [] });
    const attributor = createAttributor(inventory, history);
    const { party } = attributor.attribute(named(A, 'web'), at(30), 'TCP');
    expect(endpointKey(attributor.settle(party, at(30), at(30)))).toBe('shop/Deployment/web');
    expect(attributor.contradictions).toMatchObject({ pods: 1, example: `shop/${A} at ${IP}, where shop/${B} was` });
    // What is known by address alone is then nobody's.
    const { party: bare } = attributor.attribute(end({ ip: IP }), at(30), 'TCP');
    expect(endpointKey(attributor.settle(bare, at(30), at(30)))).toBe('shop/Deployment/api');
  });

  it('outside the life of the pod they name tell how far the clock of its node is off', () => {
    const history = historyOf({ holds: holdsOfPods([podObject(A, { start: at(10) })], at(60)), watched: [] });
    const attributor = createAttributor(inventory, history);
    for (const seconds of [-1, -95, -40, 100]) attributor.attribute(named(A, 'web'), at(10) + seconds * 1000, 'TCP');
    expect([...attributor.contradictions.skew]).toEqual([['n1', 95_000]]);
  });
});

describe('accounts of one hold', () => {
  const time = fc.integer({ min: 0, max: 20 }).map(at);
  const hold = fc
    .record({
      from: time,
      length: fc.nat(10),
      ended: fc.boolean(),
      by: fc.constantFrom('watch', 'snapshot', 'endpoints'),
    })
    .map(({ from, length, ended, by }): AddressHold => ({
      ip: IP,
      holder: { namespace: 'shop', pod: A, uid: 'u', labels: {} },
      from,
      to: from + length * MINUTE,
      ended,
      by: [by as AddressHold['by'][number]],
    }));

  it('make the same in any order', () => {
    fc.assert(
      fc.property(fc.array(hold, { minLength: 1, maxLength: 6 }), fc.nat(), (holds, seed) => {
        const turned = [...holds.slice(seed % holds.length), ...holds.slice(0, seed % holds.length)];
        expect(turned.reduce(mergeHold)).toEqual(holds.reduce(mergeHold));
      }),
    );
  });

  it('last to the end of the watch that saw them and no further', () => {
    const windows = joinWatched([
      { from: at(20), to: at(30) },
      { from: at(0), to: at(10) },
      { from: at(5), to: at(12) },
    ]);
    expect(windows).toEqual([
      { from: at(0), to: at(12) },
      { from: at(20), to: at(30) },
    ]);
    const held = (to: number, ended = false): number =>
      lastHeld(
        { ip: IP, holder: { namespace: 'a', pod: 'b', labels: {} }, from: at(-5), to, ended, by: ['watch'] },
        windows,
      );
    expect([held(at(-1)), held(at(3)), held(at(15)), held(at(20)), held(at(25), true)]).toEqual([
      at(-1),
      at(12),
      at(15),
      at(30),
      at(25),
    ]);
  });
});
