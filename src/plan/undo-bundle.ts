import type { FieldPath, Json, JsonObject } from '../shared/pure/json.ts';
import { equalJson, isJsonObject } from '../shared/pure/json.ts';
import { safeText } from '../shared/pure/text.ts';
import type { KubeManifest, ObjectRef } from '../model/object.ts';
import { formatRef, groupOf } from '../model/object.ts';
import type { PhaseName } from '../model/phase.ts';
import { MANAGED_BY, MANAGED_BY_LABEL } from '../objects/build.ts';
import { looksLikeCredential, maskManifest } from '../shared/pure/mask.ts';
import type { FieldChange } from './change.ts';
import { changeRef, changesNothing } from './change.ts';
import type { Step } from './plan.ts';

/** A file of a bundle: a plain name without folders, and its text. */
export interface BundleFile {
  readonly name: string;
  readonly text: string;
}

/** A step with the number that its file bears: the same as long as the step is on record. */
export interface BundleStep {
  readonly step: Step;
  readonly number: number;
}

export interface BundleOf {
  readonly namespace: string;
  /** Where the namespace stands, and the newest run that touches it. */
  readonly phase: PhaseName;
  readonly run: string;
  readonly by: string;
  /** Of the cluster or directory, for people. */
  readonly target: string;
  /** When that run began, ISO 8601. */
  readonly at: string;
  /** Of all runs: what is in force and what may be written next, oldest first. */
  readonly steps: readonly BundleStep[];
  /** Of a directory of manifests: kubectl knows nothing of it, and acts on a cluster. */
  readonly offline?: boolean;
  /** Kept where others read it: a value that looks like a credential is left out, and named. */
  readonly exposed: boolean;
}

/**
 * What takes a namespace back to before Sallyport with kubectl alone: for every step, newest first, a deletion of what it creates, an ordered
 * JSON Patch (RFC 6902) that tests each of our values and puts the one before back, or the manifest of what it deletes; a script that runs
 * them, and a README. Steps that are only planned are in it before they are written: one that was never done is passed over by its own
 * test, and so is one that was taken back already. Only fields that Sallyport writes are touched. A file's name never stands for two texts.
 */
export function buildUndoBundle(of: BundleOf): readonly BundleFile[] {
  const { made, commands, lines } = undoAll(of);
  return [
    ...made,
    { name: 'undo.sh', text: renderScript(of, ['cd "$(dirname "$0")" || exit 1'], commands) },
    { name: 'README.md', text: renderReadme(of, lines) },
  ];
}

/** The same as one script that carries its files: `kubectl get ... > undo.sh` is all that is needed to have it. */
export function buildUndoScript(of: BundleOf): string {
  const { made, commands } = undoAll(of);
  const unpack = made.flatMap(({ name, text }) => [`cat >${quote(name)} <<'${END}'`, text.trimEnd(), END]);
  return renderScript(
    of,
    ['folder=$(mktemp -d) && cd "$folder" || exit 1', `trap 'rm -rf "$folder"' EXIT`, ...unpack],
    commands,
  );
}

/** No line of JSON is this. */
const END = 'END-OF-FILE';

function undoAll(of: BundleOf): {
  readonly made: readonly BundleFile[];
  readonly commands: readonly string[];
  readonly lines: readonly string[];
} {
  const backward = of.steps.filter(({ step }) => !changesNothing(step.change)).toReversed();
  const made: BundleFile[] = [];
  const commands: string[] = [];
  const lines: string[] = [];
  for (const { step, number } of backward) {
    const label = String(number).padStart(4, '0');
    const undo = undoOf(step, label, of.exposed);
    made.push(...undo.files);
    commands.push(`step ${quote(`${label} ${safeText(step.title)}`)}`, ...undo.commands);
    lines.push(`- ${label} ${safeText(formatRef(changeRef(step.change)))}: ${undo.text}`);
  }
  return { made, commands, lines };
}

interface Undo {
  readonly files: readonly BundleFile[];
  readonly commands: readonly string[];
  readonly text: string;
}

function undoOf(step: Step, number: string, exposed: boolean): Undo {
  const { change } = step;
  const ref = changeRef(change);
  const name = `${number}-${fileWord(ref.kind)}-${fileWord(ref.name)}`;
  switch (change.kind) {
    case 'create':
      return {
        files: [],
        // By its mark as well: where the step was never done, an object of that name may be somebody else's.
        commands: [
          `run kubectl delete ${quote(kindOf(ref))}${inNamespace(ref)} -l ${MANAGED_BY_LABEL}=${MANAGED_BY} --field-selector ${quote(`metadata.name=${ref.name}`)}`,
          `! exists ${target(ref)} || leave 'it does not bear the mark of Sallyport'`,
        ],
        text: 'is deleted; Sallyport made it',
      };
    case 'delete': {
      if (ref.kind === 'Pod' && ref.apiVersion === 'v1')
        return { files: [], commands: [], text: 'is not made again: a pod comes from its controller' };
      const file = `${name}.json`;
      const before = plain(change.before);
      if (exposed && !equalJson(maskManifest(before), before))
        return {
          files: [],
          commands: [`exists ${target(ref)} || leave 'it held what looks like a credential, which is not kept here'`],
          text: 'is not made again: it held what looks like a credential, which is not kept here',
        };
      return {
        files: [{ name: file, text: render(before) }],
        commands: [`exists ${target(ref)} || run kubectl create -f ${file}`],
        text: `is made again (${file})`,
      };
    }
    case 'edit': {
      const file = `${name}.json`;
      const patch = (of: string): string => `kubectl patch ${target(ref)} --type=json --patch-file ${of}`;
      const hidden = exposed ? change.fields.filter(isSensitive) : [];
      const fields = change.fields.filter((field) => !hidden.includes(field));
      const left = hidden.map(
        ({ path }) => `leave ${quote(`${path.join('.')} held what looks like a credential, which is not kept here`)}`,
      );
      const text = [
        ...fields.map((field) => describe(field)),
        ...hidden.map(({ path }) => `${safeText(path.join('.'))} is left: it held what looks like a credential`),
        `(${file})`,
      ].join('; ');
      if (fields.length === 0) return { files: [], commands: left, text };
      const parts = leavesOf(fields);
      const whole = { name: file, text: render(buildUndoPatch(fields)) };
      if (parts.every((part, index) => part === fields[index]))
        return { files: [whole], commands: [...left, `run ${patch(file)}`], text };
      const partsFile = `${name}-parts.json`;
      return {
        files: [whole, { name: partsFile, text: render(buildUndoPatch(parts)) }],
        commands: [...left, `try ${patch(file)} || run ${patch(partsFile)}`],
        text: `${text}; where others have added to it since, ours alone is removed (${partsFile})`,
      };
    }
  }
}

/** A map that Sallyport made may hold what others added since: then its own entries go, one by one, and the map stays. */
function leavesOf(fields: readonly FieldChange[]): readonly FieldChange[] {
  return fields.flatMap((field): readonly FieldChange[] => {
    const { path, before, after } = field;
    if (before !== undefined || !isJsonObject(after)) return [field];
    return leavesOf(
      Object.entries(after).map(([key, value]) => ({ path: [...path, key], before: undefined, after: value })),
    );
  });
}

/** Does either value look like a credential? Such a field is not kept where others read it. */
export function isSensitive({ path, before, after }: FieldChange): boolean {
  return [before, after].some((value) => value !== undefined && looksLikeCredential(path, value));
}

/** Tests that our value is there, then puts the earlier one back or takes ours away; fields in the opposite order. */
export function buildUndoPatch(fields: readonly FieldChange[]): readonly Json[] {
  const tests: Json[] = [];
  const writes: Json[] = [];
  for (const { path, before, after } of [...fields].reverse()) {
    const pointer = jsonPointer(path);
    if (after !== undefined) tests.push({ op: 'test', path: pointer, value: after });
    if (before === undefined) writes.push({ op: 'remove', path: pointer });
    else writes.push({ op: after === undefined ? 'add' : 'replace', path: pointer, value: before });
  }
  return [...tests, ...writes];
}

/** RFC 6901. */
function jsonPointer(path: FieldPath): string {
  return path.map((key) => `/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
}

function describe({ path, before }: FieldChange): string {
  const name = safeText(path.join('.'));
  return before === undefined ? `${name} is removed` : `${name} is put back`;
}

/** `deployment.v1.apps web -n shop`: kubectl's own way to name a kind without guessing its version. */
function target(ref: ObjectRef): string {
  return `${quote(kindOf(ref))} ${quote(ref.name)}${inNamespace(ref)}`;
}

function kindOf(ref: ObjectRef): string {
  const group = groupOf(ref.apiVersion);
  const version = ref.apiVersion.slice(ref.apiVersion.lastIndexOf('/') + 1);
  return group === '' ? ref.kind.toLowerCase() : `${ref.kind.toLowerCase()}.${version}.${group}`;
}

function inNamespace(ref: ObjectRef): string {
  return ref.namespace === undefined ? '' : ` -n ${quote(ref.namespace)}`;
}

/** Nothing that leads elsewhere or needs quoting is left of a name; the number keeps files apart. */
function fileWord(text: string): string {
  return text
    .toLowerCase()
    .replace(/[^a-z0-9-]+/gu, '-')
    .replace(/^-+|-+$/gu, '')
    .slice(0, 60);
}

/** For a POSIX shell: inside single quotes nothing has a meaning. Control characters have no place in a name. */
function quote(text: string): string {
  return `'${safeText(text).replaceAll("'", `'\\''`)}'`;
}

const SERVER_FIELDS: ReadonlySet<string> = new Set([
  'uid',
  'resourceVersion',
  'generation',
  'creationTimestamp',
  'deletionTimestamp',
  'deletionGracePeriodSeconds',
  'managedFields',
  'selfLink',
  'ownerReferences',
]);

function plain(object: KubeManifest): JsonObject {
  const metadata = Object.fromEntries(Object.entries(object.metadata).filter(([key]) => !SERVER_FIELDS.has(key)));
  const rest = Object.fromEntries(Object.entries(object).filter(([key]) => key !== 'status'));
  const made: Json = { ...rest, metadata };
  return isJsonObject(made) ? made : {};
}

function render(value: Json): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}

function renderScript(of: BundleOf, start: readonly string[], commands: readonly string[]): string {
  return `#!/bin/sh
# Takes ${safeText(of.namespace)} back to before Sallyport (newest run ${safeText(of.run)}). Needs kubectl and nothing else.
# KUBECTL_ARGS may hold flags for every call: KUBECTL_ARGS='--context prod' sh undo.sh
${
  of.offline === true
    ? `# Made for a directory of manifests, which this does not touch: it acts on the cluster of kubectl's current context. See README.md.
echo "on the cluster of context $(kubectl config current-context 2>/dev/null || echo '(none)'), not on the directory of manifests"
`
    : ''
}${start.join('\n')}
left=0
kubectl() { command kubectl $KUBECTL_ARGS "$@"; }
step() { echo "== $1"; }
exists() { kubectl get "$@" >/dev/null 2>&1; }
try() { "$@" 2>/dev/null; }
leave() { echo "   left: $1"; left=$((left + 1)); }
run() { "$@" || { echo "   passed over: not as Sallyport left it (never done, taken back already, or changed since). Look at the object."; left=$((left + 1)); }; }
${commands.join('\n')}
echo "done; $left passed over"
[ "$left" -eq 0 ]
`;
}

/** What the reader of a bundle of files must know before running it. */
const OFFLINE = `
**This was made for a directory of manifests, and undo.sh does not touch that directory: it runs kubectl against the current context**, whichever
cluster that is (\`kubectl config current-context\`; \`KUBECTL_ARGS='--context NAME' sh undo.sh\` names another). Run it only where the files of the
directory were applied to that cluster, after the files themselves were taken back by \`sallyport rollback\` or in Git: else the next apply
puts everything there again.
`;

function renderReadme(of: BundleOf, lines: readonly string[]): string {
  const namespace = safeText(of.namespace);
  return `# The way back of ${namespace}

What Sallyport wrote for namespace ${namespace} on ${safeText(of.target)} and how to take it back without Sallyport and
without its state. Phase ${of.phase}; newest run ${safeText(of.run)}, by ${safeText(of.by)}, at ${of.at}.

    sh undo.sh
${of.offline === true ? OFFLINE : ''}
or the commands of undo.sh one by one, in their order (newest change first: what was tightened last is loosened first). A patch begins
with tests of the values that Sallyport wrote: one that fails has changed nothing. That step was never done, is taken back already, or
somebody changed the field since, and a person has to look. Running it twice does no harm. It ends with 1 when something was passed over.

Workloads whose pod template is put back replace their pods. Nothing here looks at other namespaces: where one of them takes
mutual TLS alone and is called from here, take that one back first. What was opened there for callers here is in its own bundle.
Afterwards tell Sallyport, if its state is still there: \`sallyport verify ${namespace}\` shows what it misses, \`sallyport rollback ${namespace} --to none\`
then brings the record up to date.

${lines.join('\n')}
`;
}
