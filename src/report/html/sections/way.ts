// The way to zero trust: what each namespace still lacks, who speaks plaintext, the policies, what they cost, and how far it has got.
import { describeExpected } from '../../../readiness/tuning-in-force.ts';
import type { CandidateRow, GateView, NamespaceRow, PhaseReadiness, ProgressSection } from '../../model.ts';
import { withoutEdges } from '../../words.ts';
import { barList, range } from '../charts.ts';
import { html } from '../html.ts';
import type { Html } from '../html.ts';
import { advice, bullets, command, formatInstant, formatNumber, name, prose, section, tag } from '../page.ts';
import type { Page, Tone } from '../page.ts';
import { dataTable, plainTable } from '../table.ts';
import { runsTable } from '../runs-table.ts';
import type { Cell } from '../table.ts';

const STATES: Readonly<Record<PhaseReadiness['state'], readonly [Tone, string]>> = {
  reached: ['good', 'reached'],
  ready: ['good', 'ready'],
  blocked: ['bad', 'blocked'],
  unknown: ['dim', 'not known'],
  'not-judged': ['plain', 'not judged'],
};

/** Namespaces whose blockers are written out in the page; those of the others open from the table. */
const WRITTEN_NAMESPACES = 30;
const WRITTEN_GATES = 25;

function stateCell(phase: PhaseReadiness): Cell {
  const [tone, word] = STATES[phase.state];
  const open = phase.open.length;
  return {
    t: tone,
    s: (phase.state === 'blocked' || phase.state === 'unknown') && open > 0 ? `${word} · ${open}` : word,
  };
}

export function gate(one: GateView): Html {
  const tone: Tone = one.answer === 'yes' ? 'good' : one.answer === 'no' ? 'bad' : 'dim';
  return html`<li class="gate">
    ${tag(tone, one.answer === 'unknown' ? 'not known' : one.answer)} <strong>${name(one.id)}</strong>
    <span class="soft">${name(one.subject)}</span>${bullets(one.facts)}${
      one.fix === ''
        ? undefined
        : html`<p class="small"><strong>Fix:</strong></p>
            ${advice(one.fix)}`
    }${one.waived === null ? undefined : html`<p class="small">Waived: ${prose(one.waived)}</p>`}
  </li>`;
}

function written(page: Page, row: NamespaceRow): Html {
  const { say } = page;
  const blocked = row.phases.filter(
    (phase) => phase.open.length > 0 || phase.denied.length > 0 || phase.unknown.length > 0,
  );
  return html`<details class="fold ns" data-ns="${row.namespace}">
    <summary>
      <span class="mono">${name(row.namespace)}</span>
      ${tag('plain', row.phase === 'none' ? 'not begun' : `in ${row.phase}`)}
      ${row.phases.map((phase) => {
        const [tone, word] = STATES[phase.state];
        return phase.state === 'blocked' || phase.state === 'unknown'
          ? tag(tone, `${phase.phase}: ${word}`)
          : undefined;
      })}
    </summary>
    <div class="in">
      ${row.system === null ? undefined : html`<p class="note warn">${say('readiness.system', { why: prose(row.system) })}</p>`}${row.command === null ? undefined : command(row.command)}${blocked.map(
        (phase) =>
          html`<div class="phase-open">
            <h4>${say(`phase.${phase.phase}`)}</h4>
            ${phase.because === '' ? undefined : html`<p class="small soft">${prose(phase.because)}</p>`}
            <ul class="gates">
              ${phase.open.slice(0, WRITTEN_GATES).map(gate)}
            </ul>
            ${phase.open.length > WRITTEN_GATES ? html`<p class="small soft">${say('readiness.more-gates', { count: formatNumber(phase.open.length - WRITTEN_GATES) })}</p>` : undefined}${[
              ['readiness.denied', phase.denied] as const,
              ['readiness.unknown', phase.unknown] as const,
            ].map(([key, list]) =>
              list.length === 0
                ? undefined
                : html`<p class="small"><strong>${say(key, { count: formatNumber(list.length) })}</strong></p>
                    <ul class="small">
                      ${list.slice(0, 10).map((one) => html`<li>${prose(one.text)}: ${prose(one.reason)}</li>`)}
                    </ul>`,
            )}
          </div>`,
      )}
    </div>
  </details>`;
}

/** Gates that stand open, by how many namespaces they hold up. */
function blockers(page: Page): Html {
  const counts = new Map<string, { readonly namespaces: Set<string>; gates: number; readonly fix: string }>();
  for (const row of page.report.readiness.namespaces)
    for (const phase of row.phases)
      for (const one of phase.open) {
        const known = counts.get(one.id) ?? { namespaces: new Set<string>(), gates: 0, fix: one.fix };
        known.namespaces.add(row.namespace);
        known.gates += 1;
        counts.set(one.id, known);
      }
  const all = Math.max(1, page.report.readiness.namespaces.length);
  const rows = [...counts].sort((a, b) => b[1].namespaces.size - a[1].namespaces.size || (a[0] < b[0] ? -1 : 1));
  if (rows.length === 0) return html``;
  return html`<div class="card">
    <h3>${page.say('readiness.blockers')}</h3>
    ${barList(
      page.say('readiness.blockers-note'),
      rows.slice(0, 12).map(([id, one]) => ({
        label: html`<code>${id}</code>`,
        parts: [{ share: one.namespaces.size / all, look: 'bad' as const }],
        value: page.say('readiness.blockers-value', {
          namespaces: formatNumber(one.namespaces.size),
          gates: formatNumber(one.gates),
        }),
        note: prose(one.fix),
      })),
    )}
  </div>`;
}

export function readinessSection(page: Page): Html {
  const { readiness } = page.report;
  const { say } = page;
  const rows = readiness.namespaces;
  const shown = rows.slice(0, WRITTEN_NAMESPACES);
  return section(
    page,
    { id: 'readiness', pointer: '/readiness' },
    html`${dataTable(page, {
        id: 'readiness',
        caption: 'Namespaces and phases: what is reached, ready, or blocked by how many gates',
        columns: [
          { title: 'Namespace', width: 13 },
          { title: 'Wave', width: 5.5, number: true },
          { title: 'Now in', width: 9 },
          { title: 'Monitor', width: 11.5 },
          { title: 'Allow-list', width: 11.5 },
          { title: 'Permissive mTLS', width: 11.5 },
          { title: 'Strict mTLS', width: 11.5 },
          { title: 'Identity', width: 11.5 },
        ],
        rows: rows.map((row): readonly Cell[] => [
          row.namespace,
          row.wave ?? '–',
          row.phase === 'none' ? 'not begun' : row.phase,
          ...row.phases.map(stateCell),
        ]),
        opens: rows.map((_, index) => `r:${index}`),
      })}
      ${blockers(page)}
      <h3>${say('readiness.details')}</h3>
      <div class="folds">${shown.map((row) => written(page, row))}</div>
      ${rows.length > shown.length ? html`<p class="small soft">${say('readiness.rest', { count: formatNumber(rows.length - shown.length) })}</p>` : undefined}
      ${readiness.method.length === 0 ? undefined : html`<div class="small soft">${bullets(readiness.method)}</div>`}`,
  );
}

export function plaintextSection(page: Page): Html {
  const { plaintext } = page.report;
  const { edges } = page.report.map;
  const { say } = page;
  return section(
    page,
    { id: 'plaintext', pointer: '/plaintext' },
    html`<ul class="tiles">
        <li class="tile good">
          <span class="tile-n">${formatNumber(plaintext.solvedByJoining)}</span
          ><span class="tile-l">${say('plaintext.solved')}</span>
        </li>
        <li class="tile ${plaintext.lasting > 0 ? 'bad' : 'good'}">
          <span class="tile-n">${formatNumber(plaintext.lasting)}</span
          ><span class="tile-l">${say('plaintext.lasting')}</span>
        </li>
      </ul>
      ${
        plaintext.rows.length === 0
          ? html`<p class="note good">${say('plaintext.none')}</p>`
          : dataTable(page, {
              id: 'plaintext',
              caption: 'Who still speaks plaintext, and what to do about each',
              columns: [
                { title: 'Caller', width: 14 },
                { title: 'Called', width: 14 },
                { title: 'Port', width: 5, number: true },
                { title: 'mTLS now', width: 9 },
                { title: 'Once joined', width: 9 },
                { title: 'Because', width: 20 },
                { title: 'First what to do', width: 24 },
              ],
              rows: plaintext.rows.map((row): readonly Cell[] => [
                { m: edges.src[row.edge] ?? -1 },
                { m: edges.dst[row.edge] ?? -1 },
                String(row.port),
                row.now === 'unknown'
                  ? { t: 'dim', s: 'not known' }
                  : row.now === 'yes'
                    ? { t: 'good', s: 'can' }
                    : { t: 'bad', s: 'cannot' },
                row.afterJoin === 'unknown'
                  ? { t: 'dim', s: 'not known' }
                  : row.afterJoin === 'yes'
                    ? { t: 'good', s: 'can' }
                    : { t: 'bad', s: 'cannot' },
                row.because,
                row.fixes[0] ?? '–',
              ]),
              opens: plaintext.rows.map((row) => `e:${row.edge}`),
            })
      }`,
  );
}

const OPERATIONS: Readonly<Record<CandidateRow['operation'], readonly [Tone, string]>> = {
  create: ['good', 'new'],
  change: ['warn', 'changed'],
  unchanged: ['plain', 'as it is'],
};

/** Candidates whose text stands in the page for paper; the others open from the table. */
const WRITTEN_CANDIDATES = 6;

export function policyText(row: CandidateRow): Html {
  if (row.diff.length > 0)
    return html`<pre class="diff">
${row.diff.map((line) =>
        line.startsWith('+')
          ? html`<ins>${line}</ins>`
          : line.startsWith('-')
            ? html`<del>${line}</del>`
            : html`<span class="same">${line} </span>`,
      )}</pre>`;
  return row.yaml === '' ? html`` : html`<pre>${row.yaml}</pre>`;
}

export function policiesSection(page: Page): Html {
  const { policies } = page.report;
  const { say } = page;
  return section(
    page,
    { id: 'policies', pointer: '/policies' },
    html`${
        policies.present.length === 0
          ? html`<p class="note warn">${say('policies.none-present')}</p>`
          : plainTable(
              'present',
              say('policies.present'),
              [say('policies.kind'), { title: say('policies.count'), number: true }, say('policies.judged')],
              policies.present.map((one) => [
                name(one.kind),
                formatNumber(one.count),
                one.judged === 'yes'
                  ? tag('good', 'in full')
                  : one.judged === 'no'
                    ? tag('bad', 'not at all')
                    : tag('dim', 'in part'),
              ]),
            )
      }
      ${dataTable(page, {
        id: 'candidates',
        caption:
          'Policies proposed from the traffic on record; a press on one shows its text, its diff and the flows behind each rule',
        columns: [
          { title: 'Object', width: 34 },
          { title: 'For', width: 20 },
          { title: 'Purpose', width: 7 },
          { title: 'Against now', width: 7 },
          { title: 'Rules', width: 5, number: true },
          { title: 'Flows', width: 5, number: true },
        ],
        rows: policies.candidates.map((row): readonly Cell[] => {
          const [tone, word] = OPERATIONS[row.operation];
          return [
            row.name,
            row.workload,
            row.purpose,
            { t: tone, s: word },
            row.rules.length,
            row.rules.reduce((sum, rule) => sum + rule.edges.length, 0),
          ];
        }),
        opens: policies.candidates.map((_, index) => `c:${index}`),
      })}
      <div class="print-only">
        <h3>${say('policies.examples')}</h3>
        ${policies.candidates
          .filter((row) => row.yaml !== '')
          .slice(0, WRITTEN_CANDIDATES)
          .map(
            (row) =>
              html`<h4>${name(row.name)}</h4>
                ${policyText(row)}`,
          )}
      </div>
      ${
        policies.problems.length === 0
          ? undefined
          : html`<h3>${say('policies.problems')}</h3>
              ${dataTable(page, {
                id: 'problems',
                caption: 'Workloads without a policy, or without an exact one, and why',
                columns: [
                  { title: 'Subject', width: 20 },
                  { title: 'Why', width: 28 },
                  { title: 'What to do', width: 28 },
                ],
                rows: policies.problems.map((one) => [one.subject, one.text, one.fix]),
              })}`
      }`,
  );
}

export function latencySection(page: Page): Html {
  const { latency } = page.report;
  const { say } = page;
  const most = Math.max(
    1,
    ...latency.controls.filter((row) => row.unit === 'ms').map((row) => row.p99 ?? row.high ?? row.p50 ?? 0),
  );
  const unit = (row: (typeof latency.controls)[number], value: number): string =>
    `${formatNumber(value)}${row.unit === 'ms' ? ' ms' : '%'}`;
  const added = (row: (typeof latency.controls)[number]): string => {
    if (row.low !== null && row.high !== null) return `+${formatNumber(row.low)} to ${unit(row, row.high)}`;
    if (row.p50 === null) return 'not known';
    return row.p99 === null
      ? `+${unit(row, row.p50)}`
      : `+${unit(row, row.p50)} (median), +${unit(row, row.p99)} (99th)`;
  };
  return section(
    page,
    { id: 'latency', pointer: '/latency' },
    html`${plainTable(
      'latency',
      say('latency.caption'),
      [
        say('latency.control'),
        say('latency.added'),
        say('latency.range'),
        say('latency.basis'),
        say('latency.when'),
        say('figure.source'),
      ],
      latency.controls.map((row) => [
        prose(row.title),
        added(row),
        row.unit === 'ms'
          ? range(row.low ?? row.p50 ?? 0, row.high ?? row.p99 ?? row.p50 ?? 0, most, row.basis === 'measured')
          : html`–`,
        row.basis === 'measured'
          ? tag('good', row.n === null ? 'measured' : `measured, ${formatNumber(row.n)} samples`)
          : tag('dim', 'estimate'),
        row.perConnection ? say('latency.once') : say('latency.each'),
        html`${prose(row.source)}${row.measuredAt === null ? undefined : html` <span class="soft nowrap">${formatInstant(row.measuredAt)}</span>`}`,
      ]),
    )}
    ${
      latency.paths.length === 0
        ? html`<p class="soft small">${say('latency.no-paths')}</p>`
        : html`<h3>${say('latency.paths')}</h3>
            <div class="grid wide">
              ${latency.paths.slice(0, 12).map(
                (path) =>
                  html`<div class="card">
                    <h4>${name(path.name)}</h4>
                    <p class="small path">
                      ${path.hops.map((hop, index) => html`${index > 0 ? ' → ' : ''}${name(hop)}`)}
                    </p>
                    <dl class="facts">
                      ${path.added.map(
                        (one) =>
                          html`<dt>${say(`phase.${one.phase}`)}</dt>
                            <dd>
                              +${formatNumber(one.ms)} ms
                              ${one.basis === 'measured' ? tag('good', 'measured') : tag('dim', 'estimate')}
                            </dd>`,
                      )}
                      <dt>${say('latency.handshake')}</dt>
                      <dd>
                        +${formatNumber(path.handshakeMs.low)} to ${formatNumber(path.handshakeMs.high)} ms
                        ${path.handshakeMs.basis === 'measured' ? tag('good', 'measured') : tag('dim', 'estimate')}
                      </dd>
                    </dl>
                  </div>`,
              )}
            </div>`
    }
    ${latency.notes.length === 0 ? undefined : html`<div class="small soft">${bullets(latency.notes)}</div>`}`,
  );
}

const TOTALS: readonly (keyof ProgressSection['totals'])[] = [
  'phasesDone',
  'changes',
  'acceptances',
  'waivers',
  'adoptions',
  'rollbacks',
  'refused',
  'undone',
  'drift',
  'violationsPrevented',
];

export function progressSection(page: Page): Html {
  const { progress, readiness } = page.report;
  const { say } = page;
  const all = Math.max(1, readiness.namespaces.length);
  return section(
    page,
    { id: 'progress', pointer: '/progress' },
    progress.started
      ? html`<ul class="tiles">
            ${TOTALS.map(
              (key) =>
                html`<li class="tile ${key === 'drift' && progress.totals.drift > 0 ? 'bad' : 'plain'}">
                  <span class="tile-n">${formatNumber(progress.totals[key])}</span
                  ><span class="tile-l">${say(`progress.${key}`)}</span>
                </li>`,
            )}
          </ul>
          <div class="card">
            <h3>${say('progress.phases')}</h3>
            ${barList(
              say('progress.phases-note'),
              progress.phases.map((one) => ({
                label: say(`phase.${one.phase}`),
                parts: [
                  {
                    share: one.namespaces.length / all,
                    look: one.phase === 'none' ? ('soft' as const) : ('good' as const),
                  },
                ],
                value: formatNumber(one.namespaces.length),
                note: prose(
                  one.namespaces.slice(0, 8).join(', ') +
                    (one.namespaces.length > 8 ? ` and ${one.namespaces.length - 8} more` : ''),
                ),
              })),
            )}
          </div>
          ${runsTable(page, 'runs', 'Runs, as the state file has them', progress.runs)}
          ${
            progress.grants.length === 0
              ? undefined
              : dataTable(page, {
                  id: 'grants',
                  caption: 'Access that ends by itself, and has not ended',
                  columns: [
                    { title: 'Until', width: 11 },
                    { title: 'What', width: 30 },
                    { title: 'Reason', width: 24 },
                    { title: 'State', width: 8 },
                  ],
                  rows: progress.grants.map((one): readonly Cell[] => [
                    formatInstant(one.until),
                    one.what,
                    one.reason,
                    one.state === 'open' ? { t: 'warn', s: 'open' } : { t: 'bad', s: 'expired' },
                  ]),
                })
          }
          ${
            progress.tuning.length === 0
              ? undefined
              : dataTable(page, {
                  id: 'tuning',
                  caption: 'Tuning in force',
                  columns: [
                    { title: 'Since', width: 11 },
                    { title: 'Namespace', width: 12 },
                    { title: 'Proposal', width: 24 },
                    { title: 'Expected', width: 30 },
                  ],
                  rows: progress.tuning.map((one): readonly Cell[] => [
                    formatInstant(one.since),
                    one.namespace,
                    one.proposal,
                    describeExpected(one.expected ?? undefined),
                  ]),
                })
          }
          ${
            progress.decisions.length === 0
              ? undefined
              : dataTable(page, {
                  id: 'decisions',
                  caption: 'Decisions of people',
                  columns: [
                    { title: 'When', width: 11 },
                    { title: 'What', width: 6 },
                    { title: 'Query', width: 20 },
                    { title: 'Reason', width: 24 },
                    { title: 'Flows', width: 5, number: true },
                    { title: 'By', width: 10 },
                  ],
                  rows: progress.decisions.map((one): readonly Cell[] => [
                    formatInstant(one.at),
                    one.action,
                    one.query,
                    one.reason,
                    one.edges,
                    one.by,
                  ]),
                })
          }
          ${
            progress.drift.length === 0
              ? html`<p class="note good">${say('progress.no-drift')}</p>`
              : html`<div class="note bad">
                  <p><strong>${say('progress.drift-title')}</strong></p>
                  <ul>
                    ${progress.drift.slice(0, 50).map((one) => html`<li>${name(one.object)} <code>${one.path}</code> <span class="soft small">${prose(one.step)}</span></li>`)}
                  </ul>
                </div>`
          }
          ${dataTable(page, {
            id: 'trail',
            caption:
              progress.trailLength > progress.trail.length
                ? `Audit trail: the newest ${formatNumber(progress.trail.length)} of ${formatNumber(progress.trailLength)} entries`
                : 'Audit trail',
            columns: [
              { title: 'When', width: 11 },
              { title: 'Who', width: 10 },
              { title: 'What', width: 9 },
              { title: 'Object', width: 20 },
              { title: 'Reason', width: 22 },
              { title: 'Run', width: 8 },
            ],
            rows: progress.trail.map((one): readonly Cell[] => [
              formatInstant(one.at),
              one.who,
              one.what,
              withoutEdges(one.object),
              one.reason,
              one.run ?? '–',
            ]),
          })}`
      : html`<p class="note">${say('progress.not-started')}</p>`,
  );
}
