// What the figures rest on: the record, its gaps, and the standards that the findings speak to.
import type { StandardRow } from '../../model.ts';
import { html } from '../html.ts';
import type { Html } from '../html.ts';
import {
  answerTag,
  bullets,
  formatInstant,
  formatNumber,
  formatShare,
  name,
  names,
  prose,
  section,
  tag,
} from '../page.ts';
import type { Page, Tone } from '../page.ts';
import { dataTable, plainTable } from '../table.ts';
import type { Cell } from '../table.ts';

export function evidenceSection(page: Page): Html {
  const { evidence, cluster } = page.report;
  const { say } = page;
  const mesh =
    cluster.mesh.kind === 'istio' ? `istio ${cluster.mesh.version ?? ''} (${cluster.mesh.mode})` : cluster.mesh.kind;
  const facts: readonly (readonly [string, Html])[] = [
    ['evidence.cluster', html`${prose(cluster.description)} <span class="soft small mono">${name(cluster.id)}</span>`],
    [
      'evidence.read',
      say('evidence.read-value', {
        objects: formatNumber(cluster.objects),
        namespaces: formatNumber(cluster.namespaces),
        workloads: formatNumber(cluster.workloads),
        services: formatNumber(cluster.services),
        nodes: formatNumber(cluster.nodes),
      }),
    ],
    [
      'evidence.kubernetes',
      html`${cluster.kubernetesVersion === null ? say('surface.not-known') : name(cluster.kubernetesVersion)}`,
    ],
    [
      'evidence.cni',
      html`${name(cluster.cni.name)} ${answerTag(cluster.cni.enforces, ['enforces policy', 'does not enforce policy'])}
        <span class="soft small">${prose(cluster.cni.because)}</span>`,
    ],
    ['evidence.mesh', html`${name(mesh)} <span class="soft small">${prose(cluster.mesh.because)}</span>`],
    [
      'evidence.window',
      evidence.window === null
        ? html`${tag('bad', 'no traffic on record')}`
        : say('evidence.window-value', {
            from: formatInstant(evidence.window.from),
            to: formatInstant(evidence.window.to),
            days: formatNumber(evidence.days),
          }),
    ],
    [
      'evidence.records',
      say('evidence.records-value', {
        records: formatNumber(evidence.records),
        lost: formatNumber(evidence.lost),
        share: evidence.lostShare === null ? say('surface.not-known') : formatShare(evidence.lostShare),
      }),
    ],
  ];
  return section(
    page,
    { id: 'evidence', pointer: '/evidence' },
    html`<div class="card">
        <dl class="facts">
          ${facts.map(
            ([key, value]) =>
              html`<dt>${say(key)}</dt>
                <dd>${value}</dd>`,
          )}${
            cluster.unread.length === 0
              ? undefined
              : html`<dt>${say('evidence.unread')}</dt>
                  <dd>${names(cluster.unread, 6)}</dd>`
          }
        </dl>
      </div>
      ${
        evidence.limits.length === 0
          ? undefined
          : html`<div class="note warn">
              <p><strong>${say('evidence.limits')}</strong></p>
              ${bullets(evidence.limits)}
            </div>`
      }
      ${
        evidence.sources.length === 0
          ? html`<p class="note bad">${say('evidence.no-sources')}</p>`
          : plainTable(
              'sources',
              say('evidence.sources'),
              [
                say('evidence.source-name'),
                say('evidence.first'),
                say('evidence.last'),
                { title: say('evidence.count'), number: true },
                { title: say('evidence.lost'), number: true },
                { title: say('evidence.bad'), number: true },
                { title: say('evidence.ignored'), number: true },
                say('evidence.sampling'),
              ],
              evidence.sources.map((one) => [
                name(one.source),
                formatInstant(one.first),
                formatInstant(one.last),
                formatNumber(one.records),
                formatNumber(one.lost),
                formatNumber(one.bad),
                formatNumber(one.ignored),
                one.sampledOneIn === 1
                  ? say('evidence.every')
                  : say('evidence.one-in', { n: formatNumber(one.sampledOneIn) }),
              ]),
            )
      }
      ${
        evidence.unattributed.length === 0
          ? undefined
          : plainTable(
              'unattributed',
              say('evidence.unattributed'),
              [say('evidence.reason'), { title: say('evidence.count'), number: true }],
              evidence.unattributed.map((one) => [prose(one.reason), formatNumber(one.count)]),
            )
      }
      ${dataTable(page, {
        id: 'coverage',
        caption: 'How much may not have been seen: upper bounds by namespace and direction',
        columns: [
          { title: 'Namespace', width: 15 },
          { title: 'Direction', width: 7 },
          { title: 'Unseen share, at most', width: 13 },
          { title: 'Flows seen', width: 7, number: true },
          { title: 'Unseen, at most', width: 8, number: true },
          { title: 'Too few days or runs to say', width: 20 },
        ],
        rows: evidence.coverage.map((row): readonly Cell[] => [
          row.namespace,
          row.direction,
          row.shareUpper === null
            ? { t: 'dim', s: 'not known' }
            : { b: row.shareUpper, s: formatShare(row.shareUpper) },
          row.observed,
          Number(row.unseenUpper.toFixed(2)),
          { l: row.tooFew },
        ]),
      })}
      ${
        evidence.schedules.length === 0
          ? undefined
          : dataTable(page, {
              id: 'schedules',
              caption: 'Schedules: did each one run and succeed while the record ran?',
              columns: [
                { title: 'Workload', width: 18 },
                { title: 'Schedule', width: 8 },
                { title: 'Succeeded', width: 7 },
                { title: 'Facts', width: 22 },
                { title: 'What to do', width: 24 },
              ],
              rows: evidence.schedules.map((row): readonly Cell[] => [
                row.workload,
                row.cron,
                row.answer === 'yes'
                  ? { t: 'good', s: 'yes' }
                  : row.answer === 'no'
                    ? { t: 'bad', s: 'no' }
                    : { t: 'dim', s: 'not known' },
                row.facts.join('; '),
                row.fix === '' ? '–' : row.fix,
              ]),
            })
      }
      ${
        evidence.unseenWorkloads.length === 0
          ? undefined
          : html`<div class="card">
              <h3>${say('evidence.unseen', { count: formatNumber(evidence.unseenWorkloads.length) })}</h3>
              ${names(evidence.unseenWorkloads, 8)}
            </div>`
      }`,
  );
}

const STANDARD: Readonly<Record<StandardRow['state'], readonly [Tone, string]>> = {
  met: ['good', 'met'],
  partly: ['warn', 'in part'],
  'not-met': ['bad', 'not met'],
  unknown: ['dim', 'not known'],
  outside: ['plain', 'outside'],
};

export function standardsSection(page: Page): Html {
  const { standards } = page.report;
  const { say } = page;
  const table = (id: string, rows: readonly StandardRow[]): Html =>
    plainTable(
      id,
      say(`standards.${id}`),
      [
        say('standards.id'),
        say('standards.title-head'),
        say('standards.state'),
        say('standards.because'),
        say('standards.answered'),
      ],
      rows.map((row) => [
        html`<bdi class="nowrap">${row.id}</bdi>`,
        html`<a href="#${row.section}">${prose(row.title)}</a>`,
        tag(...STANDARD[row.state]),
        bullets(row.because),
        prose(row.answeredBy),
      ]),
    );
  return section(
    page,
    { id: 'standards', pointer: '/standards' },
    html`${table('nist', standards.nist)}${table('cis', standards.cis)}
      <p class="small soft">${prose(standards.note)}</p>`,
  );
}
