import { isTemplate, templateProblem } from '../model/istio-text.ts';
import { groupBy, sortBy, uniqueSorted } from '../shared/pure/order.ts';

/** Path templates came with Istio 1.22 (release notes of 1.22, "path templating in AuthorizationPolicy"); before, `{*}` is read as letters. */
const TEMPLATES_SINCE = [1, 22] as const;

/** Does this version of Istio read path templates? False where it is not known. */
export function readsTemplates(version: string | undefined): boolean {
  const match = /^v?(\d+)\.(\d+)/u.exec(version ?? '');
  if (match === null) return false;
  const [major, minor] = [Number(match[1]), Number(match[2])];
  return major > TEMPLATES_SINCE[0] || (major === TEMPLATES_SINCE[0] && minor >= TEMPLATES_SINCE[1]);
}

/**
 * Why a path that a person asks for is not written into an AuthorizationPolicy; undefined for one that is. A star stands alone (any path), in
 * front (a suffix) or at the end (a prefix), and is a letter anywhere else, so that `/v1/models/*:predict` would match that very text alone;
 * `{*}` is one whole segment and `{**}` any number of them. (istio.io, Authorization Policy, "Operation"; istio/istio
 * pilot/pkg/security/authz/matcher.) Refused as more than anybody asks for by a path: `*`, `/*`, `{**}` behind nothing, and suffixes, which
 * hold below every prefix.
 */
export function pathFault(path: string, version: string | undefined): string | undefined {
  if (path === '') return 'a path is empty';
  const say = (what: string): string => `${path} ${what}`;
  const inner = path.replaceAll('{**}', '').replaceAll('{*}', '');
  if (path === '*' || path === '/*' || /^\/?\{\*\*\}/u.test(path))
    return say('matches every path: leave paths out to say so');
  if (path.startsWith('*')) return say('is a suffix, which matches below every prefix: name what stands in front');
  if (!path.startsWith('/')) return say('does not begin with /, and no path matches');
  if (isTemplate(path)) {
    if (!readsTemplates(version))
      return say(`is a template, which Istio reads since 1.22 and ${version ?? 'this version'} may not`);
    if (inner.includes('*')) return say('mixes a star with a template: the star would be a letter');
    const problem = templateProblem(path);
    return problem === undefined ? undefined : say(`${problem}: a placeholder is one whole segment`);
  }
  const star = path.indexOf('*');
  if (star >= 0 && star < path.length - 1)
    return say('has a star in the middle, which is read as a letter: {*} stands for one whole segment');
  if (path.endsWith('*') && !path.endsWith('/*')) return say('ends inside a segment: end it with /*');
  return /[{}]/u.test(path) ? say('has a brace outside of {*} and {**}') : undefined;
}

/** So many values of one kind stand for more of them. */
const IDS_NEEDED = 3;
/** So many names of models do: a name is less surely one of many than a number is. */
const NAMES_NEEDED = 5;
/** Collections whose members are named by people: KServe's V1 and V2 protocols, Triton's and TorchServe's management, Ray Serve, MLflow. */
const COLLECTIONS: ReadonlySet<string> = new Set([
  'models',
  'versions',
  'deployments',
  'experiments',
  'runs',
  'pipelines',
  'jobs',
]);
/** What Envoy's templates take in a segment, but for the colon: behind one stands a verb (`iris:predict`), and names with it are not folded. */
const SEGMENT = /^[A-Za-z0-9\-._~]+$/u;

const ID_FORMS: readonly (readonly [string, RegExp])[] = [
  ['a UUID', /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/iu],
  ['a hash', /^(?=[0-9a-f]*\d)[0-9a-f]{12,128}$/iu],
  ['a number', /^\d{1,20}$/u],
  ['a day', /^\d{4}-\d{2}-\d{2}$/u],
];

/** What a segment looks like the name of one among many of; undefined for a word. */
export function idFormOf(segment: string): string | undefined {
  return ID_FORMS.find(([, form]) => form.test(segment))?.[0];
}

/** A path as a rule names it, with the paths on record that it stands for. */
export interface GeneralisedPath {
  readonly path: string;
  readonly from: readonly string[];
}

/**
 * Paths on record as rules: the same, but where paths differ in one segment alone and that segment holds three values or more of one form (numbers,
 * UUIDs, hashes, days), or five names or more of a collection (`/v2/models/NAME/infer`), one template `{*}` stands for them. What a template
 * matches has the segments of the paths it came from, in their number and their text, but for that one. Nothing is folded under a gRPC
 * service (`/package.Service/Method` names a method), in the first segment, in the last one of a collection with a verb behind a colon
 * (`/v1/models/iris:predict`: a placeholder is a whole segment, and would admit every verb), or where the mesh reads no templates.
 */
export function generalisePaths(paths: readonly string[], templates: boolean): readonly GeneralisedPath[] {
  let all: readonly GeneralisedPath[] = uniqueSorted(paths).map((path) => ({ path, from: [path] }));
  if (!templates) return all;
  const deepest = Math.max(0, ...all.map(({ path }) => path.split('/').length));
  // From the front: `/v2/models/{*}/versions/{*}/infer` needs the first segment folded before the second can be compared.
  for (let at = 2; at < deepest; at += 1) all = foldAt(all, at);
  return sortBy(all, ({ path }) => path);
}

function foldAt(all: readonly GeneralisedPath[], at: number): readonly GeneralisedPath[] {
  const groups = groupBy(all, ({ path }) => {
    const segments = path.split('/');
    const segment = segments[at];
    if (segment === undefined || isGrpc(path) || !SEGMENT.test(segment) || !plain(segments, at))
      return `as it is\n${path}`;
    return `${idFormOf(segment) ?? 'name'}\n${segments.toSpliced(at, 1, '{*}').join('/')}`;
  });
  return [...groups].flatMap(([key, group]): readonly GeneralisedPath[] => {
    const [form = '', path = ''] = key.split('\n');
    const before = path.split('/')[at - 1] ?? '';
    const enough =
      form === 'as it is'
        ? false
        : form === 'name'
          ? COLLECTIONS.has(before) && group.length >= NAMES_NEEDED
          : group.length >= IDS_NEEDED;
    return enough ? [{ path, from: uniqueSorted(group.flatMap((one) => one.from)) }] : group;
  });
}

/** Segments beside the one at `at` that a template may hold as they are. */
function plain(segments: readonly string[], at: number): boolean {
  return segments.every(
    (one, index) => index === 0 || index === at || one === '{*}' || /^[A-Za-z0-9\-._~%!$&'()+,;:@=]+$/u.test(one),
  );
}

/** `/package.Service/Method` (gRPC over HTTP/2, "Requests": Path). A template there would admit other methods. */
export function isGrpc(path: string): boolean {
  return /^\/(?:[A-Za-z_]\w*\.)+[A-Za-z_]\w*\/[A-Za-z_]\w*$/u.test(path);
}
