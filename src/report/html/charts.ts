import { html } from './html.ts';
import type { Html, HtmlValue } from './html.ts';

/** Shares of a whole from 0 to 1. What is left of 1 is drawn as empty. */
export interface Part {
  readonly share: number;
  readonly look: 'bad' | 'good' | 'warn' | 'mark' | 'dim' | 'soft';
}

const clamp = (share: number): number => Math.min(1, Math.max(0, share));
const round = (value: number): number => Math.round(value * 100) / 100;

/** Stripes for what is not known: told from the rest without colour. One per page, before the first chart. */
export function patterns(): Html {
  return html`<svg class="hush" width="0" height="0" aria-hidden="true" focusable="false">
    <defs>
      <pattern id="stripes" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
        <rect width="5" height="5" class="c-sunk" />
        <rect width="2" height="5" class="c-dim" />
      </pattern>
    </defs>
  </svg>`;
}

/** A bar across: parts one after the other. Its text stands beside it, so it says nothing to a screen reader. */
export function bar(parts: readonly Part[]): Html {
  let x = 0;
  const drawn = parts.map((part) => {
    // What is there at all is seen.
    const shown = part.share > 0 ? Math.max(0.6, round(clamp(part.share) * 100)) : 0;
    const rect =
      part.look === 'dim'
        ? html`<rect x="${x}%" width="${shown}%" height="12" fill="url(#stripes)" />`
        : html`<rect x="${x}%" width="${shown}%" height="12" class="c-${part.look}" />`;
    x = round(x + shown);
    return rect;
  });
  return html`<svg class="hbar" aria-hidden="true" focusable="false">
    <rect width="100%" height="12" class="c-track" />
    ${drawn}
  </svg>`;
}

export interface BarRow {
  readonly label: HtmlValue;
  readonly parts: readonly Part[];
  readonly value: HtmlValue;
  readonly note?: HtmlValue;
}

/** Bars under each other with their texts: a list for a screen reader, a chart for the rest. */
export function barList(caption: HtmlValue, rows: readonly BarRow[]): Html {
  return html`<figure class="bars">
    <ol>
      ${rows.map(
        (row) =>
          html`<li>
            <span class="bars-l">${row.label}</span><span class="bars-b">${bar(row.parts)}</span
            ><span class="bars-v">${row.value}</span
            >${row.note === undefined ? undefined : html`<span class="bars-n">${row.note}</span>`}
          </li>`,
      )}
    </ol>
    <figcaption>${caption}</figcaption>
  </figure>`;
}

const SIDE = 10;

/**
 * A hundred squares, one for each hundredth of the whole. `share` is drawn full, `unknown` striped; a part of a square is a lower square, and
 * what is there at all is never less than a sliver.
 */
export function waffle(share: number, unknown: number): Html {
  const cells: Html[] = [];
  const full = clamp(share) * 100;
  const striped = unknown > 0 ? full + clamp(unknown) * 100 : 0;
  for (let index = 0; index < SIDE * SIDE; index += 1) {
    const x = (index % SIDE) * 11;
    const y = (SIDE - 1 - Math.floor(index / SIDE)) * 11;
    const part = Math.min(1, full - index);
    const unknownPart = Math.min(1, striped - index);
    cells.push(html`<rect x="${x}" y="${y}" width="10" height="10" rx="1.5" class="c-track" />`);
    if (unknownPart > 0 && part < 1)
      cells.push(html`<rect x="${x}" y="${y}" width="10" height="10" rx="1.5" fill="url(#stripes)" />`);
    if (part > 0) {
      const height = round(Math.max(1.2, part * 10));
      cells.push(
        html`<rect x="${x}" y="${round(y + 10 - height)}" width="10" height="${height}" rx="1.2" class="c-bad" />`,
      );
    }
  }
  return html`<svg class="waffle" viewBox="0 0 109 109" aria-hidden="true" focusable="false">${cells}</svg>`;
}

/** A range on a scale from 0 to `most`, with a mark where a single value is known. */
export function range(low: number, high: number, most: number, measured: boolean): Html {
  const at = (value: number): number => round(clamp(value / most) * 97);
  const width = Math.max(3, round(at(high) - at(low)));
  return html`<svg class="hbar" aria-hidden="true" focusable="false">
    <rect y="5" width="100%" height="2" class="c-track" />
    ${
      measured
        ? html`<rect x="${at(low)}%" y="1" width="${width}%" height="10" class="c-mark" />`
        : html`<rect x="${at(low)}%" y="1" width="${width}%" height="10" fill="url(#stripes)" />`
    }
  </svg>`;
}
