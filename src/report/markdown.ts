import { describeExpected } from '../readiness/tuning-in-force.ts';
import { safeText } from '../shared/pure/text.ts';
import type { AssessmentReport, Comparison } from './model.ts';
import { MAP_CODES } from './model.ts';
import { percent } from './summary.ts';
import { grouped, humanTimes, withoutEdges } from './words.ts';

// Marks that mean something inside of a line: code, emphasis, links, HTML, cells, deletions, entities, formulas and attributes.
const MARKS = /[\\`*_{}[\]<>|~&$]/g;

/**
 * Text from outside as Markdown that reads as that text: no emphasis, link, image, table cell, HTML or mention can begin in it, and it
 * stays on its line. A backslash before ASCII punctuation is that punctuation (CommonMark, backslash escapes).
 */
export function escapeMarkdown(text: string): string {
  return (
    safeText(text)
      .replace(MARKS, '\\$&')
      .replaceAll('@', '&#64;')
      // Addresses become links by themselves.
      .replaceAll('://', '\\://')
      .replace(/\bwww\./gi, (found) => `${found.slice(0, -1)}\\.`)
      // At the start of an item or a cell: headings, lists, rules, quotes.
      .replace(/^\s+/, ' ')
      .replace(/^( ?)([-+#=:])/, '$1\\$2')
      .replace(/^( ?\d+)([.)])(?=\s|$)/, '$1\\$2')
  );
}

/** Text from outside as a code span: nothing in it is read as Markdown, inside a table too. */
export function codeSpan(text: string): string {
  const safe = safeText(text);
  if (safe.trim() === '') return escapeMarkdown('(empty)');
  const longest = Math.max(0, ...[...safe.matchAll(/`+/g)].map(([run]) => run.length));
  const fence = '`'.repeat(longest + 1);
  const pad = safe.startsWith('`') || safe.endsWith('`') || (safe.startsWith(' ') && safe.endsWith(' ')) ? ' ' : '';
  // A table splits its cells before it looks for code, and takes the backslash away.
  return `${fence}${pad}${safe.replaceAll('|', '\\|')}${pad}${fence}`;
}

/** Text as a fenced block that nothing in it can end. */
export function codeBlock(text: string, language: string): string {
  const longest = Math.max(2, ...[...text.matchAll(/`+/g)].map(([run]) => run.length));
  const fence = '`'.repeat(longest + 1);
  const lines = text.trimEnd().split('\n').map(safeText);
  return `${fence}${language}\n${lines.join('\n')}\n${fence}\n`;
}

const esc = escapeMarkdown;
const code = codeSpan;

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  if (rows.length === 0) return '_None._\n';
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => (cell === '' ? ' ' : cell)).join(' | ')} |\n`;
  return line(head) + line(head.map(() => '---')) + rows.map(line).join('');
}

function list(items: readonly string[]): string {
  return items.length === 0 ? '_None._\n' : items.map((item) => `- ${item}\n`).join('');
}

const many = (texts: readonly string[], most = 20): string =>
  texts.slice(0, most).map(code).join(', ') + (texts.length > most ? ` and ${texts.length - most} more` : '');

/** To the second, where the order of things counts. */
const second = (at: string): string => at.replace(/T(\d\d:\d\d:\d\d)(?:\.\d+)?Z$/, ' $1 UTC');
const time = (at: string | null): string => (at === null ? 'not known' : humanTimes(at));

/** The whole report as Markdown (CommonMark with tables): the same content as the other two. */
export function renderMarkdown(report: AssessmentReport): string {
  const edge = edgeNames(report);
  const parts = [
    head(report),
    report.comparison === null ? '' : comparison(report.comparison),
    evidence(report),
    inventory(report),
    flows(report),
    boundaries(report, edge),
    planes(report, edge),
    tenants(report, edge),
    egress(report),
    identities(report),
    risk(report),
    readiness(report),
    plaintext(report, edge),
    policies(report),
    waves(report),
    surface(report),
    residual(report),
    latency(report),
    standards(report),
    progress(report),
  ];
  return parts.filter((part) => part !== '').join('\n');
}

function edgeNames({ map }: AssessmentReport): (edge: number) => string {
  return (edge) => {
    const [src, dst] = [map.nodes[map.edges.src[edge] ?? -1]?.id, map.nodes[map.edges.dst[edge] ?? -1]?.id];
    if (src === undefined || dst === undefined) return code('not on the map');
    const [port, end] = [map.edges.port[edge] ?? 0, map.edges.endPort[edge] ?? 0];
    const protocol = MAP_CODES.protocol[map.edges.protocol[edge] ?? 0] ?? 'TCP';
    return code(`${src} -> ${dst} ${end === 0 ? port : `${port}-${end}`}/${protocol}`);
  };
}

function head({ summary, cluster, at, version }: AssessmentReport): string {
  const figures = summary.figures.map((one) => [
    code(one.id),
    esc(one.label),
    one.value === null
      ? `not known: ${esc(one.unknownBecause ?? '')}`
      : `${grouped(one.value)}${one.unit === '' ? '' : ` ${one.unit}`}`,
    one.basis,
    esc(one.source),
    one.window === null ? 'as read' : `${time(one.window.from)} to ${time(one.window.to)}`,
    one.notSeen.length === 0 ? 'nothing known to be missing' : esc(one.notSeen.join('; ')),
    code(one.pointer),
  ]);
  return `# Assessment for zero trust

${code(cluster.description)} at ${time(at)}, by sallyport ${esc(version)}.

**${esc(summary.headline.text)}**

${list(summary.sentences.map((one) => esc(one.text)))}
## What to do first

${list(summary.actions.map((one) => `${esc(one.text)}${one.commands.length === 0 ? '' : ` ${one.commands.map(code).join(' or ')}`}`))}
## The cluster

${table(
  ['fact', 'value'],
  [
    ['source', cluster.source],
    ['CNI', `${code(cluster.cni.name)}, enforces policies: ${cluster.cni.enforces} (${esc(cluster.cni.because)})`],
    [
      'mesh',
      `${cluster.mesh.kind}${cluster.mesh.version === null ? '' : ` ${code(cluster.mesh.version)}`}, mode ${cluster.mesh.mode} (${esc(cluster.mesh.because)})`,
    ],
    ['Kubernetes', cluster.kubernetesVersion === null ? 'not known' : code(cluster.kubernetesVersion)],
    ['objects read', grouped(cluster.objects)],
    [
      'namespaces, workloads, Services, nodes',
      `${grouped(cluster.namespaces)}, ${grouped(cluster.workloads)}, ${grouped(cluster.services)}, ${grouped(cluster.nodes)}`,
    ],
    ['not read', cluster.unread.length === 0 ? 'nothing known to be missing' : many(cluster.unread)],
  ],
)}
## Figures and where they come from

${table(['figure', 'what', 'value', 'basis', 'source', 'window', 'not seen', 'data'], figures)}`;
}

function evidence({ evidence: section }: AssessmentReport): string {
  return `## Evidence and its limits

${section.window === null ? 'No traffic is on record.' : `${time(section.window.from)} to ${time(section.window.to)}: ${grouped(section.hours ?? 0)} hours, ${grouped(section.days)} days with records; ${grouped(section.records)} records, ${grouped(section.lost)} lost (${percent(section.lostShare)}).`}

${table(
  ['source', 'first', 'last', 'records', 'lost', 'bad', 'no connection', 'sampled one in'],
  section.sources.map((one) => [
    code(one.source),
    time(one.first),
    time(one.last),
    grouped(one.records),
    grouped(one.lost),
    grouped(one.bad),
    grouped(one.ignored),
    grouped(one.sampledOneIn),
  ]),
)}
### Limits

${list(section.limits.map(esc))}
### Not attributed

${table(
  ['reason', 'records'],
  section.unattributed.map((one) => [esc(one.reason), grouped(one.count)]),
)}
### Coverage

The upper bound of the share of edges that exist and were not seen.

${table(
  ['namespace', 'direction', 'edges seen', 'unseen, at most', 'share, at most', 'workloads with too few days or runs'],
  section.coverage.map((one) => [
    code(one.namespace),
    one.direction,
    grouped(one.observed),
    grouped(one.unseenUpper),
    percent(one.shareUpper),
    one.tooFew.length === 0 ? 'none' : many(one.tooFew),
  ]),
)}
### Schedules

${table(
  ['workload', 'schedule', 'succeeded in the window', 'facts', 'what to do'],
  section.schedules.map((one) => [
    code(one.workload),
    code(one.cron),
    one.answer,
    esc(humanTimes(one.facts.join('; '))),
    one.fix === '' ? '' : code(one.fix),
  ]),
)}
### Workloads never seen in traffic

${list(section.unseenWorkloads.map(code))}`;
}

function inventory({ inventory: section }: AssessmentReport): string {
  const groups = (rows: AssessmentReport['inventory']['byStage'], what: string): string =>
    table(
      [what, 'workloads', 'namespaces'],
      rows.map((one) => [esc(one.name.replaceAll('|', ' or ')), grouped(one.workloads), many(one.namespaces, 10)]),
    );
  return `## Inventory

${groups(section.byStage, 'stage')}
${groups(section.byPlane, 'plane')}
${groups(section.bySensitivity, 'handles')}
### Workloads

${table(
  ['workload', 'component', 'stage', 'plane', 'handles', 'sure', 'why', 'mesh', 'accounts', 'schedule', 'written by'],
  section.workloads.map((one) => [
    code(one.id),
    esc(one.component),
    esc(one.stage),
    esc(one.plane),
    esc(one.sensitivity.join(', ')),
    one.confidence,
    esc(one.why.join('; ')),
    one.mesh,
    many(one.serviceAccounts),
    one.schedule === null ? '' : code(one.schedule),
    one.manager === null ? '' : code(one.manager),
  ]),
)}
### Findings

${table(
  ['code', 'severity', 'what', 'count', 'examples'],
  section.findings.map((one) => [
    one.code,
    one.severity,
    esc(one.title),
    grouped(one.count),
    one.examples.map((example) => `${code(example.where ?? example.subject)} ${esc(example.message)}`).join('; '),
  ]),
)}`;
}

function flows({ map, policies: section }: AssessmentReport): string {
  const { edges, totals } = map;
  const candidate = (index: number | undefined): string => {
    const found = section.candidates[index ?? -1];
    return found === undefined ? '' : code(found.name);
  };
  const node = (index: number | undefined): string => code(map.nodes[index ?? -1]?.id ?? '');
  const day = (seconds: number | undefined): string =>
    seconds === undefined || seconds === 0 ? '' : time(new Date(seconds * 1000).toISOString());
  const rows = edges.id.map((id, at) => [
    id,
    node(edges.src[at]),
    node(edges.dst[at]),
    `${edges.endPort[at] === 0 ? (edges.port[at] ?? 0) : `${edges.port[at] ?? 0}-${edges.endPort[at] ?? 0}`}/${MAP_CODES.protocol[edges.protocol[at] ?? 0] ?? ''}`,
    (edges.l7[at] ?? -1) < 0 ? '' : code(map.operations[edges.l7[at] ?? -1] ?? ''),
    MAP_CODES.mtls[edges.mtls[at] ?? 3] ?? '',
    MAP_CODES.verdict[edges.verdict[at] ?? 2] ?? '',
    esc(map.reasons[edges.decides[at] ?? -1] ?? ''),
    `${grouped(edges.count[at] ?? 0)} on ${edges.days[at] ?? 0} days`,
    day(edges.first[at]),
    day(edges.last[at]),
    esc(map.sourceSets[edges.sources[at] ?? -1] ?? ''),
    MAP_CODES.review[edges.review[at] ?? 0] ?? '',
    [
      candidate(edges.ingressCandidate[at]),
      candidate(edges.egressCandidate[at]),
      candidate(edges.authorizationCandidate[at]),
    ]
      .filter((one) => one !== '')
      .join(', '),
  ]);
  return `## Data flows

${grouped(totals.edges)} edges: ${grouped(totals.observed)} observed with ${grouped(totals.connections)} connections, ${grouped(totals.declared)} declared alone. mTLS ${grouped(totals.mtls)}, plaintext ${grouped(totals.plaintext)}, not known ${grouped(totals.mtlsUnknown)}. Under the policies of now ${grouped(totals.allowed)} allowed, ${grouped(totals.denied)} denied, ${grouped(totals.unknown)} not to be judged. ${grouped(totals.unreviewed)} unreviewed, ${grouped(totals.toBeCut)} to be cut.

${table(['edge', 'from', 'to', 'port', 'operation', 'mTLS seen', 'now', 'what decides', 'connections', 'first', 'last', 'sources', 'review', 'allowed by candidates'], rows)}`;
}

function boundaries({ boundaries: section }: AssessmentReport, edge: (edge: number) => string): string {
  return `## Trust boundaries

${table(
  ['boundary', 'kind', 'by', 'because', 'workloads', 'scope'],
  section.boundaries.map((one) => [
    code(one.name),
    one.kind,
    one.basis,
    esc(one.because),
    one.workloads === null ? '' : grouped(one.workloads),
    many(one.scope),
  ]),
)}
### Crossings

${table(
  ['kind', 'from', 'to', 'edges', 'connections', 'with mTLS', 'decided by no policy', 'leads to', 'such as'],
  section.crossings.map((one) => [
    one.kind,
    code(one.from),
    code(one.to),
    grouped(one.edges.length),
    grouped(one.connections),
    grouped(one.mtls),
    grouped(one.open),
    esc(one.sensitivity.join(', ')),
    one.edges.slice(0, 3).map(edge).join(', '),
  ]),
)}
### Not declared

${list(section.undeclared.map(esc))}`;
}

function planes({ planes: section }: AssessmentReport, edge: (edge: number) => string): string {
  return `## Control plane and data plane

${table(
  ['from', 'to', 'edges', 'connections'],
  section.matrix.map((one) => [esc(one.from), esc(one.to), grouped(one.edges), grouped(one.connections)]),
)}
### From the data plane into the control plane

${list(section.dataToControl.map(edge))}
### Callers of the API server

${table(
  ['workload', 'plane', 'edges'],
  section.apiServerCallers.map((one) => [code(one.workload), esc(one.plane), grouped(one.edges.length)]),
)}`;
}

function tenants({ tenants: section }: AssessmentReport, edge: (edge: number) => string): string {
  return `## Tenants

${esc(section.because)}.

${table(
  ['tenant', 'namespaces', 'workloads', 'by', 'because'],
  section.tenants.map((one) => [
    code(one.name),
    many(one.namespaces),
    grouped(one.workloads),
    one.basis,
    esc(one.because.join('; ')),
  ]),
)}
### Leaks

${table(
  ['from', 'to', 'edges on record', 'pairs that could connect', 'of', 'such as'],
  section.leaks.map((one) => [
    code(one.from),
    code(one.to),
    grouped(one.edges.length),
    one.reachablePairs === null ? 'not counted' : grouped(one.reachablePairs),
    grouped(one.pairs),
    one.edges.slice(0, 5).map(edge).join(', '),
  ]),
)}
Of no known tenant: ${section.unassigned.length === 0 ? 'none' : many(section.unassigned)}. Shared platform: ${section.shared.length === 0 ? 'none' : many(section.shared)}.
`;
}

function egress({ egress: section }: AssessmentReport): string {
  const rows = section.groups.flatMap((group) =>
    group.destinations.map((one) => [
      esc(group.title),
      code(one.name),
      esc(one.because),
      one.boundary === null ? '' : code(one.boundary),
      many(one.workloads, 5),
      many(one.ports, 5),
      grouped(one.connections),
    ]),
  );
  return `## Egress

${grouped(section.destinations)} destinations outside the cluster.${section.unrestricted === null ? '' : ` ${grouped(section.unrestricted)} workloads may go anywhere as the policies now stand.`}

${table(['group', 'destination', 'because', 'boundary', 'from', 'ports', 'connections'], rows)}
### Registries of images

Nodes pull images, not pods: no policy on pods sees it. By the images that pod specs name.

${table(
  ['registry', 'boundary', 'images', 'workloads'],
  section.registries.map((one) => [
    code(one.name),
    one.boundary === null ? '' : code(one.boundary),
    grouped(one.images),
    many(one.workloads, 5),
  ]),
)}`;
}

function identities({ identities: section }: AssessmentReport): string {
  const { totals } = section;
  return `## Identities

${grouped(totals.accounts)} accounts in use; ${grouped(totals.workloadsOnDefault)} workloads on a default account, ${grouped(totals.workloadsOnShared)} on a shared one; ${grouped(totals.cloudBound)} bound to a cloud identity; ${grouped(totals.powerful)} with great rights; ${grouped(totals.keys)} long-lived credentials by reference, ${grouped(totals.literalKeys)} of them literals.

### Accounts

${table(
  ['account', 'workloads', 'default', 'shared', 'token in pods', 'roles', 'great rights', 'cloud'],
  section.accounts.map((one) => [
    code(`${one.namespace}/${one.name}`),
    many(one.workloads, 5),
    one.isDefault ? 'yes' : '',
    one.shared ? 'yes' : '',
    one.automount,
    many(one.roles, 5),
    esc(one.powerful.join('; ')),
    one.cloud.map((cloud) => `${cloud.provider} ${code(cloud.identity)} (${code(cloud.annotation)})`).join(', '),
  ]),
)}
### Long-lived credentials, by reference

${table(
  ['workload', 'how', 'at', 'reference', 'sort', 'because', 'what to do'],
  section.keys.map((one) => [
    code(one.workload),
    one.how,
    code(one.at),
    one.reference === null ? 'a literal' : code(one.reference),
    one.sort,
    esc(one.because),
    esc(one.fix),
  ]),
)}
### Ways in, and who asks who is calling

${table(
  ['entrance', 'hosts', 'TLS', 'leads to', 'authentication', 'because'],
  section.entrances.map((one) => [
    code(one.id),
    many(one.hosts),
    one.tls,
    many(one.leadsTo, 5),
    one.authentication,
    esc(one.because.join('; ')),
  ]),
)}
### Tokens

${table(
  ['object', 'issuers', 'selects', 'a token is asked for'],
  section.jwt.map((one) => [code(one.object), many(one.issuers), many(one.selects, 5), one.required]),
)}
### OAuth 2 clients

${table(
  ['workload', 'kind', 'issuer', 'references'],
  section.oauthClients.map((one) => [
    code(one.subject),
    esc(one.kind),
    one.issuer === null ? 'not known' : code(one.issuer),
    many(one.references),
  ]),
)}
${list(section.limits.map(esc))}`;
}

function risk({ risk: section }: AssessmentReport): string {
  return `## Risk

${esc(section.formula)}

${table(
  ['factor', 'weight', 'what', 'rule'],
  section.factors.map((one) => [one.id, grouped(one.weight), esc(one.title), esc(one.rule)]),
)}
${table(
  ['rank', 'workload', 'score', ...section.factors.map((one) => one.id)],
  section.rows.map((row) => [
    String(row.rank),
    code(row.workload),
    grouped(row.score),
    ...row.values.map((one) => `${one.value === null ? 'not known' : one.value}: ${one.points} (${esc(one.because)})`),
  ]),
)}`;
}

function readiness({ readiness: section }: AssessmentReport): string {
  const rows = section.namespaces.map((one) => [
    code(one.namespace),
    one.phase,
    one.wave === null ? '' : grouped(one.wave),
    grouped(one.workloads),
    grouped(one.edges),
    `${one.isolatedIngress} in, ${one.isolatedEgress} out`,
    grouped(one.inMesh),
    ...one.phases.map((phase) => phase.state),
  ]);
  const details = section.namespaces.flatMap((one) => {
    const phases = one.phases.filter((phase) => phase.open.length + phase.denied.length + phase.unknown.length > 0);
    if (phases.length === 0) return [];
    return [
      `### ${code(one.namespace)}\n\n${one.system === null ? '' : `Goes last: ${esc(one.system)}.\n\n`}${phases
        .map(
          (phase) =>
            `Phase ${phase.phase}: ${phase.state}, ${phase.met} gates met (${esc(phase.because)}).\n\n${table(
              ['gate', 'answer', 'subject', 'facts', 'what to do'],
              [
                ...phase.open.map((gate) => [
                  gate.id,
                  gate.answer,
                  code(gate.subject),
                  esc(humanTimes(gate.facts.join('; '))),
                  gate.fix === '' ? '' : code(gate.fix),
                ]),
                ...phase.denied.map((edge) => [
                  'denies-observed',
                  'no',
                  code(edge.text),
                  esc(edge.reason),
                  'adopt and observe, or accept it',
                ]),
                ...phase.unknown.map((edge) => [
                  'unknown',
                  'unknown',
                  code(edge.text),
                  esc(edge.reason),
                  'waive it once it is understood',
                ]),
              ],
            )}`,
        )
        .join('\n')}`,
    ];
  });
  const names = section.namespaces[0]?.phases.map((phase) => phase.phase) ?? [];
  return `## Readiness

${list(section.method.map(esc))}
${table(['namespace', 'phase', 'wave', 'workloads', 'edges', 'isolated', 'in the mesh', ...names], rows)}
${details.join('\n')}`;
}

function plaintext({ plaintext: section }: AssessmentReport, edge: (edge: number) => string): string {
  return `## Who speaks plaintext

${grouped(section.total)} callers, counted once a workload and port, are not surely protected by mTLS; ${grouped(section.solvedByJoining)} solved by joining the mesh at both ends, ${grouped(section.lasting)} keep STRICT from their destination, ${grouped(section.outsideMesh)} lead to workloads outside of the mesh.${section.noMesh === null ? '' : ` ${esc(section.noMesh)}.`}

${table(
  ['from', 'to', 'port', 'mTLS now', 'once all have joined', 'blocks STRICT', 'because', 'what to do'],
  section.rows.map((one) => [
    code(one.src),
    code(one.dst),
    String(one.port),
    one.now,
    one.afterJoin,
    one.blocksStrict ? 'yes' : '',
    esc(one.because),
    one.fixes.map(code).join(' or '),
  ]),
)}
### ${section.noMesh === null ? 'Solved by joining' : 'Waiting for a mesh'}

${list([...section.solved, ...section.waiting].map(edge))}`;
}

function policies({ policies: section, map }: AssessmentReport): string {
  const id = (edge: number): string => `edge ${map.edges.id[edge] ?? ''}`;
  const each = section.candidates.map(
    (one) => `### ${code(one.name)}

${one.operation} for ${code(one.workload)} (${one.purpose})

${list(one.rules.map((rule) => `${code(rule.peer)}${rule.note === null ? '' : `: ${esc(rule.note)}`}${rule.edges.length === 0 ? '' : `; ${rule.edges.slice(0, 5).map(id).join(', ')}${rule.edges.length > 5 ? ` and ${rule.edges.length - 5} more` : ''}`}`))}
${one.yaml === '' ? '' : codeBlock(one.yaml, 'yaml')}${one.diff.length === 0 ? '' : `\n${codeBlock(one.diff.join('\n'), 'diff')}`}`,
  );
  return `## Policies

${table(
  ['kind', 'objects today', 'judged'],
  section.present.map((one) => [esc(one.kind), grouped(one.count), one.judged]),
)}
### What stands in the way of exact policies

${table(
  ['subject', 'why', 'what to do'],
  section.problems.map((one) => [code(one.subject), esc(one.text), esc(one.fix)]),
)}
${each.join('\n')}`;
}

function waves({ waves: section }: AssessmentReport): string {
  return `## Order of waves

${section.map((one) => `${one.wave}. ${one.namespaces.map(code).join(', ')}\n${one.why.map((text) => `   - ${esc(text)}\n`).join('')}`).join('')}`;
}

function surface({ surface: section }: AssessmentReport): string {
  return `## Attack surface

${grouped(section.pairs)} pairs: ${esc(section.method)}.

${table(
  ['state', 'can connect', 'share', 'not to be judged', 'because'],
  section.states.map((one) => [
    one.state,
    one.reachable === null ? 'not known' : grouped(one.reachable),
    percent(one.share),
    one.unknown === null ? 'not known' : grouped(one.unknown),
    esc(one.because),
  ]),
)}
### Most exposed now

${table(
  ['workload', 'reachable from workloads', 'in namespaces'],
  section.mostExposed.map((one) => [code(one.workload), grouped(one.from), grouped(one.fromNamespaces)]),
)}`;
}

function residual({ residual: section }: AssessmentReport): string {
  return `## What stays unprotected whatever is done

${section.map((one) => `### ${esc(one.title)}\n\n${esc(one.text)}\n\n${one.subjects.length === 0 ? '' : `${many(one.subjects, 50)}\n\n`}${one.mitigation === '' ? '' : `What helps: ${esc(one.mitigation)}.\n`}`).join('\n')}`;
}

function latency({ latency: section }: AssessmentReport): string {
  const amount = (one: (typeof section.controls)[number]): string => {
    const unit = one.unit === 'percent' ? '%' : ' ms';
    if (one.low !== null && one.high !== null) return `${one.low} to ${one.high}${unit}`;
    return one.p50 === null ? 'not known' : `${one.p50}${unit}${one.p99 === null ? '' : ` (p99 ${one.p99}${unit})`}`;
  };
  return `## Latency budget

${table(
  ['control', 'adds', 'basis', 'samples', 'source', 'measured'],
  section.controls.map((one) => [
    esc(one.title),
    amount(one),
    one.basis,
    one.n === null ? '' : grouped(one.n),
    esc(one.source),
    one.measuredAt === null ? '' : time(one.measuredAt),
  ]),
)}
${table(
  ['path', 'hops', 'added by phase', 'handshakes, once'],
  section.paths.map((one) => [
    code(one.name),
    one.hops.map(code).join(' then '),
    one.added.map((step) => `${step.phase} ${step.ms} ms (${step.basis})`).join(', '),
    `${one.handshakeMs.low} to ${one.handshakeMs.high} ms (${one.handshakeMs.basis})`,
  ]),
)}
${list(section.notes.map(esc))}`;
}

function standards({ standards: section }: AssessmentReport): string {
  const rows = (all: AssessmentReport['standards']['nist']): string =>
    table(
      ['number', 'what', 'state', 'because', 'phase'],
      all.map((one) => [esc(one.id), esc(one.title), one.state, esc(one.because.join('; ')), esc(one.answeredBy)]),
    );
  return `## Standards

${esc(section.note)}

### NIST SP 800-207

${rows(section.nist)}
### CIS Kubernetes Benchmark

${rows(section.cis)}`;
}

function progress({ progress: section }: AssessmentReport): string {
  const { totals } = section;
  return `## Progress

${section.started ? `${grouped(totals.runs)} runs, ${grouped(totals.phasesDone)} phases done, ${grouped(totals.changes)} changes in force, ${grouped(totals.rollbacks)} rollbacks, ${grouped(totals.undone)} undone, ${grouped(totals.refused)} namespaces held by gates at their last attempt; ${grouped(totals.adoptions)} adoptions, ${grouped(totals.acceptances)} acceptances, ${grouped(totals.waivers)} waivers; ${grouped(totals.drift)} fields drifted; ${grouped(totals.violationsPrevented)} connections prevented.` : 'Nothing has been moved yet.'}

${table(
  ['phase', 'namespaces'],
  section.phases.map((one) => [one.phase, one.namespaces.length === 0 ? 'none' : many(one.namespaces, 50)]),
)}
${table(
  ['run', 'kind', 'namespace', 'from', 'to', 'started', 'ended', 'outcome', 'by', 'changes'],
  section.runs.map((one) => [
    code(one.run),
    one.kind,
    code(one.namespace),
    one.from,
    one.to,
    time(one.startedAt),
    one.endedAt === null ? 'open' : time(one.endedAt),
    esc(one.outcome),
    code(one.by),
    grouped(one.changes),
  ]),
)}
${section.grants.length === 0 ? '' : grants(section.grants)}${section.tuning.length === 0 ? '' : tuning(section.tuning)}### Decisions

${table(
  ['at', 'by', 'what', 'query', 'reason', 'edges'],
  section.decisions.map((one) => [
    time(one.at),
    code(one.by),
    one.action,
    code(one.query),
    esc(one.reason),
    grouped(one.edges),
  ]),
)}
### Drift

${table(
  ['object', 'field', 'step'],
  section.drift.map((one) => [code(one.object), code(one.path), code(one.step)]),
)}
### Audit trail

${section.trailLength > section.trail.length ? `The newest ${grouped(section.trail.length)} of ${grouped(section.trailLength)} entries.\n\n` : ''}${table(
    ['at', 'who', 'what', 'object', 'reason', 'run'],
    section.trail.map((one) => [
      second(one.at),
      code(one.who),
      esc(one.what),
      code(withoutEdges(one.object)),
      esc(one.reason),
      one.run === null ? '' : code(one.run),
    ]),
  )}`;
}

function grants(list: AssessmentReport['progress']['grants']): string {
  return `### Access that ends by itself

${table(
  ['grant', 'kind', 'what', 'reason', 'since', 'until', 'state'],
  list.map((one) => [
    code(one.id),
    one.kind,
    esc(one.what),
    esc(one.reason),
    esc(second(one.since)),
    esc(second(one.until)),
    one.state,
  ]),
)}
`;
}

function tuning(list: AssessmentReport['progress']['tuning']): string {
  return `### Tuning in force

${table(
  ['namespace', 'proposal', 'since', 'expected'],
  list.map((one) => [
    code(one.namespace),
    code(one.proposal),
    esc(second(one.since)),
    esc(describeExpected(one.expected ?? undefined)),
  ]),
)}
`;
}

const DONE: Readonly<Record<Comparison['done'][number]['id'], string>> = {
  runs: 'runs',
  phasesDone: 'phases done',
  changes: 'changes in force',
  acceptances: 'decisions to cut edges',
  waivers: 'gates waived',
  adoptions: 'decisions that edges are legitimate',
  rollbacks: 'rollbacks',
  drift: 'fields that drifted',
  refused: 'namespaces held by a gate at their last attempt',
  undone: 'runs undone',
  violationsPrevented: 'connections prevented',
};

function comparison(section: Comparison): string {
  return `## Compared with ${time(section.before.at)}

${code(section.before.description)}

${section.notes.length === 0 ? '' : `${list(section.notes.map(esc))}\n`}${table(
    ['figure', 'before', 'now', 'better'],
    section.figures.map((one) => [
      esc(one.label),
      one.before === null ? 'not known' : grouped(one.before),
      one.after === null ? 'not known' : grouped(one.after),
      one.better,
    ]),
  )}
${table(
  ['what has been done', 'before', 'now'],
  section.done.map((one) => [DONE[one.id], grouped(one.before), grouped(one.after)]),
)}
${
  section.runs.length === 0
    ? ''
    : `Runs since:\n\n${table(
        ['run', 'kind', 'namespace', 'from', 'to', 'started', 'outcome', 'by', 'changes'],
        section.runs.map((one) => [
          code(one.run),
          one.kind,
          code(one.namespace),
          one.from,
          one.to,
          time(one.startedAt),
          esc(one.outcome),
          code(one.by),
          grouped(one.changes),
        ]),
      )}\n`
}${table(
    ['attack surface', 'before', 'now'],
    section.surface.map((one) => [
      one.state,
      one.before === null ? 'not known' : grouped(one.before),
      one.after === null ? 'not known' : grouped(one.after),
    ]),
  )}
${table(
  ['namespace', 'phase before', 'phase now'],
  section.phases.map((one) => [code(one.namespace), one.before, one.after]),
)}
${table(
  ['workload', 'risk before', 'risk now'],
  section.risk.map((one) => [code(one.workload), grouped(one.before), grouped(one.after)]),
)}
- Workloads added: ${section.workloads.added.length === 0 ? 'none' : many(section.workloads.added, 50)}
- Workloads removed: ${section.workloads.removed.length === 0 ? 'none' : many(section.workloads.removed, 50)}
- Edges added: ${grouped(section.edges.added)}${section.edges.addedTexts.length === 0 ? '' : `: ${many(section.edges.addedTexts, 50)}`}
- Edges removed: ${grouped(section.edges.removed)}${section.edges.removedTexts.length === 0 ? '' : `: ${many(section.edges.removedTexts, 50)}`}
- Candidates added: ${section.candidates.added.length === 0 ? 'none' : many(section.candidates.added, 50)}
- Candidates removed: ${section.candidates.removed.length === 0 ? 'none' : many(section.candidates.removed, 50)}
`;
}
