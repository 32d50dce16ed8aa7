import type { FieldPath, Json, JsonObject } from '../shared/pure/json.ts';
import { isJsonObject } from '../shared/pure/json.ts';
import { safeText } from '../shared/pure/text.ts';
import type { KubeManifest, ObjectRef } from '../model/object.ts';
import { formatRef, groupOf } from '../model/object.ts';
import type { PhaseName } from '../model/phase.ts';
import type { FieldChange } from './change.ts';
import { changeRef, changesNothing } from './change.ts';
import type { Step } from './plan.ts';

/** A file of a bundle: a plain name without folders, and its text. */
export interface BundleFile {
  readonly name: string;
  readonly text: string;
  readonly executable?: boolean;
}

export interface BundleOf {
  readonly run: string;
  readonly namespace: string;
  readonly from: PhaseName;
  readonly to: PhaseName;
  readonly by: string;
  /** Of the cluster or directory, for people. */
  readonly target: string;
  /** ISO 8601. */
  readonly at: string;
  readonly steps: readonly Step[];
}

/**
 * What takes a run back with kubectl alone: for every step, newest first, a deletion of what it creates, an ordered JSON Patch (RFC 6902)
 * that tests each of our values and puts the one before back, or the manifest of what it deletes; a script that runs them, and a README.
 * Made from the plan, before the first write: a step that was never done is passed over by its own test. A value that looks like a
 * credential is left out and named (none of the phases writes one).
 */
export function buildUndoBundle(of: BundleOf): readonly BundleFile[] {
  const backward = [...of.steps].filter((step) => !changesNothing(step.change)).reverse();
  const width = Math.max(2, String(backward.length).length);
  const files: BundleFile[] = [];
  const commands: string[] = [];
  const lines: string[] = [];
  for (const [index, step] of backward.entries()) {
    const number = String(index + 1).padStart(width, '0');
    const made = undoOf(step, number);
    files.push(...made.files);
    commands.push(`step ${quote(`${number} ${safeText(step.title)}`)}`, ...made.commands);
    lines.push(`${number}. ${safeText(formatRef(changeRef(step.change)))}: ${made.text}`);
  }
  return [
    { name: 'README.md', text: renderReadme(of, lines) },
    { name: 'undo.sh', text: renderScript(of, commands), executable: true },
    ...files,
  ];
}

interface Undo {
  readonly files: readonly BundleFile[];
  readonly commands: readonly string[];
  readonly text: string;
}

function undoOf(step: Step, number: string): Undo {
  const { change } = step;
  const ref = changeRef(change);
  const name = `${number}-${fileWord(ref.kind)}-${fileWord(ref.name)}`;
  switch (change.kind) {
    case 'create':
      return {
        files: [],
        commands: [`run kubectl delete ${target(ref)} --ignore-not-found`],
        text: 'is deleted; Sallyport made it',
      };
    case 'delete': {
      const file = `${name}.json`;
      return {
        files: [{ name: file, text: render(plain(change.before)) }],
        commands: [`exists ${target(ref)} || run kubectl create -f ${file}`],
        text: `is made again (${file})`,
      };
    }
    case 'edit': {
      const file = `${name}.json`;
      const patch = (of: string): string => `kubectl patch ${target(ref)} --type=json --patch-file ${of}`;
      const text = `${change.fields.map((field) => describe(field)).join('; ')} (${file})`;
      const parts = leavesOf(change.fields);
      const whole = { name: file, text: render(buildUndoPatch(change.fields)) };
      if (parts.every((part, index) => part === change.fields[index]))
        return { files: [whole], commands: [`run ${patch(file)}`], text };
      const partsFile = `${name}-parts.json`;
      return {
        files: [whole, { name: partsFile, text: render(buildUndoPatch(parts)) }],
        commands: [`try ${patch(file)} || run ${patch(partsFile)}`],
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
  const group = groupOf(ref.apiVersion);
  const version = ref.apiVersion.slice(ref.apiVersion.lastIndexOf('/') + 1);
  const kind = group === '' ? ref.kind.toLowerCase() : `${ref.kind.toLowerCase()}.${version}.${group}`;
  return `${quote(kind)} ${quote(ref.name)}${ref.namespace === undefined ? '' : ` -n ${quote(ref.namespace)}`}`;
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

function renderScript(of: BundleOf, commands: readonly string[]): string {
  return `#!/bin/sh
# Takes back run ${safeText(of.run)} of Sallyport: ${safeText(of.namespace)}, ${of.from} to ${of.to}. Needs kubectl and nothing else.
# KUBECTL_ARGS may hold flags for every call: KUBECTL_ARGS='--context prod' sh undo.sh
cd "$(dirname "$0")" || exit 1
left=0
kubectl() { command kubectl $KUBECTL_ARGS "$@"; }
step() { echo "== $1"; }
exists() { kubectl get "$@" >/dev/null 2>&1; }
try() { "$@" 2>/dev/null; }
run() { "$@" || { echo "   passed over: not as Sallyport left it (never done, taken back already, or changed since). Look at the object."; left=$((left + 1)); }; }
${commands.join('\n')}
echo "done; $left passed over"
[ "$left" -eq 0 ]
`;
}

function renderReadme(of: BundleOf, lines: readonly string[]): string {
  return `# Undo of run ${safeText(of.run)}

Namespace ${safeText(of.namespace)}, ${of.from} to ${of.to}, by ${safeText(of.by)} at ${of.at}, on ${safeText(of.target)}.
Written before the run's first change, so that it can be taken back without Sallyport and without its state.

    sh undo.sh

or the files by hand, in this order (newest change first: what was tightened last is loosened first). If several runs are to be taken
back, the newest run comes first. A patch begins with tests of the values that Sallyport wrote: one that fails changed nothing; that
step was never done, is taken back already, or somebody changed the field since, and a person has to look. Workloads whose pod template
is put back replace their pods. Afterwards tell Sallyport: \`sallyport verify ${safeText(of.namespace)}\` shows what it misses.

${lines.join('\n')}
`;
}
