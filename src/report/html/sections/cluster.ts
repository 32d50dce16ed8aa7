// The cluster as it is: the map of data flows, what runs where, the lines that traffic crosses, who is who.
import type { AuthenticationKind, Boundary, Crossing } from '../../model.ts';
import { MAP_CODES } from '../../model.ts';
import { barList } from '../charts.ts';
import { html } from '../html.ts';
import type { Html, HtmlValue } from '../html.ts';
import {
  answerTag,
  bullets,
  flowsLink,
  formatNumber,
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
import type { Cell } from '../table.ts';

interface Option {
  readonly value: string;
  readonly text: HtmlValue;
}

function select(id: string, label: HtmlValue, options: readonly Option[], any: HtmlValue): Html {
  return html`<div class="field">
    <label for="f-${id}">${label}</label
    ><select id="f-${id}" data-filter="${id}">
      <option value="">${any}</option>
      ${options.map((one) => html`<option value="${one.value}">${one.text}</option>`)}
    </select>
  </div>`;
}

function byIndex(list: readonly string[]): readonly Option[] {
  return list.map((text, index) => ({ value: String(index), text })).sort((a, b) => (a.text < b.text ? -1 : 1));
}

function inOrder(list: readonly string[]): readonly Option[] {
  return list.map((text, index) => ({ value: String(index), text }));
}

/** Ports by how many edges have them, most first. */
function ports(list: readonly number[], most: number): readonly number[] {
  const counts = new Map<number, number>();
  for (const port of list) counts.set(port, (counts.get(port) ?? 0) + 1);
  return [...counts]
    .sort((a, b) => b[1] - a[1] || a[0] - b[0])
    .slice(0, most)
    .map(([port]) => port);
}

/** The map itself is drawn by the page's script from the page's data; its table is filled in the same way. */
export function mapSection(page: Page): Html {
  const { map } = page.report;
  const { say } = page;
  const any = say('map.any');
  const codes = (group: 'mtls' | 'verdict' | 'review' | 'origin'): readonly Option[] =>
    MAP_CODES[group].map((code, index) => ({ value: String(index), text: say(`${group}.${code}`) }));
  const filters = html`<form class="filters" id="map-filters" aria-label="${say('map.filters')}" hidden>
    <div class="field grow">
      <label for="f-q">${say('map.search')}</label
      ><input
        type="search"
        id="f-q"
        data-filter="q"
        autocomplete="off"
        spellcheck="false"
        placeholder="${say('map.search-hint')}"
      />
    </div>
    ${select('ns', say('word.namespace'), byIndex(map.namespaces), any)}
    ${select('stage', say('word.stage'), inOrder(map.stages), any)}
    ${select('plane', say('word.plane'), inOrder(map.planes), any)}
    ${map.tenants.length === 0 ? undefined : select('tenant', say('word.tenant'), byIndex(map.tenants), any)}
    <div class="field">
      <label for="f-port">${say('word.port')}</label
      ><input
        id="f-port"
        data-filter="port"
        inputmode="numeric"
        autocomplete="off"
        list="f-ports"
        placeholder="${any}"
        size="7"
      /><datalist id="f-ports">
        ${ports(map.edges.port, 40).map((port) => html`<option value="${port}"></option>`)}
      </datalist>
    </div>
    ${select('mtls', say('map.mtls'), codes('mtls'), any)}
    ${select('verdict', say('map.verdict'), codes('verdict'), any)}
    ${select('review', say('map.review'), codes('review'), any)}
    ${select('origin', say('map.origin'), codes('origin'), any)}
    ${map.sourceSets.length < 2 ? undefined : select('source', say('map.source-set'), byIndex(map.sourceSets), any)}
    ${select(
      'days',
      say('map.days'),
      [0, 1, 2, 3, 7].map((days) => ({ value: String(days), text: say(`map.days-${days}`) })),
      any,
    )}
    ${select(
      'cross',
      say('map.cross'),
      ['tenant', 'control', 'stage', 'out', 'in'].map((one) => ({ value: one, text: say(`map.cross-${one}`) })),
      any,
    )}
    <button type="reset" class="btn">${say('map.reset')}</button>
  </form>`;
  return section(
    page,
    {
      id: 'map',
      pointer: '/map',
      values: {
        edges: withSource(page, 'edges', formatNumber(map.totals.edges)),
        workloads: formatNumber(page.report.inventory.workloads.length),
      },
    },
    html`<noscript><p class="note warn">${say('map.no-script')}</p></noscript>
      <div class="map" id="map-area">
        ${filters}
        <p class="count" id="map-count" role="status" aria-live="polite"></p>
        <div class="map-stage no-print" id="map-stage" hidden>
          <div class="map-tools" role="toolbar" aria-label="${say('map.tools')}">
            <label class="btn" for="map-look"
              >${say('map.look')}
              <select id="map-look">
                <option value="mtls">${say('map.mtls')}</option>
                <option value="verdict">${say('map.verdict')}</option>
                <option value="review">${say('map.review')}</option>
              </select></label
            ><button type="button" class="btn" id="map-in" aria-label="${say('map.zoom-in')}">+</button
            ><button type="button" class="btn" id="map-out" aria-label="${say('map.zoom-out')}">−</button
            ><button type="button" class="btn" id="map-fit">${say('map.fit')}</button
            ><button type="button" class="btn" id="map-fold">${say('map.fold')}</button>
          </div>
          <div
            class="map-box"
            id="map-box"
            tabindex="0"
            role="application"
            aria-roledescription="${say('map.role')}"
            aria-label="${say('map.label')}"
            aria-describedby="map-keys"
          ></div>
          <p class="map-hint" id="map-hint"></p>
        </div>
        <figure class="print-only" id="map-print"></figure>
        <ul class="legend" id="map-legend" hidden></ul>
        <details class="small no-print" id="map-help">
          <summary>${say('map.keys-title')}</summary>
          <p id="map-keys">${say('map.keys')}</p>
        </details>
        <h3>${say('map.table')}</h3>
        <div class="data" id="map-table"></div>
        ${namespaceFlows(page)}
      </div>`,
  );
}

/** More pairs of namespaces than anybody reads; the map and its table hold the rest. */
const MOST_PAIRS = 2000;

/** Flows between namespaces: what is printed in place of the map, and read where the script does not run. */
function namespaceFlows(page: Page): Html {
  const { map } = page.report;
  const { edges, nodes } = map;
  const place = (index: number | undefined): string => {
    const node = nodes[index ?? -1];
    if (node === undefined) return 'not known';
    return node.namespace >= 0
      ? (map.namespaces[node.namespace] ?? 'not known')
      : node.kind === 'external'
        ? 'outside'
        : node.kind;
  };
  const sums = new Map<
    string,
    { from: string; to: string; flows: number; connections: number; plain: number; ports: Set<number> }
  >();
  for (const [index, src] of edges.src.entries()) {
    const [from, to] = [place(src), place(edges.dst[index])];
    const key = `${from}\n${to}`;
    const sum = sums.get(key) ?? { from, to, flows: 0, connections: 0, plain: 0, ports: new Set<number>() };
    sum.flows += 1;
    sum.connections += edges.count[index] ?? 0;
    if (edges.mtls[index] !== 0) sum.plain += 1;
    if (sum.ports.size < 12) sum.ports.add(edges.port[index] ?? 0);
    sums.set(key, sum);
  }
  const rows = [...sums.values()].sort((a, b) => b.flows - a.flows || (a.from < b.from ? -1 : 1));
  return html`<details class="fold" id="map-summary">
    <summary>${page.say('map.pairs')} <span class="soft small">${formatNumber(rows.length)}</span></summary>
    <div class="in">
      ${dataTable(page, {
        id: 'pairs',
        caption:
          rows.length > MOST_PAIRS
            ? `Flows by namespace: the ${formatNumber(MOST_PAIRS)} of ${formatNumber(rows.length)} pairs with most flows`
            : 'Flows by namespace, most first',
        columns: [
          { title: 'From', width: 13 },
          { title: 'To', width: 13 },
          { title: 'Flows', width: 6, number: true },
          { title: 'Connections', width: 9, number: true },
          { title: 'Not surely mTLS', width: 10, number: true },
          { title: 'Ports', width: 14 },
        ],
        rows: rows
          .slice(0, MOST_PAIRS)
          .map((one): readonly Cell[] => [
            one.from,
            one.to,
            one.flows,
            one.connections,
            one.plain,
            { l: [...one.ports].sort((a, b) => a - b).map(String) },
          ]),
      })}
    </div>
  </details>`;
}

export function inventorySection(page: Page): Html {
  const { inventory } = page.report;
  const { say } = page;
  const all = Math.max(1, inventory.workloads.length);
  const groups = (key: string, list: typeof inventory.byStage): Html =>
    html`<div class="card">
      <h3>${say(key)}</h3>
      ${barList(
        say(`${key}-note`),
        list
          .filter((one) => one.workloads > 0)
          .map((one) => ({
            label: name(one.name.replaceAll('|', ' or ')),
            parts: [{ share: one.workloads / all, look: 'mark' as const }],
            value: formatNumber(one.workloads),
            note: prose(
              one.namespaces.slice(0, 6).join(', ') +
                (one.namespaces.length > 6 ? ` and ${one.namespaces.length - 6} more` : ''),
            ),
          })),
      )}
    </div>`;
  const mesh: Readonly<Record<string, Tone>> = {
    sidecar: 'good',
    ambient: 'good',
    none: 'plain',
    mixed: 'warn',
    unknown: 'dim',
  };
  const findingTone = { info: 'plain', warning: 'warn', error: 'bad' } as const;
  return section(
    page,
    { id: 'inventory', pointer: '/inventory' },
    html`<div class="grid">
        ${groups('inventory.by-stage', inventory.byStage)}${groups('inventory.by-plane', inventory.byPlane)}${groups('inventory.by-sensitivity', inventory.bySensitivity)}
      </div>
      ${inventory.unrecognised > 0 ? html`<p class="note warn">${say('inventory.unrecognised', { count: formatNumber(inventory.unrecognised) })}</p>` : undefined}
      ${dataTable(page, {
        id: 'workloads',
        caption: 'Every workload, and why it is taken for what it is',
        columns: [
          { title: 'Workload', width: 20 },
          { title: 'Component', width: 9 },
          { title: 'Stage', width: 9 },
          { title: 'Plane', width: 7 },
          { title: 'Handles', width: 12 },
          { title: 'Mesh', width: 7 },
          { title: 'How sure', width: 7 },
          { title: 'Because', width: 22 },
        ],
        rows: inventory.workloads.map((row): readonly Cell[] => [
          { n: row.node },
          row.component,
          row.stage,
          row.plane,
          { l: row.sensitivity },
          { t: mesh[row.mesh] ?? 'dim', s: row.mesh },
          row.confidence === 'strong' ? { t: 'good', s: 'sure' } : { t: 'dim', s: 'a guess' },
          row.why.length === 0 ? 'nothing names it' : row.why.join('; '),
        ]),
      })}
      ${
        inventory.findings.length === 0
          ? undefined
          : html`<h3>${say('inventory.findings')}</h3>
              ${inventory.findings.map(
                (group) =>
                  html`<details class="fold">
                    <summary>
                      ${tag(findingTone[group.severity], group.severity)}
                      <code>${group.code}</code> ${prose(group.title)}
                      <span class="soft">${formatNumber(group.count)}</span>
                    </summary>
                    <div class="in">
                      <ul>
                        ${group.examples.map(
                          (one) =>
                            html`<li>
                              ${name(one.subject)}:
                              ${prose(one.message)}${one.where === null ? undefined : html` <span class="soft small">${prose(one.where)}</span>`}
                            </li>`,
                        )}
                      </ul>
                      ${group.count > group.examples.length ? html`<p class="small soft">${say('inventory.more-findings', { count: formatNumber(group.count - group.examples.length) })}</p>` : undefined}
                    </div>
                  </details>`,
              )}`
      }`,
  );
}

export function boundariesSection(page: Page): Html {
  const { boundaries } = page.report;
  const { say } = page;
  const crossing = (one: Crossing): readonly Cell[] => [
    one.kind,
    one.from,
    one.to,
    { e: one.edges },
    one.connections,
    one.mtls,
    one.open === 0 ? { t: 'good', s: 'none' } : { t: 'bad', s: formatNumber(one.open) },
    { l: one.sensitivity },
  ];
  const lines = (id: string, caption: Html, list: readonly Boundary[]): Html =>
    plainTable(
      id,
      caption,
      [
        say('boundaries.name'),
        say('boundaries.kind'),
        { title: say('word.workloads'), number: true },
        say('boundaries.scope'),
        say('boundaries.because'),
      ],
      list.map((one) => [
        name(one.name),
        say(`boundary.${one.kind}`),
        one.workloads === null ? html`<span class="soft">–</span>` : formatNumber(one.workloads),
        one.scope.length === 0 ? html`<span class="soft">–</span>` : names(one.scope, 3),
        prose(one.because),
      ]),
      'lines',
    );
  const declared = boundaries.boundaries.filter((one) => one.basis === 'declared');
  const computed = boundaries.boundaries.filter((one) => one.basis === 'computed');
  return section(
    page,
    { id: 'boundaries', pointer: '/boundaries' },
    html`${
        boundaries.undeclared.length === 0
          ? undefined
          : html`<div class="note warn">
              <p><strong>${say('boundaries.undeclared')}</strong></p>
              ${bullets(boundaries.undeclared)}
            </div>`
      }
      ${declared.length === 0 ? undefined : lines('lines-declared', say('boundaries.declared'), declared)}
      ${dataTable(page, {
        id: 'crossings',
        caption: 'Where traffic crosses them, most flows first',
        columns: [
          { title: 'Line', width: 7 },
          { title: 'From', width: 13 },
          { title: 'To', width: 13 },
          { title: 'Flows', width: 6 },
          { title: 'Connections', width: 8, number: true },
          { title: 'With mTLS only', width: 8, number: true },
          { title: 'No policy decides', width: 9 },
          { title: 'Handled there', width: 12 },
        ],
        rows: boundaries.crossings.map(crossing),
      })}
      <details class="fold">
        <summary>${say('boundaries.caption')} <span class="soft small">${formatNumber(computed.length)}</span></summary>
        <div class="in">
          ${lines('boundaries', say('boundaries.caption'), computed.slice(0, 80))}
          ${computed.length > 80 ? html`<p class="small soft">${say('table.rest', { shown: '80', all: formatNumber(computed.length) })}</p>` : undefined}
        </div>
      </details>`,
  );
}

export function planesSection(page: Page): Html {
  const { planes } = page.report;
  const { say } = page;
  const most = Math.max(1, ...planes.matrix.map((one) => one.edges));
  const { edges, nodes } = page.report.map;
  const idOf = (node: number | undefined): string => nodes[node ?? -1]?.id ?? '';
  const intoControl = [
    ...new Set(planes.dataToControl.map((edge) => `${idOf(edges.src[edge])} → ${idOf(edges.dst[edge])}`)),
  ];
  return section(
    page,
    { id: 'planes', pointer: '/planes' },
    html`<div class="grid wide">
      <div class="card">
        <h3>${say('planes.matrix')}</h3>
        ${barList(
          say('planes.matrix-note'),
          planes.matrix.map((one) => ({
            label: html`${name(one.from)} → ${name(one.to)}`,
            parts: [
              {
                share: one.edges / most,
                look: one.from === 'data' && one.to === 'control' ? ('bad' as const) : ('mark' as const),
              },
            ],
            value: formatNumber(one.edges),
            note: say('planes.connections', { count: formatNumber(one.connections) }),
          })),
        )}
      </div>
      <div class="stack">
        <div class="note ${planes.dataToControl.length > 0 ? 'bad' : 'good'}">
          <p><strong>${say('planes.data-to-control')}</strong></p>
          <p>${say('planes.data-to-control-text')}</p>
          ${intoControl.length === 0 ? undefined : bullets(intoControl.slice(0, 8))}
          <p>${flowsLink(planes.dataToControl)}</p>
        </div>
        <div class="card">
          <h3>${say('planes.api-server')}</h3>
          ${
            planes.apiServerCallers.length === 0
              ? html`<p class="soft">${say('planes.no-callers')}</p>`
              : html`<ul class="pairs">
                    ${planes.apiServerCallers.slice(0, 40).map((one) => html`<li>${workloadById(page, one.workload)} <span class="soft small">${prose(one.plane)}</span> ${flowsLink(one.edges)}</li>`)}
                  </ul>
                  ${planes.apiServerCallers.length > 40 ? html`<p class="small soft">${say('table.rest', { shown: '40', all: formatNumber(planes.apiServerCallers.length) })}</p>` : undefined}`
          }
        </div>
      </div>
    </div>`,
  );
}

export function tenantsSection(page: Page): Html {
  const { tenants } = page.report;
  const { say } = page;
  return section(
    page,
    { id: 'tenants', pointer: '/tenants' },
    html`<p>${say('tenants.how')} ${prose(tenants.because)}</p>
      ${
        tenants.tenants.length === 0
          ? html`<p class="note warn">${say('tenants.none')}</p>`
          : html`<div class="grid">
              ${tenants.tenants.slice(0, 60).map(
                (one) =>
                  html`<div class="card">
                    <h3>${name(one.name)}</h3>
                    <p class="small soft">
                      ${say('tenants.size', { workloads: formatNumber(one.workloads), namespaces: formatNumber(one.namespaces.length) })}
                      ${one.basis === 'declared' ? tag('good', 'declared') : tag('plain', 'computed')}
                    </p>
                    ${names(one.namespaces, 5)}
                    <p class="small soft">${prose(one.because.slice(0, 3).join('; '))}</p>
                  </div>`,
              )}
            </div>`
      }
      ${
        tenants.leaks.length === 0
          ? html`<p class="note good">${say('tenants.no-leaks')}</p>`
          : plainTable(
              'leaks',
              say('tenants.leaks'),
              [
                say('word.from'),
                say('word.to'),
                say('tenants.seen'),
                { title: say('tenants.reachable'), number: true },
                { title: say('tenants.share'), number: true },
              ],
              tenants.leaks
                .slice(0, 200)
                .map((one) => [
                  name(one.from),
                  name(one.to),
                  flowsLink(one.edges),
                  one.reachablePairs === null ? say('surface.not-known') : formatNumber(one.reachablePairs),
                  one.reachablePairs === null || one.pairs === 0
                    ? '–'
                    : `${Math.round((one.reachablePairs / one.pairs) * 100)}%`,
                ]),
            )
      }
      <div class="grid">
        <div class="card">
          <h3>${say('tenants.shared')}</h3>
          ${names(tenants.shared, 8)}
        </div>
        <div class="card">
          <h3>${say('tenants.unassigned')}</h3>
          ${names(tenants.unassigned, 8)}
        </div>
      </div>`,
  );
}

export function egressSection(page: Page): Html {
  const { egress } = page.report;
  const { say } = page;
  const most = Math.max(1, ...egress.groups.map((one) => one.destinations.length));
  const rows = egress.groups.flatMap((group) => group.destinations.map((one) => ({ group, one })));
  return section(
    page,
    { id: 'egress', pointer: '/egress', values: { destinations: formatNumber(egress.destinations) } },
    html`<div class="note ${egress.unrestricted === 0 ? 'good' : 'bad'}">
        <p>
          ${egress.unrestricted === null ? say('egress.unrestricted-unknown') : say('egress.unrestricted', { count: formatNumber(egress.unrestricted) })}
        </p>
      </div>
      <div class="card">
        ${barList(
          say('egress.note'),
          egress.groups
            .filter((group) => group.destinations.length > 0)
            .map((group) => ({
              label: prose(group.title),
              parts: [
                {
                  share: group.destinations.length / most,
                  look: group.group === 'unknown' ? ('dim' as const) : ('mark' as const),
                },
              ],
              value: formatNumber(group.destinations.length),
              note: html`${group.destinations.slice(0, 3).map((one, index) => html`${index > 0 ? ', ' : ''}${name(one.name)}`)}${group.destinations.length > 3 ? ` and ${formatNumber(group.destinations.length - 3)} more` : ''};
              ${say('egress.connections', { count: formatNumber(group.connections) })}`,
            })),
        )}${
          egress.groups.every((group) => group.destinations.length > 0)
            ? undefined
            : html`<p class="small soft">
                ${say('egress.empty', {
                  groups: egress.groups
                    .filter((group) => group.destinations.length === 0)
                    .map((group) => group.title)
                    .join(', '),
                })}
              </p>`
        }
      </div>
      ${dataTable(page, {
        id: 'egress',
        caption: 'Every destination outside the cluster',
        columns: [
          { title: 'Destination', width: 16 },
          { title: 'Group', width: 9 },
          { title: 'Called by', width: 20 },
          { title: 'Ports', width: 8 },
          { title: 'Flows', width: 6 },
          { title: 'Connections', width: 8, number: true },
          { title: 'Range', width: 8 },
          { title: 'Because', width: 18 },
        ],
        rows: rows.map(({ group, one }): readonly Cell[] => [
          one.name,
          group.group === 'unknown' ? { t: 'dim', s: group.title } : group.title,
          { l: one.workloads },
          { l: one.ports },
          { e: one.edges },
          one.connections,
          one.boundary ?? '–',
          one.because,
        ]),
        opens: rows.map(({ one }) => `n:${one.node}`),
      })}
      ${
        egress.registries.length === 0
          ? undefined
          : html`<h3>${say('egress.registries')}</h3>
              <p class="small soft">${say('egress.registries-note')}</p>
              ${dataTable(page, {
                id: 'registries',
                caption: 'Registries that pod specs name',
                columns: [
                  { title: 'Registry', width: 16 },
                  { title: 'Images', width: 6, number: true },
                  { title: 'Workloads', width: 24 },
                  { title: 'Range', width: 8 },
                ],
                rows: egress.registries.map((one): readonly Cell[] => [
                  one.name,
                  one.images,
                  { l: one.workloads },
                  one.boundary ?? '–',
                ]),
              })}`
      }`,
  );
}

const AUTHENTICATION: Readonly<Record<AuthenticationKind, Tone>> = {
  jwt: 'good',
  'oauth2-proxy': 'good',
  oidc: 'good',
  'client-certificate': 'good',
  basic: 'warn',
  external: 'warn',
  'none-found': 'bad',
  unknown: 'dim',
};

export function identitiesSection(page: Page): Html {
  const { identities } = page.report;
  const { say } = page;
  const { totals } = identities;
  const facts: readonly (readonly [string, number, number | undefined])[] = [
    ['identities.default', totals.workloadsOnDefault, totals.defaultAccounts],
    ['identities.shared', totals.workloadsOnShared, totals.sharedAccounts],
    ['identities.powerful', totals.powerful, undefined],
    ['identities.cloud', totals.cloudBound, undefined],
    ['identities.keys', totals.keys, undefined],
    ['identities.literal', totals.literalKeys, undefined],
  ];
  return section(
    page,
    { id: 'identities', pointer: '/identities' },
    html`<ul class="tiles">
        ${facts.map(
          ([key, count, accounts]) =>
            html`<li class="tile ${key === 'identities.cloud' ? 'plain' : count === 0 ? 'good' : 'warn'}">
              <span class="tile-n">${formatNumber(count)}</span
              ><span class="tile-l">${say(key)}</span
              >${accounts === undefined ? undefined : html`<span class="tile-d">${say('identities.of-accounts', { count: formatNumber(accounts) })}</span>`}
            </li>`,
        )}
      </ul>
      <h3>${say('identities.entrances')}</h3>
      ${
        identities.entrances.length === 0
          ? html`<p class="note">${say('identities.no-entrances')}</p>`
          : plainTable(
              'entrances',
              say('identities.entrances-caption'),
              [
                say('identities.entrance'),
                say('identities.hosts'),
                say('identities.tls'),
                say('identities.authentication'),
                say('identities.leads-to'),
                say('identities.because'),
              ],
              identities.entrances.slice(0, 200).map((one) => [
                name(one.id),
                names(one.hosts, 3),
                answerTag(one.tls),
                tag(AUTHENTICATION[one.authentication], one.authentication.replaceAll('-', ' ')),
                html`<ul>
                  ${one.leadsTo.slice(0, 5).map((id) => html`<li>${workloadById(page, id)}</li>`)}
                </ul>`,
                bullets(one.because),
              ]),
            )
      }
      ${
        identities.jwt.length === 0
          ? html`<p class="small soft">${say('identities.no-jwt')}</p>`
          : plainTable(
              'jwt',
              say('identities.jwt'),
              [say('word.object'), say('identities.issuers'), say('identities.selects'), say('identities.required')],
              identities.jwt.map((one) => [
                name(one.object),
                names(one.issuers, 3),
                names(one.selects, 3),
                answerTag(one.required),
              ]),
            )
      }
      ${
        identities.oauthClients.length === 0
          ? undefined
          : plainTable(
              'oauth',
              say('identities.oauth'),
              [say('word.subject'), say('identities.kind'), say('identities.references'), say('identities.issuer')],
              identities.oauthClients.map((one) => [
                name(one.subject),
                name(one.kind),
                names(one.references, 3),
                one.issuer === null ? '–' : name(one.issuer),
              ]),
            )
      }
      <h3>${say('identities.keys-title')}</h3>
      ${
        identities.keys.length === 0
          ? html`<p class="note good">${say('identities.no-keys')}</p>`
          : dataTable(page, {
              id: 'keys',
              caption: 'Long-lived credentials in use, by reference; values are never read',
              columns: [
                { title: 'Workload', width: 18 },
                { title: 'How it gets in', width: 10 },
                { title: 'Where', width: 13 },
                { title: 'Reference', width: 14 },
                { title: 'Sort', width: 8 },
                { title: 'Because', width: 16 },
                { title: 'What to do', width: 20 },
              ],
              rows: identities.keys.map((one): readonly Cell[] => [
                one.workload,
                one.how === 'env-literal' ? { t: 'bad', s: 'literal value' } : one.how.replaceAll('-', ' '),
                one.at,
                one.reference ?? 'a literal, masked',
                one.sort.replaceAll('-', ' '),
                one.because,
                one.fix,
              ]),
            })
      }
      <h3>${say('identities.accounts-title')}</h3>
      ${dataTable(page, {
        id: 'accounts',
        caption: 'Service accounts',
        columns: [
          { title: 'Account', width: 16 },
          { title: 'Workloads', width: 20 },
          { title: 'Use', width: 9 },
          { title: 'Token in pods', width: 8 },
          { title: 'Roles', width: 14 },
          { title: 'Powerful', width: 14 },
          { title: 'Cloud identity', width: 16 },
        ],
        rows: identities.accounts.map((one): readonly Cell[] => [
          `${one.namespace}/${one.name}`,
          { l: one.workloads },
          one.isDefault && one.workloads.length > 0
            ? { t: 'warn', s: one.shared ? 'default, shared' : 'default' }
            : one.shared
              ? { t: 'warn', s: 'shared' }
              : 'its own',
          one.automount === 'unknown' ? null : one.automount === 'yes' ? 'yes' : 'no',
          { l: one.roles },
          one.powerful.length === 0 ? '–' : { t: 'bad', s: one.powerful.join('; ') },
          one.cloud.length === 0 ? '–' : one.cloud.map((cloud) => `${cloud.provider}: ${cloud.identity}`).join('; '),
        ]),
      })}
      ${identities.limits.length === 0 ? undefined : html`<div class="small soft">${bullets(identities.limits)}</div>`}`,
  );
}
