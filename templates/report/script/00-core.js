// The page's script. It reads the data that stands in the page, and builds elements: text from the data only ever becomes text. It asks
// nothing of any other machine, and the page's policy would refuse it.

const byId = (id) => document.getElementById(id);
const readData = (id) => JSON.parse(byId(id).textContent);

const data = readData('data-page');
const E = data.edges;
const N = data.nodes;
const EDGES = E.id.length;
const NODES = N.id.length;

let detailCache;
/** The evidence behind rows, read at the first press on one. */
function detail() {
  detailCache ??= readData('data-detail');
  return detailCache;
}

/** A text of the page, with its placeholders filled. */
function ui(key, values = {}) {
  const text = data.ui[key];
  if (text === undefined) throw new Error(`no text ui.${key}`);
  return text.replace(/\{\{([^{}]*)\}\}/g, (_, name) => String(values[name] ?? ''));
}

// As in src/report/html/html.ts: what nobody would see is written out.
const UNSEEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]|\udb40[\udc00-\udfff]/g;
function visible(text) {
  return String(text).replace(
    UNSEEN,
    (one) => `\u27e6U+${one.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}\u27e7`,
  );
}

const SVG = 'http://www.w3.org/2000/svg';
const SVG_TAGS = new Set(['svg', 'path', 'rect', 'line', 'circle']);

/** An element with attributes and children. Strings become text. */
function el(tag, attributes, ...children) {
  const made = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith('on') || key === 'style' || key === 'href' || key === 'src')
      throw new Error(`not set here: ${key}`);
    made.setAttribute(key, value === true ? '' : visible(value));
  }
  made.append(
    ...children
      .flat(Infinity)
      .filter((child) => child !== undefined && child !== null && child !== false)
      .map(textOr),
  );
  return made;
}
function textOr(child) {
  return typeof child === 'object' ? child : document.createTextNode(visible(child));
}

/** Text of the cluster, cut off from the direction of what stands around it. */
const WORKLOAD = /^(?:[^/ ]+\/[A-Z]\w*|[A-Z]\w* [^/ ]+)\/[^/ ]+$/;
function bdi(text) {
  const parts = String(text).split('/');
  if (!WORKLOAD.test(text)) return el('bdi', { class: 'id' }, text);
  return el(
    'bdi',
    { class: 'id' },
    parts.slice(0, -1).map((part) => [el('span', { class: 'of' }, `${part}/`), el('wbr')]),
    el('b', null, parts.at(-1)),
  );
}
const tag = (tone, text) => el('span', { class: `tag ${tone}` }, el('bdi', null, text));

const GROUPED = new Intl.NumberFormat('en-GB', { maximumFractionDigits: 2 });
const number = (value) => GROUPED.format(value);
const counted = (count, key) => ui(count === 1 ? `${key}-1` : key, { n: number(count) });

/** Seconds since the epoch -> `2026-10-13 09:05 UTC`. */
const instant = (seconds) =>
  seconds === 0 ? ui('never') : `${new Date(seconds * 1000).toISOString().slice(0, 16).replace('T', ' ')} UTC`;

let sayTimer;
/** Tells a screen reader, once things have come to rest. */
function say(text) {
  clearTimeout(sayTimer);
  sayTimer = setTimeout(() => {
    byId('say').textContent = visible(text);
  }, 150);
}

const CODES = data.codes;
const MTLS_TONE = ['good', 'bad', 'warn', 'dim'];
const VERDICT_TONE = ['plain', 'bad', 'dim'];
const REVIEW_TONE = ['warn', 'good', 'bad'];
const codeText = (group, code) => ui(`${group}-${CODES[group][code]}`);
const mtlsTag = (edge) => tag(MTLS_TONE[E.mtls[edge]], codeText('mtls', E.mtls[edge]));
const verdictTag = (edge) => tag(VERDICT_TONE[E.verdict[edge]], codeText('verdict', E.verdict[edge]));
const reviewTag = (edge) => tag(REVIEW_TONE[E.review[edge]], codeText('review', E.review[edge]));

function portText(edge) {
  const last = E.endPort[edge];
  return `${E.port[edge]}${last === 0 ? '' : `\u2013${last}`}/${CODES.protocol[E.protocol[edge]]}`;
}
const endText = (node) => (N.kind[node] === 'external' ? N.label[node] : N.id[node]);

const reduced = matchMedia('(prefers-reduced-motion: reduce)');

/** `text` on the clipboard, from a button that then says so. */
async function copy(button, text) {
  let done = false;
  try {
    await navigator.clipboard.writeText(text);
    done = true;
  } catch {
    // A page opened from disk may not be trusted with the clipboard: the older way needs a selection.
    const area = el('textarea', { class: 'hush', 'aria-hidden': 'true', tabindex: '-1' });
    area.value = text;
    document.body.append(area);
    area.select();
    done = document.execCommand('copy');
    area.remove();
    button.focus();
  }
  const before = button.textContent;
  button.textContent = done ? ui('copied') : ui('copy-failed');
  say(button.textContent);
  setTimeout(() => {
    button.textContent = before;
  }, 1500);
}

/** What a shell reads as one command, whatever stands in it: only that may be copied. */
const ONE_COMMAND = /^(?:sallyport|kubectl|istioctl|cilium) [\w ./:=,*@+"'-]*$/;
const COMMAND =
  /sallyport (?:(?:adopt|accept|waive) \S+ --reason "\.\.\."|(?:advance|plan|rollback|suggest) [\w.-]+(?: --to [\w-]+)?)/;
/** What to do: each way by itself, its command ready to be copied. */
function adviceLines(text) {
  const ways = text.split(/; |,? or (?=sallyport )/).map((part) => {
    const found = COMMAND.exec(part);
    const words = (one) => (one === '' ? '' : el('p', { class: 'small' }, el('bdi', null, one)));
    if (found === null) return [/^(?:sallyport|kubectl|istioctl|cilium) /.test(part) ? commandLine(part) : words(part)];
    const [command] = found;
    return [
      words(part.slice(0, found.index).trim()),
      commandLine(command),
      words(part.slice(found.index + command.length).trim()),
    ];
  });
  return ways.length === 1
    ? ways[0]
    : [
        el(
          'ul',
          { class: 'ways' },
          ways.map((way) => el('li', null, way)),
        ),
      ];
}
function commandLine(text) {
  return el(
    'div',
    { class: 'cmd' },
    el('code', null, text),
    ONE_COMMAND.test(text) && el('button', { type: 'button', class: 'btn copy', 'data-copy': text }, ui('copy')),
  );
}
