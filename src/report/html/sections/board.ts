// What a board reads: where things stand, what can be reached, what is at risk, in which order, and what stays open whatever we do.
import type { Comparison, Figure, Sentence, SurfaceState } from '../../model.ts';
import { barList, waffle } from '../charts.ts';
import { html } from '../html.ts';
import type { Html } from '../html.ts';
import {
  command,
  formatFigure,
  formatInstant,
  formatNumber,
  formatShare,
  formatWindow,
  name,
  names,
  prose,
  section,
  tag,
  withSource,
  workloadById,
} from '../page.ts';
import type { Page, Tone } from '../page.ts';
import { dataTable, plainTable } from '../table.ts';
import { runsTable } from '../runs-table.ts';
import type { Cell } from '../table.ts';

const TONES: Readonly<Record<Sentence['tone'], Tone>> = { good: 'good', bad: 'bad', neutral: 'plain', unknown: 'dim' };

function sentence(page: Page, one: Sentence): Html {
  const { figures } = page.report.summary;
  return html`<bdi
    >${one.parts.map((part) => {
      if (part.kind === 'text') return html`${part.text}`;
      const value = figures.find((figure) => figure.id === part.figure)?.value;
      const text = value !== undefined && part.text === String(value) ? formatNumber(value ?? 0) : part.text;
      return withSource(page, part.figure, html`<strong>${text}</strong>`);
    })}</bdi
  >`;
}

/** Figures that stand large, where the report has them; the first of each line that exists. */
const TILES: readonly { readonly ids: readonly string[]; readonly tone: Tone; readonly section: string }[] = [
  { ids: ['surface-now'], tone: 'bad', section: 'surface' },
  { ids: ['surface-end', 'surface-identity'], tone: 'good', section: 'surface' },
  { ids: ['plaintext', 'mtls'], tone: 'warn', section: 'plaintext' },
  { ids: ['keys'], tone: 'warn', section: 'identities' },
  { ids: ['leaks'], tone: 'bad', section: 'tenants' },
  { ids: ['default-accounts'], tone: 'warn', section: 'identities' },
  { ids: ['egress'], tone: 'warn', section: 'egress' },
  { ids: ['workloads'], tone: 'plain', section: 'inventory' },
  { ids: ['edges'], tone: 'plain', section: 'map' },
  { ids: ['candidates'], tone: 'plain', section: 'policies' },
];

function tile(page: Page, figure: Figure, tone: Tone, target: string): Html {
  const looks = figure.value === null ? 'dim' : figure.value === 0 && tone !== 'good' ? 'good' : tone;
  return html`<li class="tile ${looks}">
    <span class="tile-n">${withSource(page, figure.id, formatFigure(figure))}</span
    ><a class="tile-l" href="#${target}">${prose(figure.label)}</a>
  </li>`;
}

/** The attack surface now and at the end of the way, side by side. */
function shrinking(page: Page): Html | undefined {
  const { surface } = page.report;
  const known = surface.states.filter((one) => one.reachable !== null);
  const [first, last] = [known[0], known.at(-1)];
  if (first === undefined || last === undefined || first === last || surface.pairs === 0) return undefined;
  const draw = (one: SurfaceState, label: Html): Html => {
    const share = (one.reachable ?? 0) / surface.pairs;
    return html`<li>
      <span class="waffle-l">${label}</span>${waffle(share, (one.unknown ?? 0) / surface.pairs)}<span class="waffle-v"
        >${formatShare(share)}</span
      >
    </li>`;
  };
  return html`<h2 class="h3">${page.say('summary.surface')}</h2>
    <figure class="waffles two">
      <ol>
        ${draw(first, stateName(page, first.state))}${draw(last, html`${page.say('surface.after')} ${stateName(page, last.state)}`)}
      </ol>
      <figcaption>${page.say('surface.waffle', { pairs: formatNumber(surface.pairs) })}</figcaption>
    </figure>`;
}

/** The head of the report: what a manager reads in a minute. */
export function summarySection(page: Page): Html {
  const { report, say } = page;
  const { summary, cluster } = report;
  const byId = new Map(summary.figures.map((figure) => [figure.id, figure]));
  const tiles = TILES.flatMap(({ ids, tone, section: target }) => {
    const found = ids.map((id) => byId.get(id)).find((figure) => figure !== undefined);
    return found === undefined ? [] : [tile(page, found, tone, target)];
  });
  return html`<section class="hero" id="summary" aria-labelledby="summary-h">
    <p class="hero-kicker">
      ${say('summary.kicker', { description: prose(cluster.description), at: formatInstant(report.at) })}
    </p>
    <h1 id="summary-h">${say('summary.title')}</h1>
    <p class="verdict">${sentence(page, summary.headline)}</p>
    <ul class="readers no-print">
      <li><a href="#surface">${say('summary.board')}</a></li>
      <li><a href="#map">${say('summary.cluster')}</a></li>
      <li><a href="#readiness">${say('summary.way')}</a></li>
      <li><a href="#evidence">${say('summary.proof')}</a></li>
    </ul>
    <ul class="tiles">
      ${tiles}
    </ul>
    <div class="grid wide">
      <div class="card">
        <h2 class="h3">${say('summary.sentences')}</h2>
        <ul class="says">
          ${summary.sentences.map(
            (one) =>
              html`<li class="say ${TONES[one.tone]}">
                ${sentence(page, one)}
                <a class="more" href="#${one.section}"
                  >${say('summary.more')}<span class="hush">
                    ${say('summary.more-on', { section: one.section })}</span
                  ></a
                >
              </li>`,
          )}
        </ul>
      </div>
      <div class="card">
        <h2 class="h3">${say('summary.actions')}</h2>
        ${
          summary.actions.length === 0
            ? html`<p class="soft">${say('summary.no-actions')}</p>`
            : html`<ol class="actions">
                ${summary.actions.map(
                  (action) =>
                    html`<li>
                      <p>
                        ${prose(action.text)}
                        <a class="more" href="#${action.section}"
                          >${say('summary.more')}<span class="hush">
                            ${say('summary.more-on', { section: action.section })}</span
                          ></a
                        >
                      </p>
                      ${action.commands.map((one, index) => html`${index > 0 ? html`<p class="small soft">${say('summary.or')}</p>` : undefined}${command(one)}`)}
                    </li>`,
                )}
              </ol>`
        }${shrinking(page)}
      </div>
    </div>
  </section>`;
}

function stateName(page: Page, state: string): Html {
  return page.say(`phase.${state}`);
}

export function surfaceSection(page: Page): Html {
  const { surface } = page.report;
  const { say } = page;
  const shareOf = (count: number | null): number => (count === null || surface.pairs === 0 ? 0 : count / surface.pairs);
  const words = (one: SurfaceState): Html =>
    one.reachable === null
      ? say('surface.not-known')
      : html`${withSource(page, one === surface.states.at(-1) && page.notes.has('surface-end') ? 'surface-end' : `surface-${one.state}`, formatShare(one.share ?? shareOf(one.reachable)))}`;
  const waffles = html`<figure class="waffles">
    <ol>
      ${surface.states.map(
        (one) =>
          html`<li>
            <span class="waffle-l"
              >${one.state === 'now' ? say('phase.now') : html`${say('surface.after')} ${stateName(page, one.state)}`}</span
            >${
              one.reachable === null
                ? html`<span class="waffle-none">?</span>`
                : waffle(shareOf(one.reachable), shareOf(one.unknown))
            }<span class="waffle-v">${words(one)}</span>
          </li>`,
      )}
    </ol>
    <figcaption>${say('surface.waffle', { pairs: formatNumber(surface.pairs) })}</figcaption>
  </figure>`;
  const table = plainTable(
    'surface',
    say('surface.caption'),
    [say('surface.state'), say('surface.reachable'), say('surface.unknown'), say('surface.because')].map(
      (title, index) => (index === 1 || index === 2 ? { title, number: true as const } : title),
    ),
    surface.states.map((one) => [
      stateName(page, one.state),
      one.reachable === null ? say('surface.not-known') : formatNumber(one.reachable),
      one.unknown === null ? say('surface.not-known') : formatNumber(one.unknown),
      prose(one.because),
    ]),
  );
  const most = Math.max(1, page.report.inventory.workloads.length - 1);
  const counts = new Set(surface.mostExposed.map((one) => one.from));
  // Bars that are all as long as each other say less than a sentence.
  const exposed =
    surface.mostExposed.length > 5 && counts.size === 1
      ? html`<p>
            ${say('surface.exposed-all', { count: formatNumber(surface.mostExposed.length), from: formatNumber(surface.mostExposed[0]?.from ?? 0) })}
          </p>
          <ul class="columns">
            ${surface.mostExposed.map((one) => html`<li>${workloadById(page, one.workload)}</li>`)}
          </ul>`
      : barList(
          say('surface.exposed-note'),
          surface.mostExposed.slice(0, 12).map((one) => ({
            label: workloadById(page, one.workload),
            parts: [{ share: one.from / most, look: 'bad' as const }],
            value: formatNumber(one.from),
            note: say('surface.from-namespaces', { count: formatNumber(one.fromNamespaces) }),
          })),
        );
  return section(
    page,
    { id: 'surface', pointer: '/surface' },
    html`<div class="card">${waffles}</div>
      ${table}
      <p class="small soft">${prose(surface.method)}</p>
      ${
        surface.mostExposed.length === 0
          ? undefined
          : html`<div class="card">
              <h3>${say('surface.exposed')}</h3>
              ${exposed}
            </div>`
      }`,
  );
}

export function riskSection(page: Page): Html {
  const { risk } = page.report;
  const { say } = page;
  const titles = new Map(risk.factors.map((factor) => [factor.id, factor.title]));
  const top = risk.rows.slice(0, 5);
  const cards = html`<ol class="risks">
    ${top.map(
      (row) =>
        html`<li class="card">
          <p class="risk-head">
            <span class="risk-rank">${row.rank}</span>${workloadById(page, row.workload)}<span class="risk-score"
              >${row.score}</span
            >
          </p>
          ${barList(
            say('risk.points'),
            [...row.values]
              .sort((a, b) => b.points - a.points)
              .slice(0, 4)
              .map((value) => ({
                label: prose(titles.get(value.factor) ?? value.factor),
                parts: [
                  { share: value.points / 100, look: value.value === null ? ('dim' as const) : ('warn' as const) },
                ],
                value: formatNumber(value.points),
                note: prose(value.because),
              })),
          )}
        </li>`,
    )}
  </ol>`;
  const formula = html`<details class="fold" open>
    <summary>${say('risk.formula')}</summary>
    <div class="in">
      <p><code>${risk.formula}</code></p>
      ${plainTable(
        'risk-factors',
        say('risk.factors'),
        [say('risk.factor'), { title: say('risk.weight'), number: true }, say('risk.rule')],
        risk.factors.map((factor) => [prose(factor.title), formatNumber(factor.weight), prose(factor.rule)]),
      )}
    </div>
  </details>`;
  const rows = risk.rows.map((row): readonly Cell[] => [
    { n: row.node },
    row.rank,
    { b: row.score / 100, s: String(row.score) },
    [...row.values]
      .sort((a, b) => b.points - a.points)
      .slice(0, 3)
      .map((value) => `${titles.get(value.factor) ?? value.factor} ${formatNumber(value.points)}`)
      .join(' · '),
  ]);
  return section(
    page,
    { id: 'risk', pointer: '/risk' },
    html`${cards}${formula}${dataTable(page, {
      id: 'risk',
      caption:
        page.report.risk.rows.length === 1
          ? '1 workload, by score'
          : `All ${formatNumber(risk.rows.length)} workloads, by score`,
      columns: [
        { title: 'Workload', width: 20 },
        { title: 'Rank', width: 5, number: true },
        { title: 'Score of 100', width: 11 },
        { title: 'Most of it from', width: 26 },
      ],
      rows,
    })}`,
  );
}

export function residualSection(page: Page): Html {
  const { residual } = page.report;
  const { say } = page;
  return section(
    page,
    { id: 'residual', pointer: '/residual' },
    residual.length === 0
      ? html`<p class="note">${say('residual.none')}</p>`
      : html`<div class="grid wide">
          ${residual.map(
            (row) =>
              html`<article class="card residual">
                <h3>${prose(row.title)}</h3>
                <p>${prose(row.text)}</p>
                ${
                  row.subjects.length === 0
                    ? undefined
                    : html`<div>
                        <p class="small soft">
                          ${say('residual.subjects', { count: formatNumber(row.subjects.length) })}
                        </p>
                        ${names(row.subjects, 4)}
                      </div>`
                }${row.mitigation === '' ? undefined : html`<p class="small"><strong>${say('residual.mitigation')}</strong> ${prose(row.mitigation)}</p>`}
              </article>`,
          )}
        </div>`,
  );
}

export function wavesSection(page: Page): Html {
  const { waves, readiness } = page.report;
  const { say } = page;
  const rows = new Map(readiness.namespaces.map((row, index) => [row.namespace, { row, index }]));
  return section(
    page,
    { id: 'waves', pointer: '/waves' },
    waves.length === 0
      ? html`<p class="note">${say('waves.none')}</p>`
      : html`<ol class="waves">
          ${waves.map(
            (wave) =>
              html`<li class="wave">
                <p class="wave-n">
                  <span class="hush">${say('waves.wave', { number: wave.wave })}</span
                  ><span aria-hidden="true">${wave.wave}</span>
                </p>
                <div class="wave-in">
                  <ul class="tags">
                    ${wave.namespaces.slice(0, 60).map((namespace) => {
                      const known = rows.get(namespace);
                      return known === undefined
                        ? html`<li>${tag('plain', namespace)}</li>`
                        : html`<li>
                            <button type="button" class="tag plain press" data-open="r:${known.index}">
                              <bdi>${namespace}</bdi>
                            </button>
                          </li>`;
                    })}${wave.namespaces.length > 60 ? html`<li class="soft small">${say('waves.more', { count: formatNumber(wave.namespaces.length - 60) })}</li>` : undefined}
                  </ul>
                  <details class="small">
                    <summary>${say('waves.why')}</summary>
                    <ul class="soft">
                      ${wave.why.slice(0, 40).map((why) => html`<li>${prose(why)}</li>`)}
                    </ul>
                  </details>
                </div>
              </li>`,
          )}
        </ol>`,
  );
}

const BETTER: Readonly<Record<Comparison['figures'][number]['better'], readonly [Tone, string]>> = {
  yes: ['good', 'better'],
  no: ['bad', 'worse'],
  same: ['plain', 'the same'],
  neither: ['plain', 'changed'],
};

const orUnknown = (value: number | null): string => (value === null ? 'not known' : formatNumber(value));

export function comparisonSection(page: Page, comparison: Comparison): Html {
  const { say } = page;
  const change = (before: number | null, after: number | null): string => {
    if (before === null || after === null) return 'not known';
    const by = Number((after - before).toFixed(3));
    return by === 0 ? '0' : `${by > 0 ? '+' : '−'}${formatNumber(Math.abs(by))}`;
  };
  const lists: readonly (readonly [string, readonly string[]])[] = [
    ['comparison.workloads-added', comparison.workloads.added],
    ['comparison.workloads-removed', comparison.workloads.removed],
    ['comparison.edges-added', comparison.edges.addedTexts],
    ['comparison.edges-removed', comparison.edges.removedTexts],
    ['comparison.candidates-added', comparison.candidates.added],
    ['comparison.candidates-removed', comparison.candidates.removed],
  ];
  const changed = comparison.figures.filter((one) => one.before !== one.after);
  const number = (key: string): { readonly title: Html; readonly number: true } => ({ title: say(key), number: true });
  return section(
    page,
    { id: 'comparison', pointer: '/comparison', values: { at: formatInstant(comparison.before.at) } },
    html`${comparison.before.sameCluster ? undefined : html`<p class="note bad">${say('comparison.other-cluster')}</p>`}
      <p class="small soft">
        ${say('comparison.before', { description: prose(comparison.before.description), at: formatInstant(comparison.before.at) })}
      </p>
      ${
        comparison.phases.length === 0
          ? html`<p class="note">${say('comparison.no-phases')}</p>`
          : plainTable(
              'comparison-phases',
              say('comparison.phases'),
              [say('word.namespace'), say('comparison.was-in'), say('comparison.is-in')],
              comparison.phases.map((one) => [
                name(one.namespace),
                stateName(page, one.before),
                stateName(page, one.after),
              ]),
            )
      }
      ${plainTable(
        'comparison-done',
        say('comparison.done'),
        [say('comparison.what'), number('comparison.was'), number('comparison.is'), number('comparison.change')],
        comparison.done.map((one) => [
          say(`progress.${one.id}`),
          formatNumber(one.before),
          formatNumber(one.after),
          change(one.before, one.after),
        ]),
      )}
      ${comparison.runs.length === 0 ? undefined : runsTable(page, 'comparison-runs', 'Runs since', comparison.runs)}
      ${plainTable(
        'comparison-surface',
        say('comparison.surface'),
        [say('surface.state'), number('comparison.was'), number('comparison.is'), number('comparison.change')],
        comparison.surface.map((one) => [
          stateName(page, one.state),
          orUnknown(one.before),
          orUnknown(one.after),
          change(one.before, one.after),
        ]),
      )}
      ${plainTable(
        'comparison-figures',
        say('comparison.figures'),
        [
          say('comparison.figure'),
          number('comparison.was'),
          number('comparison.is'),
          number('comparison.change'),
          say('comparison.verdict'),
        ],
        changed.map((one) => [
          prose(one.label),
          orUnknown(one.before),
          orUnknown(one.after),
          change(one.before, one.after),
          tag(...BETTER[one.better]),
        ]),
      )}
      <p class="small soft">
        ${say('comparison.unchanged', { count: formatNumber(comparison.figures.length - changed.length) })}
      </p>
      <div class="grid wide">
        ${lists.map(
          ([key, list]) =>
            html`<div class="card">
              <h3>
                ${say(key, { count: formatNumber(key.startsWith('comparison.edges-added') ? comparison.edges.added : key.startsWith('comparison.edges-removed') ? comparison.edges.removed : list.length) })}
              </h3>
              ${names(list, 6)}
            </div>`,
        )}
      </div>
      ${
        comparison.risk.length === 0
          ? undefined
          : dataTable(page, {
              id: 'comparison-risk',
              caption: 'Risk, where the score changed',
              columns: [
                { title: 'Workload', width: 22 },
                { title: 'Before', width: 6, number: true },
                { title: 'Now', width: 6, number: true },
                { title: 'Change', width: 7, number: true },
              ],
              rows: comparison.risk.map((one) => [one.workload, one.before, one.after, change(one.before, one.after)]),
            })
      }
      ${
        comparison.notes.length === 0
          ? undefined
          : html`<ul class="small">
              ${comparison.notes.map((note) => html`<li>${prose(note)}</li>`)}
            </ul>`
      }`,
  );
}

/** The notes that the bracketed numbers open: one for each figure. */
export function figureNotes(page: Page): Html {
  const { say } = page;
  return html`${page.report.summary.figures.map((figure, index) => {
    const number = index + 1;
    return html`<div class="pop" popover id="src-${number}" role="dialog" aria-label="Source of figure ${number}">
      <p><strong>${prose(figure.label)}: ${formatFigure(figure)}</strong></p>
      <dl class="facts">
        <dt>${say('figure.basis')}</dt>
        <dd>${say(`basis.${figure.basis}`)}</dd>
        <dt>${say('figure.source')}</dt>
        <dd>${prose(figure.source)}</dd>
        <dt>${say('figure.window')}</dt>
        <dd>${formatWindow(figure.window)}</dd>
        <dt>${say('figure.not-seen')}</dt>
        <dd>
          ${
            figure.notSeen.length === 0
              ? say('figure.nothing-missing')
              : html`<ul>
                  ${figure.notSeen.map((text) => html`<li>${prose(text)}</li>`)}
                </ul>`
          }
        </dd>
        ${
          figure.unknownBecause === null
            ? undefined
            : html`<dt>${say('figure.unknown')}</dt>
                <dd>${prose(figure.unknownBecause)}</dd>`
        }
        <dt>${say('figure.pointer')}</dt>
        <dd><code>${figure.pointer}</code>${figure.measure === 'length' ? say('figure.length') : undefined}</dd>
      </dl>
    </div>`;
  })}`;
}

const BASIS: Readonly<Record<Figure['basis'], string>> = {
  counted: 'counted',
  computed: 'computed by simulation',
  declared: 'declared by a person',
  measured: 'measured',
  estimate: 'an estimate',
};

/** The same notes as a list, for paper and for reading them all. */
export function figuresSection(page: Page): Html {
  return section(
    page,
    { id: 'figures', pointer: '/summary/figures' },
    dataTable(page, {
      id: 'figures',
      caption: 'Notes',
      columns: [
        { title: 'Note', width: 5 },
        { title: 'Figure', width: 15 },
        { title: 'Value', width: 6, number: true },
        { title: 'How it was come by', width: 20 },
        { title: 'Time', width: 12 },
        { title: 'Not seen', width: 22 },
        { title: 'In the JSON', width: 15 },
      ],
      rows: page.report.summary.figures.map((figure, index): readonly Cell[] => [
        `[${index + 1}]`,
        figure.label,
        formatFigure(figure),
        `${BASIS[figure.basis]}: ${figure.source}`,
        formatWindow(figure.window),
        figure.unknownBecause ??
          (figure.notSeen.length === 0 ? 'nothing known to be missing' : figure.notSeen.join('; ')),
        `${figure.pointer}${figure.measure === 'length' ? ' (its length)' : ''}`,
      ]),
    }),
  );
}
