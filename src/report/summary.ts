import { round } from './input.ts';
import type { AssessmentReport, Basis, Figure, Sentence, SentencePart, Summary, Window } from './model.ts';
import { MAP_CODES } from './model.ts';
import { shellWord } from '../shared/pure/shell.ts';
import { counted, grouped } from './words.ts';

/** The report but for its summary and its comparison, which are made of it. */
export type ReportBody = Omit<AssessmentReport, 'summary' | 'comparison'>;

/** Follows a JSON pointer; undefined where it leads nowhere. */
export function atPointer(document: unknown, pointer: string): unknown {
  let at: unknown = document;
  for (const raw of pointer.split('/').slice(1)) {
    const key = raw.replaceAll('~1', '/').replaceAll('~0', '~');
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, key)) return undefined;
    at = (at as Readonly<Record<string, unknown>>)[key];
  }
  return at;
}

/** The number that a figure repeats, taken anew from the document. */
export function figureValue(document: unknown, figure: Pick<Figure, 'pointer' | 'measure'>): number | null {
  const found = atPointer(document, figure.pointer);
  if (figure.measure === 'length') return Array.isArray(found) ? found.length : null;
  return typeof found === 'number' ? found : null;
}

interface FigureSpec {
  readonly id: string;
  readonly label: string;
  readonly pointer: string;
  readonly measure?: Figure['measure'];
  readonly basis: Basis;
  readonly unit?: Figure['unit'];
  readonly from: 'configuration' | 'traffic' | 'simulation' | 'trail';
  readonly unknownBecause?: string;
}

function specs(body: ReportBody): readonly FigureSpec[] {
  const because = (index: number): string => body.surface.states[index]?.because ?? '';
  const last = body.surface.states.length - 1;
  return [
    { id: 'workloads', label: 'workloads', pointer: '/cluster/workloads', basis: 'counted', from: 'configuration' },
    {
      id: 'namespaces',
      label: 'namespaces with workloads',
      pointer: '/readiness/namespaces',
      measure: 'length',
      basis: 'counted',
      from: 'configuration',
    },
    {
      id: 'unrecognised',
      label: 'workloads that are not recognised',
      pointer: '/inventory/unrecognised',
      basis: 'counted',
      from: 'configuration',
    },
    { id: 'edges', label: 'edges on the map', pointer: '/map/totals/edges', basis: 'counted', from: 'traffic' },
    {
      id: 'observed',
      label: 'edges seen in traffic',
      pointer: '/map/totals/observed',
      basis: 'counted',
      from: 'traffic',
    },
    {
      id: 'declared',
      label: 'edges that configuration declares and nobody saw',
      pointer: '/map/totals/declared',
      basis: 'counted',
      from: 'configuration',
    },
    {
      id: 'unreviewed',
      label: 'edges that nobody has reviewed',
      pointer: '/map/totals/unreviewed',
      basis: 'counted',
      from: 'traffic',
    },
    { id: 'days', label: 'days observed', pointer: '/evidence/days', basis: 'counted', unit: 'days', from: 'traffic' },
    { id: 'records', label: 'records of traffic', pointer: '/evidence/records', basis: 'counted', from: 'traffic' },
    {
      id: 'unseen',
      label: 'workloads never seen in traffic',
      pointer: '/evidence/unseenWorkloads',
      measure: 'length',
      basis: 'counted',
      from: 'traffic',
    },
    {
      id: 'pairs',
      label: 'ordered pairs of workloads',
      pointer: '/surface/pairs',
      basis: 'counted',
      from: 'configuration',
    },
    {
      id: 'surface-now',
      label: 'pairs of workloads that can connect now',
      pointer: '/surface/states/0/reachable',
      basis: 'computed',
      from: 'simulation',
      unknownBecause: because(0),
    },
    {
      id: 'surface-end',
      label: 'pairs of workloads that could connect after the last phase that was simulated',
      pointer: `/surface/states/${lastCounted(body)}/reachable`,
      basis: 'computed',
      from: 'simulation',
      unknownBecause: because(last),
    },
    {
      id: 'surface-end-unknown',
      label: 'pairs of which that cannot be told',
      pointer: `/surface/states/${lastCounted(body)}/unknown`,
      basis: 'computed',
      from: 'simulation',
      unknownBecause: because(last),
    },
    {
      id: 'denied-now',
      label: 'edges that the policies of now deny',
      pointer: '/map/totals/denied',
      basis: 'computed',
      from: 'simulation',
    },
    {
      id: 'unjudged',
      label: 'edges that can’t be judged',
      pointer: '/map/totals/unknown',
      basis: 'computed',
      from: 'simulation',
    },
    {
      id: 'plaintext',
      label: 'callers (by workload and port) not surely protected by mTLS',
      pointer: '/plaintext/total',
      basis: 'computed',
      from: 'simulation',
    },
    {
      id: 'plaintext-solved',
      label: 'of them solved as soon as both ends are in the mesh',
      pointer: '/plaintext/solvedByJoining',
      basis: 'computed',
      from: 'simulation',
    },
    {
      id: 'plaintext-lasting',
      label: 'of them that keep STRICT from their destination',
      pointer: '/plaintext/lasting',
      basis: 'computed',
      from: 'simulation',
    },
    {
      id: 'plaintext-outside',
      label: 'of them that lead to workloads outside of the mesh',
      pointer: '/plaintext/outsideMesh',
      basis: 'computed',
      from: 'simulation',
    },
    {
      id: 'keys',
      label: 'long-lived credentials in use, by reference',
      pointer: '/identities/totals/keys',
      basis: 'counted',
      from: 'configuration',
    },
    {
      id: 'literal-keys',
      label: 'credentials written into manifests',
      pointer: '/identities/totals/literalKeys',
      basis: 'counted',
      from: 'configuration',
    },
    {
      id: 'default-accounts',
      label: 'workloads that run as a default account',
      pointer: '/identities/totals/workloadsOnDefault',
      basis: 'counted',
      from: 'configuration',
    },
    {
      id: 'shared-accounts',
      label: 'workloads that share an account',
      pointer: '/identities/totals/workloadsOnShared',
      basis: 'counted',
      from: 'configuration',
    },
    {
      id: 'entrances',
      label: 'ways in from outside',
      pointer: '/identities/entrances',
      measure: 'length',
      basis: 'counted',
      from: 'configuration',
    },
    {
      id: 'egress',
      label: 'destinations outside the cluster',
      pointer: '/egress/destinations',
      basis: 'counted',
      from: 'traffic',
    },
    {
      id: 'egress-unknown',
      label: 'of them unknown',
      pointer: `/egress/groups/${body.egress.groups.findIndex((one) => one.group === 'unknown')}/destinations`,
      measure: 'length',
      basis: 'counted',
      from: 'traffic',
    },
    {
      id: 'tenants',
      label: 'tenants',
      pointer: '/tenants/tenants',
      measure: 'length',
      basis: 'counted',
      from: 'configuration',
    },
    {
      id: 'leaks',
      label: 'pairs of tenants with traffic or a way between them',
      pointer: '/tenants/leaks',
      measure: 'length',
      basis: 'counted',
      from: 'traffic',
    },
    {
      id: 'data-to-control',
      label: 'edges from the data plane into the control plane',
      pointer: '/planes/dataToControl',
      measure: 'length',
      basis: 'counted',
      from: 'traffic',
    },
    { id: 'waves', label: 'waves', pointer: '/waves', measure: 'length', basis: 'computed', from: 'simulation' },
    {
      id: 'candidates',
      label: 'policies proposed',
      pointer: '/policies/candidates',
      measure: 'length',
      basis: 'computed',
      from: 'simulation',
    },
    { id: 'changes', label: 'changes in force', pointer: '/progress/totals/changes', basis: 'counted', from: 'trail' },
    { id: 'drift', label: 'fields that drifted', pointer: '/progress/totals/drift', basis: 'counted', from: 'trail' },
    ...(body.risk.rows.length === 0
      ? []
      : [
          {
            id: 'top-risk',
            label: 'score of the workload with the highest risk',
            pointer: '/risk/rows/0/score',
            basis: 'computed' as const,
            from: 'simulation' as const,
          },
        ]),
  ];
}

function lastCounted(body: ReportBody): number {
  const found = body.surface.states.findLastIndex((one) => one.reachable !== null);
  return Math.max(0, found);
}

function sourceOf(
  body: ReportBody,
  from: FigureSpec['from'],
): { readonly source: string; readonly window: Window | null; readonly notSeen: readonly string[] } {
  const { evidence, cluster } = body;
  const read = `${counted(cluster.objects, 'object')} of ${cluster.source === 'directory' ? 'the directory of manifests' : 'the cluster'}`;
  const unread = cluster.unread.map((kind) => `objects of ${kind} could not be read`);
  const traffic =
    evidence.sources.length === 0
      ? 'no record of traffic'
      : evidence.sources.map((one) => `${one.source}, ${counted(one.records, 'record')}`).join('; ');
  const missing = [
    ...(evidence.window === null ? ['no traffic is on record'] : []),
    ...(evidence.lost > 0 ? [`${counted(evidence.lost, 'record')} lost by the source`] : []),
    ...evidence.unattributed.map((one) => `${counted(one.count, 'record')} not attributed: ${one.reason}`),
    ...(evidence.unseenWorkloads.length > 0
      ? [`${counted(evidence.unseenWorkloads.length, 'workload')} never seen in traffic`]
      : []),
    ...evidence.sources.flatMap((one) =>
      one.sampledOneIn > 1 ? [`${one.source} sampled one in ${one.sampledOneIn}`] : [],
    ),
  ];
  switch (from) {
    case 'configuration':
      return { source: read, window: null, notSeen: unread };
    case 'traffic':
      return { source: traffic, window: evidence.window, notSeen: missing };
    case 'simulation':
      return {
        source: `simulated from ${read}, ${traffic}`,
        window: evidence.window,
        notSeen: [...unread, ...missing],
      };
    case 'trail':
      return { source: 'the record of runs and the audit trail of the state', window: null, notSeen: [] };
  }
}

/** A minute's reading, every number of it a figure with its source. */
export function buildSummary(body: ReportBody): Summary {
  const figures = specs(body).map((spec): Figure => {
    const value = figureValue(body, { pointer: spec.pointer, measure: spec.measure ?? 'value' });
    return {
      id: spec.id,
      label: spec.label,
      value,
      unit: spec.unit ?? '',
      basis: spec.basis,
      ...sourceOf(body, spec.from),
      pointer: spec.pointer,
      measure: spec.measure ?? 'value',
      unknownBecause: value === null ? (spec.unknownBecause ?? 'not computed') : null,
    };
  });
  const byId = new Map(figures.map((figure) => [figure.id, figure]));
  const writer = makeWriter(byId);
  const value = (id: string): number | null => byId.get(id)?.value ?? null;
  return {
    headline: headline(body, writer),
    sentences: sentences(body, writer, value),
    actions: actions(body),
    figures,
  };
}

type Part = string | readonly [id: string, singular?: string, many?: string];
type Writer = (id: string, tone: Sentence['tone'], section: string, parts: readonly Part[]) => Sentence;

function makeWriter(figures: ReadonlyMap<string, Figure>): Writer {
  return (id, tone, section, given) => {
    const parts = given.flatMap((part): readonly SentencePart[] => {
      if (typeof part === 'string') return [{ kind: 'text', text: part }];
      const [name, singular, many] = part;
      const figure = figures.get(name);
      const shown = figure?.value === null || figure === undefined ? 'an unknown number of' : grouped(figure.value);
      const noun = singular === undefined ? '' : ` ${figure?.value === 1 ? singular : (many ?? `${singular}s`)}`;
      return [
        { kind: 'figure', figure: name, text: shown },
        ...(noun === '' ? [] : [{ kind: 'text', text: noun } as const]),
      ];
    });
    return { id, tone, text: parts.map((part) => part.text).join(''), parts, section };
  };
}

function headline(body: ReportBody, write: Writer): Sentence {
  const names = body.readiness.namespaces.filter((one) => one.system === null);
  const done = names.filter((one) => one.phase === 'identity').length;
  const started = names.filter((one) => one.phase !== 'none').length;
  const where =
    names.length > 0 && done === names.length
      ? 'all of them through the last phase'
      : started === 0
        ? 'none of them under way yet'
        : 'some of them under way';
  return write('headline', started === 0 ? 'bad' : done === names.length ? 'good' : 'neutral', 'readiness', [
    ['workloads', 'workload'],
    ' in ',
    ['namespaces', 'namespace'],
    `, ${where}.`,
  ]);
}

function sentences(body: ReportBody, write: Writer, value: (id: string) => number | null): readonly Sentence[] {
  const out: Sentence[] = [];
  const add = (...given: Parameters<Writer>): number => out.push(write(...given));
  if (body.evidence.window === null)
    add('evidence', 'unknown', 'evidence', [
      'No traffic is on record, so who needs whom is known from configuration alone: ',
      ['declared', 'edge is', 'edges are'],
      ' declared. Nothing here says what may be closed.',
    ]);
  else
    add('evidence', 'neutral', 'evidence', [
      'This rests on ',
      ['records', 'record'],
      ' of traffic over ',
      ['days', 'day'],
      ', folded into ',
      ['observed', 'edge'],
      '; ',
      ['unseen', 'workload was', 'workloads were'],
      ' never seen in it.',
    ]);
  if (value('surface-now') === null)
    add('surface', 'unknown', 'surface', [
      `How many pairs of workloads can connect is not known: ${body.surface.states[0]?.because ?? ''}.`,
    ]);
  else {
    const end = body.surface.states[lastCounted(body)];
    add('surface', (value('surface-now') ?? 0) > (value('pairs') ?? 0) / 10 ? 'bad' : 'neutral', 'surface', [
      'Today ',
      ['surface-now'],
      ' of ',
      ['pairs', 'pair'],
      ' of workloads can connect',
      ...(end === undefined || end.state === 'now' || body.evidence.window === null
        ? ['.']
        : [
            `; after phase ${end.state} it would be `,
            ['surface-end'] as const,
            ...((value('surface-end-unknown') ?? 0) > 0
              ? [', and of ', ['surface-end-unknown'] as const, ' more it cannot be told.']
              : ['.']),
          ]),
    ]);
  }
  if ((value('unjudged') ?? 0) > 0)
    add('unjudged', 'unknown', 'map', [
      'Of the edges, ',
      ['unjudged'],
      ' cannot be judged under the policies of now; they count neither as allowed nor as denied.',
    ]);
  if ((value('plaintext') ?? 0) > 0 && body.plaintext.noMesh !== null)
    add('plaintext', 'bad', 'plaintext', [
      'Of the callers known, ',
      ['plaintext'],
      ` are not surely protected by mTLS (counted by caller, workload and port), and ${body.plaintext.noMesh}.`,
    ]);
  else if ((value('plaintext') ?? 0) > 0)
    add('plaintext', 'bad', 'plaintext', [
      'Of the callers known, ',
      ['plaintext'],
      ' are not surely protected by mTLS (counted by caller, workload and port): ',
      ['plaintext-solved'],
      ' are solved by joining the mesh, ',
      ['plaintext-lasting', 'needs', 'need'],
      ' a decision, ',
      ['plaintext-outside', 'leads', 'lead'],
      ' to workloads that stay outside of it.',
    ]);
  else if (body.map.totals.edges > 0)
    add('plaintext', 'good', 'plaintext', ['Every caller known speaks mTLS: ', ['plaintext'], ' are left.']);
  add('keys', (value('keys') ?? 0) > 0 ? 'bad' : 'good', 'identities', [
    ['keys', 'long-lived credential is', 'long-lived credentials are'],
    ' in use, ',
    ['literal-keys'],
    ' of them written into manifests; ',
    ['shared-accounts', 'workload shares', 'workloads share'],
    ' an account and ',
    ['default-accounts', 'runs', 'run'],
    ' as a default one.',
  ]);
  const open = body.identities.entrances.filter((one) => one.authentication === 'none-found').length;
  if ((value('entrances') ?? 0) > 0)
    add('entrances', open > 0 ? 'bad' : 'good', 'identities', [
      ['entrances', 'way leads', 'ways lead'],
      open === 0
        ? ' in from outside, and at each something asks who is calling.'
        : ' in from outside, and not everywhere was something found that asks who is calling.',
    ]);
  if ((value('egress') ?? 0) > 0)
    add('egress', (value('egress-unknown') ?? 0) > 0 ? 'bad' : 'neutral', 'egress', [
      'Workloads went to ',
      ['egress', 'destination'],
      ' outside the cluster, of which ',
      ['egress-unknown', 'is', 'are'],
      ' unknown.',
    ]);
  if ((value('tenants') ?? 0) > 1)
    add('tenants', (value('leaks') ?? 0) > 0 ? 'bad' : 'good', 'tenants', [
      'Between ',
      ['tenants', 'tenant'],
      ' there are ',
      ['leaks', 'pair'],
      ' with traffic or an open way from one to the other.',
    ]);
  if ((value('data-to-control') ?? 0) > 0)
    add('planes', 'bad', 'planes', [
      ['data-to-control', 'edge leads', 'edges lead'],
      ' from the data plane into the control plane.',
    ]);
  const top = body.risk.rows[0];
  if (top !== undefined)
    add('risk', 'neutral', 'risk', [`The highest risk is ${top.workload}, with `, ['top-risk'], ' of 100.']);
  if ((value('waves') ?? 0) > 0)
    add('waves', 'neutral', 'waves', [
      'The namespaces move in ',
      ['waves', 'wave'],
      ', with ',
      ['candidates', 'policy', 'policies'],
      ' proposed so far.',
    ]);
  if (body.progress.started)
    add('progress', (value('drift') ?? 0) > 0 ? 'bad' : 'good', 'progress', [
      ['changes', 'change is', 'changes are'],
      ' in force; ',
      ['drift', 'field has', 'fields have'],
      ' drifted since.',
    ]);
  return out;
}

const MOST_ACTIONS = 6;

function actions(body: ReportBody): Summary['actions'] {
  const out: Summary['actions'][number][] = [];
  if (body.evidence.window === null)
    out.push({
      text: 'Bring in a record of traffic: without it nothing can be closed.',
      commands: ['sallyport observe --help'],
      section: 'evidence',
    });
  if (body.cluster.cni.enforces === 'no')
    out.push({
      text: 'Switch on enforcement in the CNI: policies have no effect without it.',
      commands: [],
      section: 'residual',
    });
  const doubtful = review(body);
  if (doubtful !== undefined) out.push(doubtful);
  const first = body.waves[0]?.namespaces.find((name) =>
    body.readiness.namespaces.some((one) => one.namespace === name && one.next !== null),
  );
  const row = body.readiness.namespaces.find((one) => one.namespace === first);
  if (row !== undefined && row.command !== null)
    out.push({ text: `Begin with ${row.namespace}, the first of wave 1.`, commands: [row.command], section: 'waves' });
  const literal = body.identities.keys.find((one) => one.how === 'env-literal');
  if (literal !== undefined)
    out.push({
      text: `Take credentials out of manifests, ${literal.workload} (${literal.at}) for one, and rotate them.`,
      commands: [],
      section: 'identities',
    });
  const leak = body.tenants.leaks.find((one) => one.edges.length > 0);
  if (leak !== undefined)
    out.push({ text: `Decide whether ${leak.from} rightly calls ${leak.to}.`, commands: [], section: 'tenants' });
  if (body.boundaries.undeclared.length > 0)
    out.push({
      text: 'Declare the boundaries around the cluster (VPC, NAT, cloud IAM) in the configuration.',
      commands: [],
      section: 'boundaries',
    });
  return out.slice(0, MOST_ACTIONS);
}

/** Edges that wait for a person, and both ways to decide about those of the source that has most of them. */
function review({ readiness, map }: ReportBody): Summary['actions'][number] | undefined {
  const ids = new Set(
    readiness.namespaces.flatMap((one) =>
      one.phases.flatMap((phase) => phase.open.filter((gate) => gate.id === 'review').map((gate) => gate.subject)),
    ),
  );
  if (ids.size === 0) return undefined;
  const { id, src, dst, port, protocol } = map.edges;
  const bySource = new Map<number, number[]>();
  id.forEach((one, at) => {
    if (!ids.has(one)) return;
    const list = bySource.get(src[at] ?? -1);
    if (list === undefined) bySource.set(src[at] ?? -1, [at]);
    else list.push(at);
  });
  const [most] = [...bySource].sort((a, b) => b[1].length - a[1].length || a[0] - b[0]);
  const name = (node: number | undefined): string => map.nodes[node ?? -1]?.id ?? '';
  const [source, edges = []] = most ?? [];
  const edge = edges[0] ?? -1;
  const query =
    edges.length === 1
      ? `src=${name(source)},dst=${name(dst[edge])},port=${port[edge] ?? 0}/${MAP_CODES.protocol[protocol[edge] ?? 0] ?? 'TCP'}`
      : `src=${name(source)}`;
  // What a terminal obeys has no place in a command, and a comma or an equals sign would end the query's value.
  const isPlain = /^[\x20-\x7e]+$/.test(query) && !/[,=]/.test(`${name(source)}${name(dst[edge])}`);
  return {
    text:
      `Review ${counted(ids.size, 'doubtful edge')}${edges.length > 1 ? `, ${grouped(edges.length)} of them from ${name(source)}` : ''}: ` +
      'adopt what is rightly there, accept what may be cut.',
    commands: isPlain
      ? ['accept', 'adopt'].map((verb) => `sallyport ${verb} ${shellWord(query)} --reason "..."`)
      : ['sallyport flows'],
    section: 'readiness',
  };
}

/** `0.0312` as `3.1%`. */
export function percent(share: number | null): string {
  return share === null ? 'not known' : `${round(share * 100, 1)}%`;
}
