/**
 * The watch: what one change costs on a large cluster, and what it remembers over days.
 *
 *     node test/bench/watch.ts [--workloads 20000] [--days 0] [--step 60]
 *
 * Without --days: a policy, a pod and a workload changed, one after the other, and everything built anew. With it: so many days of compressed
 * time with drift, attacks and outages (test/watch/day.ts), and the heap after each sixth of them.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { buildConnectionInventory } from '../../src/inventory/build.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import type { WatchEvent } from '../../src/watch/state.ts';
import { startWatch } from '../../src/watch/state.ts';
import { reduceWatch } from '../../src/watch/reduce.ts';
import { CONFIG } from '../support/rig.ts';
import { runDay } from '../watch/day.ts';
import {
  A_NAMESPACE,
  START,
  byKind,
  deploymentOf,
  generate,
  idOf,
  ipOf,
  namespaceOf,
  podOf,
  policyOf,
  sightingOf,
} from '../watch/world.ts';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

function flag(name: string, otherwise: number): number {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? otherwise : Number(process.argv[at + 1]);
}

/** Time of the processor, which a machine that does other things beside leaves alone, more or less. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

const say = (text: string): void => void process.stdout.write(`${text}\n`);
const ms = (value: number): string => `${value < 10 ? value.toFixed(2) : value.toFixed(0)} ms`;

function quantiles(values: readonly number[]): string {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN;
  return `median ${ms(at(0.5))}, 99 % ${ms(at(0.99))}, most ${ms(sorted.at(-1) ?? NaN)}`;
}

const workloads = flag('workloads', 20_000);
const namespaces = Math.max(2, Math.ceil(workloads / A_NAMESPACE));
const days = flag('days', 0);

if (days > 0) {
  const begun = performance.now();
  const report = await runDay({
    namespaces,
    days,
    stepSec: flag('step', 60),
    collect,
    onHour: (hour, heap) => say(`hour ${hour}: ${heap.toFixed(1)} MiB of heap`),
  });
  say(
    `${report.workloads} workloads, ${days} days in ${((performance.now() - begun) / 1000).toFixed(0)} s: ${report.events} events, ${report.sightings} records, built anew ${report.loads} times`,
  );
  say(`an event: mean ${ms(report.meanMs)}, most ${ms(report.longestMs)}`);
  for (const { name, afterMs, text } of report.told.slice(0, report.told.length / days + 1))
    say(`${afterMs === undefined ? 'NEVER' : `${afterMs / 1000} s`.padStart(6)}  ${name}: ${text}`);
  const missed = report.told.filter(({ afterMs }) => afterMs === undefined);
  say(
    `told: ${report.told.length - missed.length} of ${report.told.length}; wrong: ${report.wrong.length}; open at the end: ${report.open.length}`,
  );
  for (const { kind, text } of report.wrong.slice(0, 10)) say(`wrong: ${kind}: ${text}`);
} else {
  const { objects, record } = generate(namespaces);
  let state = startWatch(CONFIG);
  let now = START;
  const send = (event: WatchEvent): number => {
    now += 1000;
    const begun = cpuMs();
    ({ state } = reduceWatch(state, event, now));
    return cpuMs() - begun;
  };
  const kinds = byKind(objects);
  send({ kind: 'expect', kinds: [...kinds.keys()] });
  const recordMs = send({ kind: 'record', record });
  let listMs = 0;
  for (const [of, list] of kinds) listMs += send({ kind: 'listed', of, objects: list });
  const build = (): number => {
    const begun = cpuMs();
    const inventory = buildConnectionInventory(
      {
        source: 'cluster',
        objects: [...state.objects.values()].flatMap((own) => [...own.values()]),
        origins: new Map(),
        findings: [],
        unread: [],
      },
      { config: CONFIG },
    );
    send({ kind: 'inventory', inventory });
    return cpuMs() - begun;
  };
  const first = build();
  const put = (object: KubeManifest): number =>
    send({ kind: 'put', of: `${object.apiVersion} ${object.kind}`, object });
  const stamped = (object: KubeManifest, version: number, spec: object = {}): KubeManifest => ({
    ...object,
    metadata: { ...object.metadata, resourceVersion: String(version) },
    spec: { ...(object['spec'] as object), ...spec },
  });
  say(`${namespaces * A_NAMESPACE} workloads, ${objects.length} objects, ${record.edges.length} edges on record`);
  say(`record taken ${ms(recordMs)}; all listed and judged ${ms(listMs)}; built ${ms(first)}`);
  const open = policyOf(namespaceOf(1), 1, 'ingress');
  say(`the first changed policy ${ms(put(stamped(open, 2, { ingress: [{}] })))}`);
  const policy: number[] = [];
  const pod: number[] = [];
  const fresh: number[] = [];
  const flows: number[] = [];
  for (let round = 0; round < 60; round += 1) {
    const at = (round * 37) % namespaces;
    const one = policyOf(namespaceOf(at), round % A_NAMESPACE, round % 2 === 0 ? 'ingress' : 'egress');
    const field = round % 2 === 0 ? 'ingress' : 'egress';
    policy.push(put(stamped(one, 1000 + round, { [field]: round % 4 < 2 ? [] : [{}] })));
    pod.push(
      put(podOf(namespaceOf(at), `app-${round % A_NAMESPACE}`, round + 1, ipOf(at, round % A_NAMESPACE, round + 1))),
    );
    flows.push(
      send({
        kind: 'sightings',
        sightings: Array.from({ length: 100 }, (_, index) =>
          sightingOf(idOf(at, index % A_NAMESPACE), idOf(at, (index + 1) % A_NAMESPACE), 8080, now),
        ),
      }),
    );
  }
  for (let round = 0; round < 30; round += 1)
    fresh.push(put(deploymentOf(namespaceOf((round * 41) % namespaces), `new-${round}`)));
  say(`a changed policy: ${quantiles(policy)}`);
  say(`a new pod of a known workload: ${quantiles(pod)}`);
  say(`a new workload: ${quantiles(fresh)}`);
  say(`100 records of flows: ${quantiles(flows)}`);
  say(`everything built anew: ${ms(build())}`);
  collect();
  say(`heap: ${(process.memoryUsage().heapUsed / 1024 / 1024).toFixed(0)} MiB`);
}
