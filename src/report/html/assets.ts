import { Failure } from '../../shared/pure/errors.ts';
import { ownMarkup } from './html.ts';
import type { Html, HtmlValue } from './html.ts';
import { html } from './html.ts';

/** What a page is made of beside the report. Read at the edge; a user's folder may replace the first three. */
export interface ReportAssets {
  /** `page.html`: the layout, with `{{placeholders}}` and no logic. */
  readonly layout: string;
  /** `report.css`. */
  readonly style: string;
  /** `texts.json`: every sentence of the page that is not data. Backticks mark code. */
  readonly texts: Readonly<Record<string, string>>;
  /** The page's own script: never a user's, because templates are data. */
  readonly script: string;
  /** The library that draws the map, as its package ships it. */
  readonly library: string;
}

const PLACEHOLDER = /\{\{([^{}]*)\}\}/g;

/** Names between double braces, in order, each once. */
export function placeholdersOf(template: string): readonly string[] {
  return [...new Set([...template.matchAll(PLACEHOLDER)].map((match) => match[1] ?? ''))];
}

/** The template with every placeholder replaced. A placeholder without a value is a bug of ours: users' files were checked when read. */
export function fillTemplate(template: string, values: Readonly<Record<string, HtmlValue>>): Html {
  const parts = template.split(PLACEHOLDER);
  return html`${parts.map((part, index) => {
    if (index % 2 === 0) return ownMarkup(part);
    if (!Object.hasOwn(values, part)) throw new Error(`no value for the placeholder {{${part}}}`);
    return values[part];
  })}`;
}

/** Without these a page does not work, or is not safe. */
const NEEDED = ['csp', 'style', 'main', 'data', 'script', 'notes'];

function refuse(file: string, message: string, hint: string): never {
  throw new Failure({ code: 'SP285', exit: 2, message, where: file, hint });
}

function checkPlaceholders(file: string, where: string, given: string, ours: string): void {
  const known = placeholdersOf(ours);
  const unknown = placeholdersOf(given).filter((name) => !known.includes(name));
  if (unknown.length === 0) return;
  refuse(
    file,
    `${where} has a placeholder that nothing fills: {{${unknown.join('}}, {{')}}}`,
    known.length === 0 ? 'no placeholder is filled there' : `filled there: {{${known.join('}}, {{')}}}`,
  );
}

/** A layout of the user's against ours: nothing unknown, nothing missing that the page needs. SP285 says what and where. */
export function checkLayout(file: string, given: string, ours: string): string {
  checkPlaceholders(file, 'the layout', given, ours);
  const missing = NEEDED.filter((name) => !placeholdersOf(given).includes(name));
  if (missing.length > 0)
    refuse(
      file,
      `the layout lacks {{${missing.join('}}, {{')}}}`,
      'take the layout that is shipped, and change the rest',
    );
  return given;
}

/** A style sheet stands inside an element of its own and must not end it. */
export function checkStyle(file: string, given: string): string {
  if (/<\/?style|<!--/i.test(given))
    refuse(
      file,
      'a style sheet cannot hold `<style`, `</style` or `<!--`',
      'leave the tags out: the page adds its own',
    );
  return given;
}

/** The texts of the user's against ours: the same keys, and in each no placeholder that ours lacks. */
export function checkTexts(
  file: string,
  given: unknown,
  ours: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  if (typeof given !== 'object' || given === null || Array.isArray(given))
    refuse(file, 'the texts are not one JSON object', 'take the file that is shipped, and change the values');
  const texts: Record<string, string> = {};
  for (const [key, value] of Object.entries(given)) {
    const our = Object.hasOwn(ours, key) ? ours[key] : undefined;
    if (our === undefined) refuse(file, `the text ${key} is used nowhere`, 'take the keys of the file that is shipped');
    if (typeof value !== 'string') refuse(file, `the text ${key} is not a string`, 'write it in quotes');
    checkPlaceholders(file, `the text ${key}`, value, our);
    texts[key] = value;
  }
  const missing = Object.keys(ours).filter((key) => texts[key] === undefined);
  if (missing.length > 0)
    refuse(
      file,
      `missing texts: ${missing.join(', ')}`,
      'a file replaces ours as a whole: copy these from the one shipped',
    );
  return texts;
}

/** A sentence of the page. */
export type Say = (key: string, values?: Readonly<Record<string, HtmlValue>>) => Html;

function marked(text: string): Html {
  return html`${text.split('`').map((part, index) => (index % 2 === 0 ? part : html`<code>${part}</code>`))}`;
}

/** The page's voice: a text by its key, with its placeholders filled and its code marked. */
export function speaker(texts: Readonly<Record<string, string>>): Say {
  return (key, values = {}) => {
    const text = texts[key];
    if (text === undefined) throw new Error(`no text ${key}`);
    const parts = text.split(PLACEHOLDER);
    return html`${parts.map((part, index) => {
      if (index % 2 === 0) return marked(part);
      if (!Object.hasOwn(values, part)) throw new Error(`the text ${key} lacks a value for {{${part}}}`);
      return values[part];
    })}`;
  };
}
