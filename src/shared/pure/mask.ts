/** What stands where a credential stood. */
export const MASKED = '(masked)';

const CREDENTIAL = /password|passwd|token|secret|key|credential|apikey|authorization|cookie/i;
// In free text a narrower list: "key" alone is in every second word.
// Whoever may annotate an object chooses these texts, so what is tried at each place is bounded.
const ASSIGNED =
  /((?:password|passwd|token|secret|credential|api[-_.]?key|access[-_.]?key|private[-_.]?key)[\w.-]{0,64}["']?\s{0,8}[=:]\s{0,8})("[^"]*"|'[^']*'|[^\s;&|,]+)/gi;
const FLAG =
  /^--?[\w.-]{0,200}(?:password|passwd|token|secret|credential|api[-_.]?key|access[-_.]?key|private[-_.]?key)[\w.-]{0,200}$/i;
const USERINFO = /(:\/\/)[^/?#\s"'<>]*@/g;
const BEARER = /\b(bearer|basic)\s+[^\s"']+/gi;
// Fields of any kind that hold a credential itself; `key`, `secretName` and `topologyKey` hold names.
const FIELD = /(?:password|passwd|token|credential|api[-_]?key|private[-_]?key|access[-_]?key|clientsecret)$/i;
// What policies, proxies and scrapes are configured with.
const KEPT_ANNOTATION = /^(?:[^/]*\.)?(?:istio\.io|prometheus\.io|sallyport\.dev)\//;

/**
 * A Kubernetes object as it may be written to a file: values of environment variables, credentials in arguments, annotations, headers
 * and ConfigMaps, and the user part of any URL are replaced by MASKED. Names, labels, selectors, ports and probes stay as they are.
 */
export function maskManifest<T extends object>(manifest: T): T {
  const kind = (manifest as { readonly kind?: unknown }).kind;
  const masked = maskValue(manifest, []) as Record<string, unknown>;
  if (kind === 'ConfigMap') {
    if (isMap(masked['data'])) masked['data'] = maskEntries(masked['data'], maskConfig);
    if (isMap(masked['binaryData'])) masked['binaryData'] = maskEntries(masked['binaryData'], () => MASKED);
  }
  if (kind === 'Secret')
    for (const field of ['data', 'stringData'])
      if (isMap(masked[field])) masked[field] = maskEntries(masked[field], () => MASKED);
  return masked as T;
}

/** Would `maskManifest` hide any of a value that stands at this path of an object? */
export function looksLikeCredential(path: readonly string[], value: unknown): boolean {
  let nested = value;
  for (const key of path.toReversed()) nested = { [key]: nested };
  return JSON.stringify(maskManifest(nested as object)) !== JSON.stringify(nested);
}

/** The value at this path of an object as it may be shown. */
export function maskField<T>(path: readonly string[], value: T): T {
  let nested: unknown = value;
  for (const key of path.toReversed()) nested = { [key]: nested };
  let masked: unknown = maskManifest(nested as object);
  for (const key of path) masked = (masked as Readonly<Record<string, unknown>>)[key];
  return masked as T;
}

/** A value of a field for people: JSON, but for what looks like a credential. */
export function showValue(path: readonly string[], value: unknown): string {
  if (value === undefined) return '(absent)';
  return looksLikeCredential(path, value) ? MASKED : JSON.stringify(value);
}

function maskConfig(key: string, value: unknown): unknown {
  if (typeof value !== 'string') return value;
  return CREDENTIAL.test(key) || value.trim().includes('\n') ? MASKED : maskText(value);
}

/** The user part of URLs, values assigned to a name that says credential, and bearer tokens. */
export function maskText(text: string): string {
  return maskUrls(text).replace(ASSIGNED, `$1${MASKED}`).replace(BEARER, `$1 ${MASKED}`);
}

function maskUrls(text: string): string {
  return text.replace(USERINFO, `$1${MASKED}@`);
}

function maskValue(value: unknown, path: readonly string[]): unknown {
  const field = path.at(-1) ?? '';
  if (typeof value === 'string') return FIELD.test(field) && !isReference(path) ? MASKED : maskUrls(value);
  if (Array.isArray(value)) {
    const items: readonly unknown[] = value;
    if (field === 'args' || field === 'command') return maskWords(items);
    if (field === 'env')
      return items.map((item) => (isMap(item) ? maskNamed(item, path, () => true) : maskValue(item, path)));
    return items.map((item) =>
      isMap(item)
        ? maskNamed(item, path, (name) => field.endsWith('eaders') && CREDENTIAL.test(name))
        : maskValue(item, path),
    );
  }
  if (!isMap(value)) return value;
  if (field === 'annotations') return maskEntries(value, maskAnnotation);
  // Their values are names; a label called token is one to select by.
  if (field === 'labels' || field === 'matchLabels' || field === 'selector') return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, maskValue(item, [...path, key])]));
}

/** `{name, value}`: the value goes where its name says so. */
function maskNamed(
  item: Readonly<Record<string, unknown>>,
  path: readonly string[],
  hides: (name: string) => boolean,
): unknown {
  const masked = maskValue(item, [...path, '']) as Record<string, unknown>;
  const { name } = item;
  return typeof item['value'] === 'string' && typeof name === 'string' && hides(name)
    ? { ...masked, value: MASKED }
    : masked;
}

/** `--password hunter2` is two words. */
function maskWords(words: readonly unknown[]): readonly unknown[] {
  return words.map((word, index) => {
    if (typeof word !== 'string') return word;
    const before = words[index - 1];
    return typeof before === 'string' && FLAG.test(before) && !word.startsWith('-') ? MASKED : maskText(word);
  });
}

function maskAnnotation(key: string, value: unknown): unknown {
  if (typeof value !== 'string') return value;
  if (KEPT_ANNOTATION.test(key)) return maskUrls(value);
  if (CREDENTIAL.test(key) || key.endsWith('/last-applied-configuration')) return MASKED;
  return maskText(value);
}

/** Under a `...KeyRef` or `...Ref`, what looks like a credential is the name of one. */
function isReference(path: readonly string[]): boolean {
  return path.some((part) => part.endsWith('Ref'));
}

function maskEntries(
  map: Readonly<Record<string, unknown>>,
  mask: (key: string, value: unknown) => unknown,
): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(map).map(([key, value]) => [key, mask(key, value)]));
}

function isMap(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
