import { sha256 } from '../../shared/pure/hash.ts';
import type { AssessmentReport } from '../model.ts';
import { fillTemplate, speaker } from './assets.ts';
import type { ReportAssets } from './assets.ts';
import { patterns } from './charts.ts';
import { detailData, pageData } from './data.ts';
import { html, htmlText, jsonIsland, ownMarkup } from './html.ts';
import type { Html } from './html.ts';
import { formatInstant, prose } from './page.ts';
import type { Page } from './page.ts';
import {
  comparisonSection,
  figureNotes,
  figuresSection,
  residualSection,
  riskSection,
  summarySection,
  surfaceSection,
  wavesSection,
} from './sections/board.ts';
import {
  boundariesSection,
  egressSection,
  identitiesSection,
  inventorySection,
  mapSection,
  planesSection,
  tenantsSection,
} from './sections/cluster.ts';
import { evidenceSection, standardsSection } from './sections/proof.ts';
import {
  latencySection,
  plaintextSection,
  policiesSection,
  progressSection,
  readinessSection,
} from './sections/way.ts';

export type { ReportAssets } from './assets.ts';

interface Part {
  readonly id: string;
  readonly sections: readonly (readonly [id: string, draw: (page: Page) => Html])[];
}

/** The order of the page. A section's id is the report's key for what it shows. */
function parts(report: AssessmentReport): readonly Part[] {
  const { comparison } = report;
  return [
    {
      id: 'board',
      sections: [
        ['summary', summarySection],
        ...(comparison === null ? [] : [['comparison', (page: Page) => comparisonSection(page, comparison)] as const]),
        ['surface', surfaceSection],
        ['risk', riskSection],
        ['waves', wavesSection],
        ['residual', residualSection],
      ],
    },
    {
      id: 'cluster',
      sections: [
        ['map', mapSection],
        ['inventory', inventorySection],
        ['boundaries', boundariesSection],
        ['planes', planesSection],
        ['tenants', tenantsSection],
        ['egress', egressSection],
        ['identities', identitiesSection],
      ],
    },
    {
      id: 'way',
      sections: [
        ['readiness', readinessSection],
        ['plaintext', plaintextSection],
        ['policies', policiesSection],
        ['latency', latencySection],
        ['progress', progressSection],
      ],
    },
    {
      id: 'proof',
      sections: [
        ['evidence', evidenceSection],
        ['standards', standardsSection],
        ['figures', figuresSection],
      ],
    },
  ];
}

function contentHash(text: string): string {
  return `'sha256-${Buffer.from(sha256(text), 'hex').toString('base64')}'`;
}

// The library that draws the map adds this rule by itself unless an element of this id is there; the page's policy would refuse it.
const LIBRARY_STYLE_ID = '__________cytoscape_stylesheet';
const LIBRARY_STYLE = '.__________cytoscape_container { position: relative; }';

function styleElement(text: string, id?: string): Html {
  return id === undefined
    ? html`${ownMarkup(`<style>${text}</style>`)}`
    : html`${ownMarkup(`<style id="${id}">${text}</style>`)}`;
}

/** The sign of the product: a gate in a wall. */
const BRAND = html`<a class="brand" href="#top"
  ><svg viewBox="0 0 32 32" aria-hidden="true" focusable="false">
    <path class="c-mark" d="M3 6h5v4h4V6h8v4h4V6h5v22h-9V19a4 4 0 0 0-8 0v9H3z" /></svg
  ><span>Sallyport</span></a
>`;

/**
 * The report as one file: style, script and data inside, and a policy that lets nothing else run and nothing be asked for. Pure: the same
 * report and assets give the same bytes.
 */
export function renderHtml(report: AssessmentReport, assets: ReportAssets): string {
  const say = speaker(assets.texts);
  const page: Page = {
    report,
    say,
    notes: new Map(report.summary.figures.map((figure, index) => [figure.id, index + 1])),
    tables: [],
  };
  const drawn = parts(report).map((part) => ({
    part,
    body: part.sections.map(([id, draw]) => ({ id, markup: draw(page) })),
  }));
  const description = prose(report.cluster.description);
  const at = formatInstant(report.at);
  const scripts = [assets.library, `(() => {\n'use strict';\n${assets.script}\n})();\n`];
  for (const text of scripts)
    if (/<\/script|<!--/i.test(text)) throw new Error('a script of ours would end its element');
  const styles = [LIBRARY_STYLE, assets.style];
  const policy = [
    "default-src 'none'",
    `script-src ${scripts.map(contentHash).join(' ')}`,
    `style-src ${styles.map(contentHash).join(' ')}`,
    "base-uri 'none'",
    "form-action 'none'",
    // The printed map is a picture that the page makes of its own canvas.
    'img-src data:',
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join('; ');

  return htmlText(
    fillTemplate(assets.layout, {
      lang: 'en',
      csp: ownMarkup(policy),
      generator: `sallyport ${report.version}`,
      title: say('page.title', { description: report.cluster.description }),
      style: html`${styleElement(LIBRARY_STYLE, LIBRARY_STYLE_ID)}${styleElement(assets.style)}`,
      skip: say('page.skip'),
      brand: BRAND,
      subject: say('page.subject', { description, at }),
      tools: html`<button type="button" class="btn" id="theme" hidden>
          ${say('page.theme', { auto: html`<span id="theme-word">${say('page.theme-auto')}</span>` })}</button
        ><button type="button" class="btn" id="print" hidden>${say('page.print')}</button>`,
      'nav-label': say('page.nav'),
      nav: html`<details id="contents" open>
        <summary>${say('page.contents')}</summary>
        ${drawn.map(
          ({ part, body }) =>
            html`<p class="side-part" id="nav-${part.id}">${say(`part.${part.id}`)}</p>
              <ol aria-labelledby="nav-${part.id}">
                ${body.map(({ id }) => html`<li><a href="#${id}">${id === 'summary' ? say('summary.nav') : say(`${id}.title`)}</a></li>`)}
              </ol>`,
        )}
      </details>`,
      main: html`${patterns()}${drawn.map(
        ({ part, body }) =>
          html`<div class="part" id="part-${part.id}">
            <p class="part-name">${say(`part.${part.id}`)}</p>
            ${body.map((one) => one.markup)}
          </div>`,
      )}`,
      footer: html`<p>${say('page.footer', { version: report.version, at, description })}</p>`,
      notes: html`${figureNotes(page)}
        <aside class="drawer" id="drawer" aria-labelledby="drawer-h" hidden>
          <div class="drawer-head">
            <button type="button" class="btn" id="drawer-back" aria-label="${say('ui.back')}" hidden>←</button>
            <h2 id="drawer-h" tabindex="-1"></h2>
            <button type="button" class="btn" id="drawer-close" aria-label="${say('ui.close')}">✕</button>
          </div>
          <div class="drawer-in" id="drawer-in"></div>
        </aside>`,
      data: html`${jsonIsland('data-page', pageData(report, page.tables, assets.texts))}${jsonIsland('data-detail', detailData(report))}`,
      script: html`${scripts.map((text) => ownMarkup(`<script>${text}</script>`))}`,
    }),
  );
}
