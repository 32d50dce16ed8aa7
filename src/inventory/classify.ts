import type { Classification } from '../model/inventory.ts';
import { compareText, uniqueSorted } from '../shared/pure/order.ts';
import { safeText } from '../shared/pure/text.ts';
import type {
  CommonFacts,
  Component,
  LabelAlternatives,
  LabelRequirement,
  OwnerKind,
  Signatures,
} from './signatures.ts';

/** What is known of one workload. All text may be hostile. */
export interface ClassifyFacts {
  readonly namespace: string;
  readonly name: string;
  readonly kind: string;
  /** API group of the workload's own kind; empty for the core group. */
  readonly group: string;
  /** The owner chain with the workload's own kind, nearest to the pod first. */
  readonly ownerKinds: readonly OwnerKind[];
  /** Labels of the pod template; where replica types differ, only those that all share. */
  readonly labels: Readonly<Record<string, string>>;
  /** As written in the containers, main container first. */
  readonly images: readonly string[];
  readonly containerNames: readonly string[];
  readonly envNames: readonly string[];
  readonly serviceAccount: string;
  /** Services that select the pods. */
  readonly serviceNames: readonly string[];
  readonly ports: readonly { readonly port: number; readonly name?: string }[];
}

// Longer text than Kubernetes admits for names, labels and images is not matched at all: it bounds the work per fact.
const TEXT_LIMIT = 1024;
// Parts of an image path, from its end, that an exact pattern may cover.
const PATH_PARTS = 8;
const WHY_LIMIT = 12;
const WHY_TEXT_LIMIT = 160;
const ALTERNATIVE_LIMIT = 5;

/**
 * Kinds of evidence, surest first. Up to `image` a match is strong. Ports are never evidence: they break ties.
 * `support` backs a match that something else made.
 */
const TIER = {
  owner: 0,
  label: 1,
  image: 2,
  weakLabel: 3,
  weakImage: 4,
  container: 5,
  env: 6,
  serviceAccount: 7,
  service: 8,
  weakOwner: 9,
  support: 10,
} as const;
type Tier = (typeof TIER)[keyof typeof TIER];

/** Keys that anybody sets to anything: one of these alone is strong only when another fact backs it. */
const PLAIN_KEYS: ReadonlySet<string> = new Set(['app', 'name', 'component', 'run']);

interface Glob {
  /** Literal parts between the stars. */
  readonly parts: readonly string[];
}

function compileGlob(pattern: string): Glob {
  return { parts: pattern.split('*') };
}

/** `*` is any run of characters. Each part is searched once, left to right: no backtracking, so no pattern is slow. */
function matchesGlob(glob: Glob, text: string): boolean {
  const { parts } = glob;
  const first = parts[0] ?? '';
  if (parts.length === 1) return text === first;
  const last = parts[parts.length - 1] ?? '';
  if (text.length < first.length + last.length || !text.startsWith(first) || !text.endsWith(last)) return false;
  const end = text.length - last.length;
  let at = first.length;
  for (const part of parts.slice(1, -1)) {
    const found = text.indexOf(part, at);
    if (found === -1 || found + part.length > end) return false;
    at = found + part.length;
  }
  return at <= end;
}

interface Hit {
  readonly component: Component;
  readonly tier: Tier;
  /** Larger is more exact; comparable within a tier. */
  readonly weight: number;
}

interface LabelHit extends Hit {
  readonly requirements: readonly { readonly key: string; readonly values?: readonly Glob[] }[];
  readonly plain: boolean;
  readonly common: boolean;
}

/** Names by exact text and by pattern. */
interface NameIndex {
  readonly exact: Map<string, Hit[]>;
  readonly globs: { readonly glob: Glob; readonly hit: Hit }[];
}

interface CommonIndex {
  readonly sidecarImages: readonly Glob[];
  readonly planeHints: readonly {
    readonly plane: string;
    readonly labels: readonly LabelHit['requirements'][];
    readonly namespaces: readonly Glob[];
    readonly why?: string;
  }[];
}

/** Signatures prepared for many workloads. Make it once per run. */
export interface CompiledSignatures {
  readonly signatures: Signatures;
  readonly owners: ReadonlyMap<string, readonly Hit[]>;
  readonly labels: ReadonlyMap<string, readonly LabelHit[]>;
  readonly images: NameIndex;
  readonly containers: NameIndex;
  readonly env: NameIndex;
  readonly serviceAccounts: NameIndex;
  readonly services: NameIndex;
  readonly common: CommonIndex;
}

function push<Key, Value>(map: Map<Key, Value[]>, key: Key, value: Value): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
}

function literalLength(pattern: string): number {
  return pattern.replaceAll('*', '').length;
}

function addNames(
  index: NameIndex,
  component: Component,
  patterns: readonly string[] | undefined,
  tier: Tier,
  normalise: (pattern: string) => string = (pattern) => pattern,
): void {
  for (const written of patterns ?? []) {
    const pattern = normalise(written);
    const exact = !pattern.includes('*');
    // An exact name is surer than any pattern.
    const hit: Hit = { component, tier, weight: literalLength(written) + (exact ? 1000 : 0) };
    if (exact) push(index.exact, pattern, hit);
    else index.globs.push({ glob: compileGlob(pattern), hit });
  }
}

function compileRequirements(requirements: readonly LabelRequirement[]): LabelHit['requirements'] {
  return requirements.map(({ key, values }) =>
    values === undefined ? { key } : { key, values: values.map((value) => compileGlob(value)) },
  );
}

function addLabels(
  index: Map<string, LabelHit[]>,
  component: Component,
  alternatives: LabelAlternatives | undefined,
  tier: Tier,
): void {
  for (const alternative of alternatives ?? []) {
    const [first] = alternative;
    if (first === undefined) continue;
    push(index, first.key, {
      component,
      tier,
      weight: alternative.reduce((sum, { values }) => sum + (values === undefined ? 1 : 2), 0),
      requirements: compileRequirements(alternative),
      plain: alternative.length === 1 && PLAIN_KEYS.has(first.key),
      common: alternative.every(({ key }) => PLAIN_KEYS.has(key) || key.startsWith('app.kubernetes.io/')),
    });
  }
}

/** A reference without scheme, digest and tag, split into registry and path. The registry is a first part with a dot, a colon or `localhost`. */
function imagePath(reference: string): string {
  const scheme = reference.indexOf('://');
  let rest = scheme === -1 ? reference : reference.slice(scheme + 3);
  const digest = rest.indexOf('@');
  if (digest !== -1) rest = rest.slice(0, digest);
  const tag = rest.lastIndexOf(':');
  if (tag > rest.lastIndexOf('/')) rest = rest.slice(0, tag);
  const slash = rest.indexOf('/');
  if (slash !== -1) {
    const head = rest.slice(0, slash);
    if (head.includes('.') || head.includes(':') || head === 'localhost') rest = rest.slice(slash + 1);
  }
  return rest.toLowerCase();
}

/** Registry off; a pattern begins at a path part wherever a mirror has put folders before it. */
function imagePattern(pattern: string): string {
  const slash = pattern.indexOf('/');
  const head = slash === -1 ? '' : pattern.slice(0, slash);
  const path = head !== '*' && (head.includes('.') || head.includes(':')) ? pattern.slice(slash + 1) : pattern;
  if (!path.includes('*')) return path;
  return path.startsWith('*') ? path : `*/${path}`;
}

/** Prepares signatures for classifyWorkload. */
export function compileSignatures(signatures: Signatures): CompiledSignatures {
  const owners = new Map<string, Hit[]>();
  const labels = new Map<string, LabelHit[]>();
  const nameIndex = (): NameIndex => ({ exact: new Map(), globs: [] });
  const images = nameIndex();
  const containers = nameIndex();
  const env = nameIndex();
  const serviceAccounts = nameIndex();
  const services = nameIndex();
  for (const component of signatures.components) {
    if (component.role === 'sidecar') continue;
    const { detect } = component;
    for (const owner of detect.owners ?? []) push(owners, ownerKey(owner), { component, tier: TIER.owner, weight: 0 });
    for (const owner of detect.weakOwners ?? []) {
      push(owners, ownerKey(owner), { component, tier: TIER.weakOwner, weight: 0 });
    }
    addLabels(labels, component, detect.labels, TIER.label);
    addLabels(labels, component, detect.weakLabels, TIER.weakLabel);
    addNames(images, component, detect.images, TIER.image, imagePattern);
    addNames(images, component, detect.weakImages, TIER.weakImage, imagePattern);
    addNames(containers, component, detect.containers, TIER.container);
    addNames(env, component, detect.env, TIER.env);
    addNames(serviceAccounts, component, detect.serviceAccounts, TIER.serviceAccount);
    addNames(services, component, detect.services, TIER.service);
    const backing = detect.supporting;
    addLabels(labels, component, backing?.labels, TIER.support);
    addNames(images, component, backing?.images, TIER.support, imagePattern);
    addNames(containers, component, backing?.containers, TIER.support);
    addNames(env, component, backing?.env, TIER.support);
    addNames(serviceAccounts, component, backing?.serviceAccounts, TIER.support);
    addNames(services, component, backing?.services, TIER.support);
  }
  return {
    signatures,
    owners,
    labels,
    images,
    containers,
    env,
    serviceAccounts,
    services,
    common: compileCommon(signatures.common),
  };
}

function compileCommon(common: CommonFacts): CommonIndex {
  return {
    // A leading star lets a pattern without one begin at any path part, as imagePattern does for patterns with stars.
    sidecarImages: common.sidecars.images.map((pattern) => {
      const path = imagePattern(pattern);
      return compileGlob(path.startsWith('*') ? path : `*/${path}`);
    }),
    planeHints: common.planeHints.map((hint) => ({
      plane: hint.plane,
      labels: (hint.labels ?? []).map((alternative) => compileRequirements(alternative)),
      namespaces: (hint.namespaces ?? []).map((namespace) => compileGlob(namespace)),
      ...(hint.why === undefined ? {} : { why: hint.why }),
    })),
  };
}

function ownerKey(owner: OwnerKind): string {
  return `${owner.group}/${owner.kind}`;
}

interface Evidence {
  readonly tier: Tier;
  readonly weight: number;
  readonly why: string;
  /** Position of the image or owner; 0 where positions mean nothing. */
  readonly position: number;
  /** What was looked at: two pieces from different sources back each other. */
  readonly source: 'owner' | 'label' | 'image' | 'container' | 'env' | 'serviceAccount' | 'service';
  readonly plain: boolean;
  readonly common: boolean;
}

interface Candidate {
  readonly component: Component;
  readonly evidence: readonly Evidence[];
  readonly tier: Tier;
  readonly best: Evidence;
  readonly sources: number;
  readonly support: number;
  readonly ports: number;
}

function say(sentence: string): string {
  const safe = safeText(sentence);
  return safe.length > WHY_TEXT_LIMIT ? `${safe.slice(0, WHY_TEXT_LIMIT)}...` : safe;
}

function short(text: string): boolean {
  return text.length > 0 && text.length <= TEXT_LIMIT;
}

function labelOf(labels: Readonly<Record<string, string>>, key: string): string | undefined {
  return Object.hasOwn(labels, key) ? labels[key] : undefined;
}

function holds(requirements: LabelHit['requirements'], labels: Readonly<Record<string, string>>): boolean {
  return requirements.every(({ key, values }) => {
    const value = labelOf(labels, key);
    if (value === undefined || value.length > TEXT_LIMIT) return false;
    return values === undefined || values.some((glob) => matchesGlob(glob, value));
  });
}

function lookUp(index: NameIndex, text: string, visit: (hit: Hit) => void): void {
  for (const hit of index.exact.get(text) ?? []) visit(hit);
  for (const { glob, hit } of index.globs) if (matchesGlob(glob, text)) visit(hit);
}

function lookUpImage(index: NameIndex, path: string, visit: (hit: Hit) => void): void {
  const parts = path.split('/');
  const official = parts.length === 1 ? `library/${path}` : path;
  // A one-part pattern names an image at the root of its registry: a folder before it makes it somebody else's.
  if (parts.length === 1) for (const hit of index.exact.get(path) ?? []) visit(hit);
  const all = official.split('/');
  for (let start = Math.max(0, all.length - PATH_PARTS); start < all.length - 1; start += 1) {
    for (const hit of index.exact.get(all.slice(start).join('/')) ?? []) visit(hit);
  }
  const anchored = `/${official}`;
  for (const { glob, hit } of index.globs) if (matchesGlob(glob, anchored)) visit(hit);
}

/** Images that say what runs: helpers left out, unless a helper is all there is (a gateway is a proxy alone). */
function mainImages(
  images: readonly string[],
  common: CommonIndex,
): readonly { readonly image: string; readonly path: string }[] {
  const all = images.filter(short).map((image) => ({ image, path: imagePath(image) }));
  const main = all.filter(({ path }) => !common.sidecarImages.some((glob) => matchesGlob(glob, `/${path}`)));
  return main.length > 0 ? main : all;
}

function collect(facts: ClassifyFacts, compiled: CompiledSignatures): Map<Component, Evidence[]> {
  const found = new Map<Component, Evidence[]>();
  const add = (
    hit: Hit,
    source: Evidence['source'],
    why: string,
    position = 0,
    label: { plain: boolean; common: boolean } = { plain: false, common: false },
  ): void => {
    const piece = { tier: hit.tier, weight: hit.weight, why: say(why), position, source, ...label };
    push(found, hit.component, piece);
  };
  facts.ownerKinds.forEach((owner, position) => {
    for (const hit of compiled.owners.get(ownerKey(owner)) ?? []) {
      add(hit, 'owner', `kind ${owner.kind}${owner.group === '' ? '' : `.${owner.group}`}`, position);
    }
  });
  for (const key of Object.keys(facts.labels)) {
    for (const hit of compiled.labels.get(key) ?? []) {
      if (!holds(hit.requirements, facts.labels)) continue;
      const shown = hit.requirements.map((requirement) => {
        const value = labelOf(facts.labels, requirement.key) ?? '';
        return value === '' ? requirement.key : `${requirement.key}=${value}`;
      });
      add(hit, 'label', `label ${shown.join(' with ')}`, 0, hit);
    }
  }
  mainImages(facts.images, compiled.common).forEach(({ image, path }, position) => {
    lookUpImage(compiled.images, path, (hit) => add(hit, 'image', `image ${image}`, position));
  });
  for (const name of facts.containerNames.filter(short)) {
    lookUp(compiled.containers, name, (hit) => add(hit, 'container', `container ${name}`));
  }
  for (const name of facts.envNames.filter(short)) {
    lookUp(compiled.env, name, (hit) => add(hit, 'env', `environment variable ${name}`));
  }
  if (short(facts.serviceAccount)) {
    lookUp(compiled.serviceAccounts, facts.serviceAccount, (hit) =>
      add(hit, 'serviceAccount', `service account ${facts.serviceAccount}`),
    );
  }
  for (const name of facts.serviceNames.filter(short)) {
    lookUp(compiled.services, name, (hit) => add(hit, 'service', `Service ${name}`));
    lookUp(compiled.services, `${name}.${facts.namespace}`, (hit) => add(hit, 'service', `Service ${name}`));
  }
  return found;
}

function portMatches(component: Component, facts: ClassifyFacts): number {
  return facts.ports.reduce((sum, { port, name }) => {
    const known = component.ports.filter((item) => item.port === port);
    if (known.length === 0) return sum;
    return sum + (name !== undefined && known.some((item) => item.name === name) ? 2 : 1);
  }, 0);
}

/** A plain label such as app=x counts as strong only with a second source, be it a port. */
function effectiveTier(piece: Evidence, all: readonly Evidence[], ports: number): Tier {
  if (piece.tier !== TIER.label || !piece.plain) return piece.tier;
  const backed = ports > 0 || all.some((other) => other.source !== 'label');
  return backed ? TIER.label : TIER.weakLabel;
}

function compareEvidence(a: Evidence, b: Evidence): number {
  if (a.tier !== b.tier) return a.tier - b.tier;
  if (a.position !== b.position) return a.position - b.position;
  return b.weight - a.weight;
}

function compareCandidates(a: Candidate, b: Candidate): number {
  return compareEvidence(a.best, b.best) || b.sources - a.sources || b.support - a.support || b.ports - a.ports;
}

function candidatesOf(facts: ClassifyFacts, found: ReadonlyMap<Component, readonly Evidence[]>): readonly Candidate[] {
  const candidates: Candidate[] = [];
  for (const [component, pieces] of found) {
    const ports = portMatches(component, facts);
    const evidence = pieces
      .map((piece) => ({ ...piece, tier: effectiveTier(piece, pieces, ports) }))
      .sort(compareEvidence);
    const [best] = evidence;
    if (best === undefined || best.tier === TIER.support) continue;
    candidates.push({
      component,
      evidence,
      tier: best.tier,
      best,
      sources: new Set(evidence.filter(({ tier }) => tier !== TIER.support).map(({ source }) => source)).size,
      support: evidence.filter(({ tier }) => tier === TIER.support).length,
      ports,
    });
  }
  return candidates.sort((a, b) => compareCandidates(a, b) || compareText(a.component.id, b.component.id));
}

/** Drops what a more exact candidate stands for. Signatures that refine each other in a circle are left alone. */
function withoutRefined(candidates: readonly Candidate[]): readonly Candidate[] {
  const refined = new Set(candidates.flatMap(({ component }) => component.refines ?? []));
  const kept = candidates.filter(({ component }) => !refined.has(component.id));
  return kept.length > 0 ? kept : candidates;
}

function isStrong(tier: Tier): boolean {
  return tier <= TIER.image;
}

/** True where another candidate's image speaks against labels that anybody can set, or two main images disagree. */
function isContradicted(winner: Candidate, others: readonly Candidate[]): boolean {
  const rival = others.some(({ evidence }) => evidence.some(({ tier }) => tier === TIER.image));
  if (!rival) return false;
  if (winner.tier === TIER.image) {
    return others.some(({ evidence }) =>
      evidence.some(({ tier, position }) => tier === TIER.image && position !== winner.best.position),
    );
  }
  return winner.tier === TIER.label && winner.best.common && !winner.evidence.some(({ source }) => source === 'image');
}

function words(text: string): readonly string[] {
  return text.toLowerCase().split(/[^a-z0-9]+/u);
}

function stageOf(component: Component, facts: ClassifyFacts): { stage: string; why?: string } {
  for (const rule of component.stageByOwner ?? []) {
    if (facts.ownerKinds.some((owner) => owner.group === rule.group && owner.kind === rule.kind)) {
      return { stage: rule.stage, why: `kind ${rule.kind} tells the stage` };
    }
  }
  if (component.stage !== 'unknown' || component.stageHints === undefined) return { stage: component.stage };
  const images = facts.images.filter(short).map((image) => imagePath(image).split('/').pop() ?? '');
  const seen = new Set([facts.name.slice(0, TEXT_LIMIT), ...images].flatMap(words));
  const hints = component.stageHints.flatMap((hint) => {
    const word = hint.words.find((item) => seen.has(item));
    return word === undefined ? [] : [{ stage: hint.stage, word }];
  });
  const [hint] = hints;
  if (hint === undefined || hints.some(({ stage }) => stage !== hint.stage)) return { stage: component.stage };
  return { stage: hint.stage, why: `its name or image has the word ${hint.word}, a weak hint at the stage` };
}

function same<T>(items: readonly T[]): T | undefined {
  const [first] = items;
  return items.every((item) => item === first) ? first : undefined;
}

function unknownWorkload(facts: ClassifyFacts, common: CommonIndex): Classification {
  const hint = common.planeHints.find(
    ({ labels, namespaces }) =>
      labels.some((requirements) => holds(requirements, facts.labels)) ||
      namespaces.some((glob) => matchesGlob(glob, facts.namespace)),
  );
  return {
    component: 'unknown',
    stage: 'unknown',
    plane: hint?.plane ?? 'unknown',
    sensitivity: ['unknown'],
    confidence: 'weak',
    why: [
      'no known component matches',
      ...(hint === undefined ? [] : [hint.why ?? say(`namespace ${facts.namespace}`)]),
    ],
    alternatives: [],
  };
}

/**
 * What a workload is, by evidence in this order: owner kinds, labels, images (these three are strong), then weak labels
 * and images, container and environment names, service account, Service names; ports only break ties. A component that
 * refines another replaces it. Where the best evidence fits several components equally, the component is `unknown`, they
 * are the alternatives, and stage, plane and sensitivity are stated only as far as they agree.
 *
 * `stage` may join stages by `|` where the component does not tell which. `sensitivity` is `['unknown']` where nothing
 * is known, and empty only for a component known to hold none of the assets listed. `why` is safe to print.
 */
export function classifyWorkload(facts: ClassifyFacts, compiled: CompiledSignatures): Classification {
  const all = candidatesOf(facts, collect(facts, compiled));
  const candidates = withoutRefined(all);
  const [winner, ...others] = candidates;
  if (winner === undefined) return unknownWorkload(facts, compiled.common);
  const tied = others.filter((other) => compareCandidates(winner, other) === 0);
  if (tied.length > 0) return undecided([winner, ...tied]);
  const { component } = winner;
  const stage = stageOf(component, facts);
  const replaced = all.filter((candidate) => component.refines?.includes(candidate.component.id) === true);
  const contradicted = isContradicted(winner, others);
  const reasons = [...winner.evidence, ...replaced.flatMap(({ evidence }) => evidence)].map(({ why }) => why);
  const rivals = contradicted
    ? others.flatMap(({ component: rival, evidence }) =>
        evidence.filter(({ tier }) => tier === TIER.image).map(({ why }) => `${why} points to ${rival.id} instead`),
      )
    : [];
  const why = [...new Set(reasons)].slice(0, WHY_LIMIT - 2);
  return {
    component: component.id,
    stage: stage.stage,
    plane: component.plane,
    sensitivity: component.sensitivity,
    confidence: isStrong(winner.tier) && !contradicted ? 'strong' : 'weak',
    why: [...why, ...rivals.slice(0, 1), ...(stage.why === undefined ? [] : [stage.why])],
    alternatives: others
      .filter(({ tier }) => tier !== TIER.weakOwner)
      .slice(0, ALTERNATIVE_LIMIT)
      .map((other) => other.component.id),
  };
}

function undecided(tied: readonly Candidate[]): Classification {
  const components = tied.map(({ component }) => component);
  const [first] = components;
  const agreed = same(components.map(({ sensitivity }) => uniqueSorted(sensitivity).join(' '))) !== undefined;
  return {
    component: 'unknown',
    stage: same(components.map(({ stage }) => stage)) ?? 'unknown',
    plane: same(components.map(({ plane }) => plane)) ?? 'unknown',
    sensitivity: agreed && first !== undefined ? first.sensitivity : ['unknown'],
    confidence: 'weak',
    why: [
      ...new Set(
        tied.flatMap(({ evidence, component }) => evidence.slice(0, 1).map(({ why }) => `${why} fits ${component.id}`)),
      ),
    ].slice(0, WHY_LIMIT),
    alternatives: components.slice(0, ALTERNATIVE_LIMIT).map(({ id }) => id),
  };
}
