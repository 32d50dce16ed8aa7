// The one place where text becomes HTML. Names, labels and annotations are hostile: whatever is not written in the source of a template
// passes through `escapeHtml`, and there is no way round it but another template of this tag.

const HTML: unique symbol = Symbol('html');

/** Markup made by `html`, and by nothing else. */
export interface Html {
  readonly [HTML]: string;
}

export type HtmlValue = Html | string | number | undefined | readonly HtmlValue[];

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
  '`': '&#96;',
};

// Controls but tab and line feed, and the marks that change the direction or the length of text without being seen.
const UNSEEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]|\udb40[\udc00-\udfff]/g;

/**
 * Text with every character that nobody would see written out as its code point, in double brackets: a name that turns the line round, or
 * holds an escape sequence, is shown for what it is. The page's script has the same function.
 */
export function visibleText(text: string): string {
  return text.replace(
    UNSEEN,
    (one) => `\u27e6U+${(one.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}\u27e7`,
  );
}

/** For text and for attributes in quotes alike. */
export function escapeHtml(text: string): string {
  return visibleText(text).replace(/[&<>"'`]/g, (one) => ENTITIES[one] ?? one);
}

function isHtml(value: HtmlValue): value is Html {
  return typeof value === 'object' && HTML in value;
}

function textOf(value: HtmlValue): string {
  if (value === undefined) return '';
  if (typeof value === 'number') return String(value);
  if (typeof value === 'string') return escapeHtml(value);
  if (isHtml(value)) return value[HTML];
  return value.map(textOf).join('');
}

/** Where a value must never stand, whatever it holds: an attribute without quotes, a tag's or an attribute's name, a script or style. */
function refusePlace(before: string): void {
  const tag = before.lastIndexOf('<');
  const open = tag > before.lastIndexOf('>') ? before.slice(tag) : undefined;
  if (open !== undefined && open.split('"').length % 2 === 1)
    throw new Error(`a value stands in a tag outside quotes: ${open}`);
  if (open !== undefined && /\s(?:on\w+|style|srcdoc)="[^"]*$/i.test(open))
    throw new Error(`a value stands in code: ${open}`);
  if (open !== undefined && /\s(?:href|src|action|formaction)="$/i.test(open))
    throw new Error(`a value begins an address: ${open}`);
  if (/<(script|style)\b[^>]*>(?![\s\S]*<\/\1)/i.test(before)) throw new Error('a value stands in a script or a style');
}

const CHECKED = new WeakSet<TemplateStringsArray>();

/** A template of markup. Text in it is escaped, arrays are joined, `undefined` is nothing. Values may stand in text and in quoted attributes. */
export function html(strings: TemplateStringsArray, ...values: readonly HtmlValue[]): Html {
  if (!CHECKED.has(strings)) {
    let before = '';
    strings.slice(0, -1).forEach((part) => {
      before += part;
      refusePlace(before);
      before += 'x';
    });
    CHECKED.add(strings);
  }
  let text = strings[0] ?? '';
  values.forEach((value, index) => {
    text += textOf(value) + (strings[index + 1] ?? '');
  });
  return { [HTML]: text };
}

/** The text of markup, for writing it out. */
export function htmlText(value: Html): string {
  return value[HTML];
}

/** Data for the page's script: an inert element whose text no parser of HTML can end early. */
export function jsonIsland(id: string, data: unknown): Html {
  if (!/^[a-z-]+$/.test(id)) throw new Error(`an island's id is a word: ${id}`);
  const text = JSON.stringify(data).replace(
    /[<>&\u2028\u2029\u007f-\u009f]/g,
    (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
  return { [HTML]: `<script type="application/json" id="${id}">${text}</script>` };
}

/**
 * Markup that the package or its user wrote: a layout, a style sheet, a script. Never text from a cluster, a file of the cluster or a source of
 * traffic.
 */
export function ownMarkup(text: string): Html {
  return { [HTML]: text };
}
