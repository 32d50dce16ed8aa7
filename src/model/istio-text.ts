/** How AuthorizationPolicy compares texts. Rules: Istio's reference, and istio/istio pilot/pkg/security/authz/matcher. */

/** `*` a text that is there, `*x` a suffix, `x*` a prefix, else the very text. A star elsewhere is a letter. */
export function matchValue(pattern: string, text: string): boolean {
  if (pattern === '*') return text !== '';
  if (pattern.startsWith('*')) return text.endsWith(pattern.slice(1));
  if (pattern.endsWith('*')) return text.startsWith(pattern.slice(0, -1));
  return pattern === text;
}

const ONE = '{*}';
const ANY = '{**}';

/** What a segment of a template may hold, and what `{*}` stands for: Envoy's uri_template takes these letters alone. */
const SEGMENT = /^[a-zA-Z0-9\-._~%!$&'()+,;:@=]+$/u;
const SEGMENTS = /^[a-zA-Z0-9\-._~%!$&'()+,;:@=/]*$/u;

export function isTemplate(pattern: string): boolean {
  return pattern.includes(ONE) || pattern.includes(ANY);
}

/** Why istiod's webhook refuses a path; undefined for one that it takes. */
export function templateProblem(pattern: string): string | undefined {
  const template = isTemplate(pattern);
  let any = false;
  for (const segment of pattern.replace(/^\/+|\/+$/gu, '').split('/')) {
    if (segment === ONE || segment === ANY) {
      if (any) return 'goes on after {**}';
      any = segment === ANY;
      continue;
    }
    if (/[{}]/u.test(segment)) return 'has a brace outside of {*} and {**}';
    if (template && !SEGMENT.test(segment)) return 'has a segment that no template may have';
  }
  return undefined;
}

/** Does a template match the whole path? `{*}` is one segment, `{**}` any text, slashes too, perhaps none. */
export function matchTemplate(template: string, path: string): boolean {
  const at = template.indexOf(ANY);
  if (at < 0) return afterSegments(template, path) === '';
  const rest = afterSegments(template.slice(0, at), path);
  const tail = template.slice(at + ANY.length);
  return rest?.endsWith(tail) === true && SEGMENTS.test(rest.slice(0, rest.length - tail.length));
}

/** What is left of the path behind a template of `{*}` alone; undefined where it does not begin so. */
function afterSegments(template: string, path: string): string | undefined {
  let rest = path;
  for (const [index, literal] of template.split(ONE).entries()) {
    if (index > 0) {
      // Nothing but a slash may follow in a template, so the segment ends at the next one.
      const end = rest.indexOf('/');
      const segment = end < 0 ? rest : rest.slice(0, end);
      if (!SEGMENT.test(segment)) return undefined;
      rest = rest.slice(segment.length);
    }
    if (!rest.startsWith(literal)) return undefined;
    rest = rest.slice(literal.length);
  }
  return rest;
}

/**
 * What the proxy compares a path as: without query and fragment, escapes of plain letters undone, `.` and `..` resolved, backslashes
 * turned, two slashes left (Istio's default normalisation, BASE).
 */
export function comparedPath(path: string): string {
  const [plain = ''] = path.split(/[?#]/u);
  return resolveDots(plain.replace(/%([0-9a-f]{2})/giu, decodeUnreserved));
}

function decodeUnreserved(escape: string, hex: string): string {
  const letter = String.fromCharCode(Number.parseInt(hex, 16));
  return /[a-z0-9\-._~]/iu.test(letter) ? letter : escape;
}

function resolveDots(path: string): string {
  const out: string[] = [];
  const segments = path.replaceAll('\\', '/').split('/');
  segments.forEach((segment, index) => {
    const last = index === segments.length - 1;
    if (segment !== '.' && segment !== '..') {
      out.push(segment);
      return;
    }
    // The first is the empty text before the leading slash.
    if (segment === '..' && out.length > 1) out.pop();
    if (last) out.push('');
  });
  return out.join('/');
}
