import type { Answer, AssessmentReport, Figure, Window } from '../model.ts';
import { adviceOf } from '../words.ts';
import type { Say } from './assets.ts';
import { html } from './html.ts';
import type { Html, HtmlValue } from './html.ts';
import type { DataTable } from './table.ts';

/** What every section is drawn with. `tables` collects what the page's script needs; order is that of drawing. */
export interface Page {
  readonly report: AssessmentReport;
  readonly say: Say;
  /** Figure id -> the number of its note. */
  readonly notes: ReadonlyMap<string, number>;
  readonly tables: DataTable[];
}

export type Tone = 'good' | 'warn' | 'bad' | 'dim' | 'plain';

const GROUPED = new Intl.NumberFormat('en-GB', { maximumFractionDigits: 2 });

/** `1234.5` -> `1,234.5`. */
export function formatNumber(value: number): string {
  return GROUPED.format(value);
}

/** A share from 0 to 1 as percent with at most one digit; never 0% or 100% for what is neither. */
export function formatShare(share: number): string {
  const percent = share * 100;
  if (percent > 0 && percent < 0.1) return '<0.1%';
  if (percent < 100 && percent > 99.9) return '>99.9%';
  return `${percent < 10 ? Number(percent.toFixed(1)) : Math.round(percent)}%`;
}

/** `2026-10-13T09:05:00.000Z` -> `2026-10-13 09:05 UTC`. */
export function formatInstant(instant: string): string {
  return /^\d{4}-\d\d-\d\dT\d\d:\d\d/.test(instant) ? `${instant.slice(0, 10)} ${instant.slice(11, 16)} UTC` : instant;
}

export function formatWindow(window: Window | null): string {
  return window === null ? 'as configured' : `${formatInstant(window.from)} to ${formatInstant(window.to)}`;
}

const UNITS: Readonly<Record<Figure['unit'], string>> = { '': '', percent: '%', ms: ' ms', hours: ' h', days: ' days' };

export function formatFigure(figure: Figure): string {
  return figure.value === null ? 'not known' : `${formatNumber(figure.value)}${UNITS[figure.unit]}`;
}

/** `namespace/Kind/name`, or `Kind namespace/name`. */
const WORKLOAD = /^(?:[^/ ]+\/[A-Z]\w*|[A-Z]\w* [^/ ]+)\/[^/ ]+$/;

/** Text of the cluster: cut off from the direction of what stands around it. */
export function name(text: string): Html {
  const parts = text.split('/');
  if (!WORKLOAD.test(text)) return html`<bdi class="id">${text}</bdi>`;
  // Long names break after a slash, and the last part is what tells one from another.
  return html`<bdi class="id"
    >${parts.slice(0, -1).map((part) => html`<span class="of">${part}/</span><wbr />`)}<b>${parts.at(-1)}</b></bdi
  >`;
}

export function tag(tone: Tone, text: string): Html {
  return html`<span class="tag ${tone}"><bdi>${text}</bdi></span>`;
}

/** The text of an element of a list by its index; a hole is a bug, told by the text itself. */
export function at(list: readonly string[], index: number): string {
  return list[index] ?? 'not known';
}

export function answerTag(answer: Answer, words: readonly [yes: string, no: string] = ['yes', 'no']): Html {
  if (answer === 'unknown') return tag('dim', 'not known');
  return answer === 'yes' ? tag('good', words[0]) : tag('bad', words[1]);
}

/** A figure's text with the button that opens its source. */
export function withSource(page: Page, id: string, text: HtmlValue): Html {
  const number = page.notes.get(id);
  if (number === undefined) return html`${text}`;
  return html`${text}<button
      type="button"
      class="src"
      popovertarget="src-${number}"
      aria-label="Source of this figure, note ${number}"
    >
      [${number}]
    </button>`;
}

/** What a shell reads as one command, whatever stands in it. */
const ONE_COMMAND = /^(?:sallyport|kubectl|istioctl|cilium) [\w ./:=,*@+"'-]*$/;

/** A command. A button copies it only where no name in it could mean something to a shell. */
export function command(text: string): Html {
  if (!ONE_COMMAND.test(text)) return html`<div class="cmd"><code>${text}</code></div>`;
  return html`<div class="cmd">
    <code>${text}</code><button type="button" class="btn copy" data-copy="${text}">Copy</button>
  </div>`;
}

/** What to do: each way by itself, its command ready to be copied. */
export function advice(text: string): Html {
  const ways = adviceOf(text).map(({ before, command: line, after }) =>
    line === null
      ? html`<p class="small">${prose(before)}</p>`
      : html`${before === '' ? undefined : html`<p class="small">${prose(before)}</p>`}${command(line)}${after === '' ? undefined : html`<p class="small">${prose(after)}</p>`}`,
  );
  return ways.length === 1
    ? html`${ways}`
    : html`<ul class="ways">
        ${ways.map((way) => html`<li>${way}</li>`)}
      </ul>`;
}

/** A list of names, the first few in view, the others one press away. */
export function names(list: readonly string[], shown = 6): Html {
  if (list.length === 0) return html`<span class="soft">none</span>`;
  if (list.length === 1) return name(list[0] ?? '');
  const item = (text: string): Html => html`<li>${name(text)}</li>`;
  if (list.length <= shown + 1)
    return html`<ul>
      ${list.map(item)}
    </ul>`;
  // A list of thousands would weigh more than the rest of the page: the JSON has it whole.
  const rest = list.slice(shown, 400);
  return html`<ul>
      ${list.slice(0, shown).map(item)}
    </ul>
    <details class="rest">
      <summary>${formatNumber(list.length - shown)} more</summary>
      <ul>
        ${rest.map(item)}
      </ul>
      ${
        list.length > 400
          ? html`<p class="soft small">${formatNumber(list.length - 400)} more stand in the JSON report.</p>`
          : undefined
      }
    </details>`;
}

export function bullets(list: readonly string[]): Html {
  if (list.length === 1) return html`<p>${prose(list[0] ?? '')}</p>`;
  return list.length === 0
    ? html``
    : html`<ul>
        ${list.map((text) => html`<li>${prose(text)}</li>`)}
      </ul>`;
}

/** A sentence from the report: text of ours with names of the cluster in it, isolated as a whole. */
export function prose(text: string): Html {
  return html`<bdi>${text}</bdi>`;
}

export interface SectionHead {
  /** A word: the anchor. Texts `<id>.title` and `<id>.lead` belong to it. */
  readonly id: string;
  readonly values?: Readonly<Record<string, HtmlValue>>;
  /** JSON pointer of what is shown. */
  readonly pointer: string;
}

/** A section with its heading, its first sentence, and where its numbers come from. */
export function section(page: Page, head: SectionHead, body: HtmlValue): Html {
  const { id } = head;
  return html`<section class="section" id="${id}" aria-labelledby="${id}-h">
    <header>
      <h2 id="${id}-h">${page.say(`${id}.title`, head.values)}</h2>
      <p class="lead">${page.say(`${id}.lead`, head.values)}</p>
    </header>
    <div class="stack">${body}${provenance(page, id, head.pointer)}</div>
  </section>`;
}

function provenance(page: Page, id: string, pointer: string): Html {
  return html`<details class="prov small">
    <summary>${page.say('source.summary')}</summary>
    <p>${page.say(`${id}.source`)} ${page.say('source.pointer', { pointer: html`<code>${pointer}</code>` })}</p>
  </details>`;
}

/** A link that opens details where the script runs, and is plain text in what it says where not. */
export function workloadLink(page: Page, node: number): Html {
  const known = page.report.map.nodes[node];
  if (known === undefined) return html`<span class="soft">not known</span>`;
  return html`<button type="button" class="link" data-open="n:${node}">${name(known.id)}</button>`;
}

export function workloadById(page: Page, id: string): Html {
  const node = page.report.inventory.workloads.findIndex((row) => row.id === id);
  return node < 0 ? name(id) : workloadLink(page, node);
}

export function flowsLink(edges: readonly number[], text?: string): Html {
  if (edges.length === 0) return html`<span class="soft">none</span>`;
  const few = edges.slice(0, 500).join(',');
  return html`<button type="button" class="link" data-open="s:${few}">
    ${text ?? `${formatNumber(edges.length)} ${edges.length === 1 ? 'flow' : 'flows'}`}
  </button>`;
}
