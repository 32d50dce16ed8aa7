import type { PhaseName } from '../model/phase.ts';
import { PHASES } from '../model/phase.ts';
import type { Html } from './html/html.ts';
import { html, htmlText } from './html/html.ts';
import { escapeMarkdown } from './markdown.ts';
import { counted } from './words.ts';

/** What the joint report says of a cluster. */
export interface FleetCluster {
  readonly name: string;
  readonly outcome: 'read' | 'failed';
  readonly namespaces: number;
  readonly workloads: number;
  /** Namespaces by phase; a phase without one is left out. */
  readonly phases: Readonly<Partial<Record<PhaseName, number>>>;
  readonly headline: string;
  /** Of its own report, beside the joint one; absent where none was written. */
  readonly file?: string;
  /** Why it was not read, in one line. */
  readonly problem?: string;
}

export interface FleetReport {
  readonly clusters: readonly FleetCluster[];
  readonly totals: {
    readonly clusters: number;
    readonly failed: number;
    readonly namespaces: number;
    readonly workloads: number;
    readonly phases: Readonly<Record<PhaseName, number>>;
  };
}

function summary({ totals }: FleetReport): string {
  return `${counted(totals.clusters, 'cluster')}, ${totals.failed} not read: ${counted(totals.workloads, 'workload')} in ${counted(totals.namespaces, 'namespace')}.`;
}

/** The joint report as Markdown: a row a cluster, linked to its own report. Names are others' and escaped. */
export function renderFleetMarkdown(report: FleetReport): string {
  const row = (cells: readonly (string | number)[]): string => `| ${cells.join(' | ')} |`;
  const { clusters, totals } = report;
  return [
    '# Clusters on the way to zero trust',
    '',
    summary(report),
    '',
    row(['Cluster', 'Workloads', 'Namespaces', ...PHASES, 'What stands out']),
    row(['---', ...['', '', ...PHASES].map(() => '---:'), '---']),
    ...clusters.map((one) =>
      row([
        one.file === undefined ? escapeMarkdown(one.name) : `[${escapeMarkdown(one.name)}](${encodeURI(one.file)})`,
        ...(one.outcome === 'failed'
          ? ['', '', ...PHASES.map(() => '')]
          : [one.workloads, one.namespaces, ...PHASES.map((phase) => one.phases[phase] ?? 0)]),
        escapeMarkdown(one.problem === undefined ? one.headline : `not read: ${one.problem}`),
      ]),
    ),
    row(['all', totals.workloads, totals.namespaces, ...PHASES.map((phase) => totals.phases[phase]), '']),
    '',
  ].join('\n');
}

/** The joint report as one page without scripts or requests. */
export function renderFleetHtml(report: FleetReport): string {
  const { clusters, totals } = report;
  const cells = (values: readonly (string | number)[]): readonly Html[] => values.map((one) => html`<td>${one}</td>`);
  const page = html`<html lang="en">
    <head>
      <meta charset="utf-8" />
      <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'" />
      <meta name="viewport" content="width=device-width, initial-scale=1" />
      <title>Clusters on the way to zero trust</title>
      <style>
        body {
          font:
            16px/1.5 system-ui,
            sans-serif;
          margin: 2rem;
          max-width: 75rem;
        }
        table {
          border-collapse: collapse;
          width: 100%;
        }
        th,
        td {
          padding: 0.4rem 0.7rem;
          border-bottom: 1px solid #8885;
          text-align: right;
        }
        th:first-child,
        td:first-child,
        th:last-child,
        td:last-child {
          text-align: left;
        }
        .bad {
          font-weight: 600;
        }
        @media (prefers-color-scheme: dark) {
          body {
            background: #16181d;
            color: #e6e8ec;
          }
          a {
            color: #8ab4ff;
          }
        }
      </style>
    </head>
    <body>
      <h1>Clusters on the way to zero trust</h1>
      <p>${summary(report)}</p>
      <table>
        <thead>
          <tr>
            <th scope="col">Cluster</th>
            <th scope="col">Workloads</th>
            <th scope="col">Namespaces</th>
            ${PHASES.map((phase) => html`<th scope="col">${phase}</th>`)}
            <th scope="col">What stands out</th>
          </tr>
        </thead>
        <tbody>
          ${clusters.map(
            (one) =>
              html`<tr>
                <td>${one.file === undefined ? one.name : html`<a href="./${encodeURI(one.file)}">${one.name}</a>`}</td>
                ${cells(
                  one.outcome === 'failed'
                    ? ['', '', ...PHASES.map(() => '')]
                    : [one.workloads, one.namespaces, ...PHASES.map((phase) => one.phases[phase] ?? 0)],
                )}
                <td class="${one.problem === undefined ? '' : 'bad'}">
                  ${one.problem === undefined ? one.headline : `not read: ${one.problem}`}
                </td>
              </tr>`,
          )}
        </tbody>
        <tfoot>
          <tr>
            <td>all</td>
            ${cells([totals.workloads, totals.namespaces, ...PHASES.map((phase) => totals.phases[phase])])}
            <td></td>
          </tr>
        </tfoot>
      </table>
    </body>
  </html>`;
  return `<!doctype html>\n${htmlText(page)}\n`;
}
