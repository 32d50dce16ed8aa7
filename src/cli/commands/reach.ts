import { once } from 'node:events';
import { buildConnectionInventory } from '../../inventory/build.ts';
import { analyzePolicies } from '../../inventory/analyzers/policies.ts';
import { isPolicyKind } from '../../inventory/policies.ts';
import { changedConnections, connectivity } from '../../model/connectivity.ts';
import type { ConnectivityOptions } from '../../model/connectivity.ts';
import type { Protocol } from '../../model/edge.ts';
import { checkPolicies, compileWorld } from '../../model/evaluate.ts';
import type { World } from '../../model/evaluate.ts';
import { matchText } from '../../model/glob.ts';
import type { Finding } from '../../model/finding.ts';
import type { Inventory, Origin, Snapshot, Workload } from '../../model/inventory.ts';
import type { KubeManifest } from '../../model/object.ts';
import { groupOf, namespaceOf } from '../../model/object.ts';
import { isNetworkPolicy } from '../../model/world.ts';
import { proposedPolicies } from '../../plan/policy-check.ts';
import { readManifestDirectory } from '../../sources/manifests/index.ts';
import { EXIT, Failure } from '../../shared/pure/errors.ts';
import { groupBy, uniqueSorted } from '../../shared/pure/order.ts';
import { plural, safeText } from '../../shared/pure/text.ts';
import { nearest } from '../check-command-line.ts';
import type { App } from '../context.ts';
import { parseMoment } from '../moment.ts';
import { answerQuery, explainConnection, placesOf } from '../explain-reach.ts';
import type { Places } from '../explain-reach.ts';
import { few } from '../output.ts';
import {
  inChunks,
  linesOfDiff,
  linesOfReach,
  portChange,
  renderDiffCsv,
  renderDiffJson,
  renderDiffText,
  renderDot,
  renderMermaid,
  renderReachCsv,
  renderReachJson,
  renderReachText,
} from '../render-reach.ts';
import type { ReachHead, ShownConnection } from '../render-reach.ts';

export const REACH_FORMATS = ['text', 'json', 'csv', 'dot', 'mermaid'] as const;
type Format = (typeof REACH_FORMATS)[number];

export interface ReachOptions {
  readonly from?: string;
  readonly to?: string;
  readonly port?: string;
  readonly policies?: string;
  readonly diff?: string;
  readonly mesh?: boolean;
  readonly explain?: boolean;
  readonly output?: string;
}

/** Who can connect to whom under the policies as they stand, and why. Reads the cluster or the directory; needs no state. */
export async function reach(app: App, options: ReachOptions): Promise<void> {
  const format = formatOf(app, options);
  const port = options.port === undefined ? undefined : parsePort(options.port);
  const { snapshot, inventory: read } = await load(app);
  const given = options.policies === undefined ? undefined : await readPolicies(app, options.policies);
  const mesh = options.mesh === true;
  const sources = select(read.workloads, options.from, '--from');
  const destinations = select(read.workloads, options.to, '--to');
  const [src, dst] = [sources?.[0], destinations?.[0]];
  const isOne = sources?.length === 1 && destinations?.length === 1 && port !== undefined;
  const all = given === undefined ? read.policies : proposedPolicies(read.policies, given.objects).policies;
  // Reading the rest would take longer than the answer.
  const ends = isOne && options.diff === undefined ? new Set([src?.namespace, dst?.namespace]) : undefined;
  const inventory = { ...read, policies: ends === undefined ? all : all.filter((one) => actsIn(one, ends)) };
  const explain = options.explain === true;
  const places: Places = explain
    ? new Map([
        ...placesOf(inventory.policies, snapshot.origins),
        ...(given === undefined ? [] : placesOf(given.objects, given.origins, options.policies)),
      ])
    : new Map();
  const world = compileWorld(inventory);
  const asked: ConnectivityOptions = {
    ...(sources === undefined ? {} : { from: isOneOf(sources) }),
    ...(destinations === undefined ? {} : { to: isOneOf(destinations) }),
    ...(port === undefined ? {} : { port: { first: port.port, last: port.port, protocol: port.protocol } }),
    mesh,
  };
  noteFindings(app, [
    ...read.findings.filter(({ code }) => BEARING.has(code)),
    ...analyzePolicies(inventory.policies, inventory.facts, {
      origins:
        given === undefined
          ? snapshot.origins
          : new Map([...snapshot.origins, ...originsIn(options.policies, given.origins)]),
    }).filter(({ severity }) => severity !== 'info'),
  ]);
  const notRead = notReadOf(snapshot, mesh);

  if (options.diff !== undefined) {
    const other = await readPolicies(app, options.diff);
    const after = { ...inventory, policies: proposedPolicies([], other.objects).policies };
    await diff(app, format, world, compileWorld(after), { ...headOf(after, mesh), notRead }, asked);
    return;
  }
  const head: ReachHead = {
    ...headOf(inventory, mesh),
    notRead,
    ...(isOne && src !== undefined && dst !== undefined
      ? { query: answerQuery(world, { src, dst, ...port }, mesh, explain, places) }
      : {}),
  };
  const shown = (): Iterable<ShownConnection> => shownConnections(world, asked, explain, places);
  await write(app, inChunks(rendered(app, format, head, shown, inventory, sources, destinations)));
}

function* shownConnections(
  world: World,
  asked: ConnectivityOptions,
  explain: boolean,
  places: Places,
): Generator<ShownConnection, void> {
  for (const connection of connectivity(world, asked))
    yield explain ? explainConnection(world, connection, asked.mesh === true, places) : connection;
}

function rendered(
  app: App,
  format: Format,
  head: ReachHead,
  shown: () => Iterable<ShownConnection>,
  inventory: Inventory,
  sources: readonly Workload[] | undefined,
  destinations: readonly Workload[] | undefined,
): Iterable<string> {
  switch (format) {
    case 'json':
      return renderReachJson(head, shown());
    case 'csv':
      return renderReachCsv(shown());
    case 'dot':
      return renderDot(linesOfReach(shown()));
    case 'mermaid':
      return renderMermaid(linesOfReach(shown()));
    case 'text': {
      const [from, to] = [sources ?? inventory.workloads, destinations ?? inventory.workloads];
      const both = new Set(from.map(({ id }) => id));
      const self = to.filter(({ id }) => both.has(id)).length;
      let [connected, unknown] = [0, 0];
      // The summary stands first, so that everything is worked out twice: keeping it all could take more than there is.
      if (head.query === undefined) {
        for (const one of shown()) {
          connected += 1;
          if (one.unknown.length > 0) unknown += 1;
        }
      }
      const pairs = from.length * to.length - self;
      const summary = { sources: from.length, destinations: to.length, pairs, connected, unknown };
      return renderReachText(head, summary, shown(), app.output.width);
    }
  }
}

async function diff(
  app: App,
  format: Format,
  before: World,
  after: World,
  head: ReachHead,
  asked: ConnectivityOptions,
): Promise<void> {
  const changes = () => changedConnections(before, after, asked);
  const text = (): Iterable<string> => {
    const counts = { pairs: 0, gain: 0, lose: 0, doubt: 0 };
    for (const change of changes()) {
      const { added, removed, unknown } = portChange(change);
      counts.pairs += 1;
      if (added.length > 0) counts.gain += 1;
      if (removed.length > 0) counts.lose += 1;
      if (unknown.length > 0) counts.doubt += 1;
    }
    return renderDiffText(head, counts, changes(), app.output.width);
  };
  const pieces = {
    json: () => renderDiffJson(head, changes()),
    csv: () => renderDiffCsv(changes()),
    dot: () => renderDot(linesOfDiff(changes())),
    mermaid: () => renderMermaid(linesOfDiff(changes())),
    text,
  } as const satisfies Record<Format, () => Iterable<string>>;
  await write(app, inChunks(pieces[format]()));
}

/** Writes chunk by chunk, no faster than they are taken; a reader that goes away ends it. */
async function write(app: App, chunks: Iterable<string>): Promise<void> {
  const { stdout } = process;
  for (const chunk of chunks) {
    if (stdout.destroyed) return;
    app.output.raw(chunk);
    if (stdout.writableNeedDrain) {
      const stop = new AbortController();
      const ended = ['drain', 'close', 'error'].map((event) => once(stdout, event, { signal: stop.signal }));
      // Whatever else these would say, the stream says it itself.
      await Promise.race(ended).catch(() => undefined);
      for (const promise of ended) promise.catch(() => undefined);
      stop.abort();
    }
  }
}

async function load(app: App): Promise<{ readonly snapshot: Snapshot; readonly inventory: Inventory }> {
  // Nothing here hangs on the moment; a wrong one is said all the same.
  if (app.options.now !== undefined) parseMoment(app.options.now);
  const [target, config] = await Promise.all([app.target(), app.config()]);
  const snapshot = await target.readSnapshot((text) => app.output.progress(text));
  return { snapshot, inventory: buildConnectionInventory(snapshot, { config }) };
}

/** May the policy decide about pods of these namespaces? A NetworkPolicy acts in its own; of every other kind it may. */
function actsIn(manifest: KubeManifest, namespaces: ReadonlySet<string | undefined>): boolean {
  return !isNetworkPolicy(manifest) || namespaces.has(namespaceOf(manifest) ?? 'default');
}

/** Policies of a directory; what else is there is left out and said. */
async function readPolicies(app: App, dir: string): Promise<Pick<Snapshot, 'objects' | 'origins'>> {
  const { objects, origins, findings } = await readManifestDirectory(dir, {
    defaultNamespace: app.options.defaultNamespace,
  });
  for (const { code, message, where, subject } of findings)
    app.output.note(safeText(`${code} ${where ?? subject}: ${message}`));
  const policies = objects.filter(({ apiVersion, kind }) => isPolicyKind(groupOf(apiVersion), kind));
  const others = objects.length - policies.length;
  if (others > 0) app.output.note(`${plural(others, 'object')} in ${safeText(dir)} not read: no policy`);
  return { objects: policies, origins };
}

/** What is wrong with the input in ways that answers hang on; of policies see analyzePolicies. */
const BEARING: ReadonlySet<string> = new Set(['SP301', 'SP302', 'SP303', 'SP309', 'SP361']);
const MOST_NOTED = 10;

function noteFindings(app: App, findings: readonly Finding[]): void {
  for (const [code, same] of groupBy(findings, (one) => one.code)) {
    const { shown, more } = few(same, MOST_NOTED);
    for (const { subject, where, message } of shown) {
      const text = message.startsWith(subject) ? message : `${subject}: ${message}`;
      app.output.note(safeText(`${code} ${text}${where === undefined ? '' : ` (${where})`}`));
    }
    if (more !== '') app.output.note(`${code} ${more.replace('--json', 'sallyport inventory --json')}`);
  }
}

export function originsIn(
  dir: string | undefined,
  origins: Snapshot['origins'],
): readonly (readonly [string, Origin])[] {
  const before = dir === undefined ? '' : `${dir.replace(/\/+$/u, '')}/`;
  return [...origins].map(([key, origin]) => [key, { ...origin, file: `${before}${origin.file}` }]);
}

/** Kinds and files that could not be read: what they hold may decide otherwise. */
function notReadOf({ unread, findings }: Snapshot, mesh: boolean): readonly string[] {
  const kinds = unread.filter((kind) => {
    const group = kind.split('/')[0] ?? '';
    return !group.endsWith('metrics.k8s.io') && (mesh || !group.endsWith('istio.io'));
  });
  return uniqueSorted([...kinds, ...findings.flatMap(({ code, subject }) => (code === 'SP302' ? [subject] : []))]);
}

const MESH_KINDS = ['AuthorizationPolicy', 'DestinationRule', 'PeerAuthentication', 'Sidecar'];
const EVERYWHERE = ['NetworkPolicy', 'AdminNetworkPolicy', 'BaselineAdminNetworkPolicy', 'ClusterNetworkPolicy'];
const OF_CNI: Readonly<Record<string, readonly string[]>> = {
  calico: ['GlobalNetworkPolicy'],
  cilium: ['CiliumNetworkPolicy', 'CiliumClusterwideNetworkPolicy'],
};

function headOf({ policies, facts }: Inventory, mesh: boolean): Omit<ReachHead, 'notRead'> {
  const scope = [...EVERYWHERE, ...(OF_CNI[facts.cni.name] ?? []), ...(mesh ? MESH_KINDS : [])];
  const left = checkPolicies({ policies, facts }).flatMap(({ code, subject }) =>
    code === 'SP344' ? [subject.split(' ')[0] ?? ''] : [],
  );
  return { scope, notEvaluated: uniqueSorted(left) };
}

function formatOf(app: App, { output }: ReachOptions): Format {
  const chosen = REACH_FORMATS.find((one) => one === output);
  if (chosen !== undefined && chosen !== 'json' && app.output.json)
    throw new Failure({
      code: 'SP250',
      exit: EXIT.usage,
      message: `--json and --output ${chosen} ask for different things`,
      hint: `leave out one of the two`,
    });
  return chosen ?? (app.output.json ? 'json' : 'text');
}

/** `8080`, `53/udp`. Without a protocol it is TCP, as in a policy. */
function parsePort(text: string): { readonly port: number; readonly protocol: Protocol } {
  const match = /^(\d{1,5})(?:\/(tcp|udp|sctp))?$/iu.exec(text);
  const port = Number(match?.[1]);
  if (match === null || port < 1 || port > 65_535)
    throw new Failure({
      code: 'SP251',
      exit: EXIT.usage,
      message: `--port ${safeText(text)} is not a port`,
      hint: 'a number from 1 to 65535, with a protocol where it is not TCP: 8080, 53/udp, 9000/sctp',
    });
  return { port, protocol: (match[2] ?? 'tcp').toUpperCase() as Protocol };
}

/** The workloads that an id or a pattern names; undefined without one. */
function select(
  workloads: readonly Workload[],
  pattern: string | undefined,
  flag: string,
): readonly Workload[] | undefined {
  if (pattern === undefined) return undefined;
  const found = workloads.filter(({ id }) => matchText(pattern, id));
  if (found.length > 0) return found;
  const near = nearest(
    pattern,
    workloads.map(({ id }) => id),
    3,
  );
  throw new Failure({
    code: 'SP252',
    exit: EXIT.usage,
    message: `${flag} ${safeText(pattern)}: there is no such workload`,
    hint:
      near.length === 0
        ? 'a workload is namespace/Kind/name, and * stands for anything: sallyport inventory lists them'
        : `did you mean ${near.map(safeText).join(' or ')}? (* stands for anything; sallyport inventory lists all)`,
  });
}

function isOneOf(workloads: readonly Workload[]): (id: string) => boolean {
  const ids = new Set(workloads.map(({ id }) => id));
  return (id) => ids.has(id);
}
