import type { AssessmentReport } from '../../src/report/model.ts';

/** Names as an attacker with the right to label a pod would choose them. Each sets `window.pwned`, asks for something, or hides itself. */
export const PAYLOADS: readonly string[] = [
  '<script>window.pwned=1;alert(1)</script>',
  '<img src=x onerror="window.pwned=2;alert(2)">',
  '"><svg onload=window.pwned=3>',
  "' onfocus='window.pwned=4' autofocus x='",
  '" onmouseover="window.pwned=5" style="position:fixed;inset:0',
  '</script><script>window.pwned=6</script>',
  '</style><style>*{display:none}</style>',
  '<!--<script>',
  ']]><iframe srcdoc="<script>parent.pwned=7</script>"></iframe>',
  'javascript:window.pwned=8//',
  '{{constructor.constructor("window.pwned=9")()}}',
  '`${window.pwned=10}`',
  '<link rel=stylesheet href=//evil.example/x.css>',
  '<meta http-equiv=refresh content="0;url=//evil.example">',
  '<base href=//evil.example/>',
  '<form action=//evil.example><button>go</button></form>',
  'url(//evil.example/x) expression(alert(1))',
  '\\u003cscript\\u003ewindow.pwned=11\\u003c/script\\u003e',
  '&lt;script&gt;window.pwned=12&lt;/script&gt;',
  '\u202egnp.lufmrah\u202c',
  '\u2066\u2067\u200f\u061c\u200b\ufeff',
  'a\u0000b\u0008c\u001b[31mred\u001b[0m\u009b2J\u007f',
  'line\u2028separator\u2029paragraph',
  '\ud800lone\udfff',
  '\udb40\udc41\udb40\udc42tagged',
  'constructor',
  '__proto__',
  'toString',
  '%3Cscript%3E#/?&open=..',
  '$(touch /tmp/pwned); `id` | sh && rm -rf "$HOME"',
  'x'.repeat(5000),
];

/** Words that the program chose: every other string of a report may come from a cluster. */
const OURS = new Set([
  ...['apiVersion', 'kind', 'tone', 'section', 'figure', 'unit', 'basis', 'measure', 'pointer', 'enforces', 'mode'],
  ...['answer', 'direction', 'state', 'phase', 'operation', 'purpose', 'severity', 'mesh', 'confidence', 'group'],
  ...['automount', 'tls', 'authentication', 'how', 'required', 'now', 'afterJoin', 'judged', 'control', 'better'],
  ...['action', 'before', 'after', 'next', 'from', 'to', 'at', 'first', 'last', 'startedAt', 'endedAt', 'measuredAt'],
]);
const TIME = /^\d{4}-\d\d-\d\dT/;

function isOurs(path: readonly string[], value: string): boolean {
  const key = path.at(-1) ?? '';
  if (TIME.test(value)) return true;
  // Identifiers of lists whose ids are ours: figures, sentences, gates' answers, edges.
  if (path.includes('summary') && key === 'id') return true;
  if (path[0] === 'map' && path[1] === 'edges') return true;
  // Sides of crossings and runs' owners are names, and their `from` and `to` are not ours everywhere.
  if (
    (key === 'from' || key === 'to') &&
    (path.includes('crossings') || path.includes('leaks') || path.includes('matrix'))
  )
    return false;
  if (path.includes('crossings') || path.includes('boundaries')) return key === 'kind' || key === 'basis';
  if (path[0] === 'policies' && path[1] === 'present' && key === 'kind') return false;
  return OURS.has(key);
}

/** The same report with every string that could be an attacker's replaced by one that is; the same string always by the same. */
export function poisoned(report: AssessmentReport): AssessmentReport {
  const chosen = new Map<string, string>();
  const poison = (text: string): string => {
    const known = chosen.get(text);
    if (known !== undefined) return known;
    const made = `${PAYLOADS[chosen.size % PAYLOADS.length] ?? ''} ${text}`;
    chosen.set(text, made);
    return made;
  };
  const walk = (value: unknown, path: readonly string[]): unknown => {
    if (typeof value === 'string') return isOurs(path, value) ? value : poison(value);
    if (Array.isArray(value)) return value.map((one) => walk(one, path));
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, walk(one, [...path, key])]));
  };
  return walk(report, []) as AssessmentReport;
}
