import { isPolicyKind } from '../../inventory/policies.ts';
import { analyzePolicies } from '../../inventory/analyzers/policies.ts';
import { changedConnections } from '../../model/connectivity.ts';
import { worldOf } from '../../model/evaluate.ts';
import type { Finding } from '../../model/finding.ts';
import type { Snapshot } from '../../model/inventory.ts';
import type { KubeManifest } from '../../model/object.ts';
import { formatRef, groupOf, refOf } from '../../model/object.ts';
import { judgePolicyChange, proposedPolicies } from '../../plan/policy-check.ts';
import { keptEdges } from '../../readiness/view.ts';
import { readManifestDirectory } from '../../sources/manifests/index.ts';
import { EXIT, Failure } from '../../shared/pure/errors.ts';
import { equalJson } from '../../shared/pure/json.ts';
import type { Json } from '../../shared/pure/json.ts';
import { safeText } from '../../shared/pure/text.ts';
import type { App } from '../context.ts';
import { placesOf } from '../explain-reach.ts';
import { loadAll } from '../load.ts';
import { checkDocument, renderCheckMarkdown, renderCheckText } from '../render-check.ts';
import type { Checked, FailOn, OpenedPair } from '../render-check.ts';
import { portChange } from '../render-reach.ts';
import { originsIn } from './reach.ts';

export interface CheckOptions {
  readonly base?: string;
  readonly output?: string;
  readonly failOn?: string;
}

const FAIL_ON: readonly FailOn[] = ['denied', 'unknown', 'opened'];

/**
 * Judges a directory of policies, as somebody proposes them, against the traffic on record: what would newly be denied, what could no longer
 * be judged, and who could newly connect to whom. Writes nothing. Exit 6 where the proposal does what `--fail-on` names, or holds an object
 * that no API server takes.
 */
export async function check(app: App, dir: string, options: CheckOptions): Promise<number> {
  const failOn = parseFailOn(options.failOn);
  const [proposed, base] = await Promise.all([
    readProposal(app, dir),
    options.base === undefined ? undefined : readProposal(app, options.base),
  ]);
  if (proposed.objects.length + (base?.objects.length ?? 0) === 0)
    throw new Failure({
      code: 'SP254',
      exit: EXIT.usage,
      message: `${safeText(dir)} holds no policy, so there is nothing to judge${proposed.left[0] === undefined ? '' : `: ${safeText(proposed.left[0].message)}`}`,
      where: proposed.left[0]?.where ?? dir,
      hint: 'name the directory of the proposal that holds its policies',
    });
  const loaded = await loadAll(app);
  const { inventory } = loaded;
  const { policies, removed } = proposedPolicies(inventory.policies, proposed.objects, base?.objects);
  const after = { ...inventory, policies };
  const edges = keptEdges(loaded.view('').edges);
  const mesh = inventory.facts.mesh.kind === 'istio';
  const sensitive = new Map(
    inventory.workloads.map(({ id, classification }) => [
      id,
      classification.sensitivity.filter((sort) => sort !== 'unknown'),
    ]),
  );
  const opened: OpenedPair[] = [];
  let closed = 0;
  for (const change of changedConnections(worldOf(inventory), worldOf(after), { mesh })) {
    const { added, removed: lost } = portChange(change);
    if (lost.length > 0) closed += 1;
    if (added.length > 0)
      opened.push({ src: change.src, dst: change.dst, ports: added, holds: sensitive.get(change.dst) ?? [] });
  }
  const origins: Snapshot['origins'] = new Map(originsIn(dir, proposed.origins));
  const own = new Set(proposed.objects.map((one) => formatRef(refOf(one))));
  const known = new Map(inventory.policies.map((one) => [formatRef(refOf(one)), one]));
  const checked: Checked = {
    dir,
    base: options.base ?? null,
    added: proposed.objects.map((one) => formatRef(refOf(one))).filter((name) => !known.has(name)),
    changed: proposed.objects
      .filter((one) => {
        const before = known.get(formatRef(refOf(one)));
        return before !== undefined && !equalJson(specOf(before), specOf(one));
      })
      .map((one) => formatRef(refOf(one))),
    removed: removed.map((one) => formatRef(refOf(one))),
    ...judgePolicyChange(inventory, after, edges),
    opened,
    closed,
    findings: [
      ...analyzePolicies(policies, inventory.facts, { origins }).filter(
        ({ severity, subject }) => severity !== 'info' && own.has(subject),
      ),
      ...proposed.left,
    ],
    places: placesOf(proposed.objects, proposed.origins, dir),
    evidence: loaded.view('').evidence,
    failOn,
  };
  const { output } = app;
  if (options.output === 'md') output.raw(renderCheckMarkdown(checked));
  else {
    output.document('Check', checkDocument(checked));
    for (const line of renderCheckText(checked, output.width)) output.line(line);
  }
  return fails(checked) ? EXIT.drift : EXIT.done;
}

function fails({ denied, unknown, opened, findings, failOn }: Checked): boolean {
  return (
    findings.some(({ severity }) => severity === 'error') ||
    (failOn.includes('denied') && denied.length > 0) ||
    (failOn.includes('unknown') && unknown.length > 0) ||
    (failOn.includes('opened') && opened.length > 0)
  );
}

function specOf(manifest: KubeManifest): Json {
  return (manifest as unknown as Readonly<Record<string, Json>>)['spec'] ?? null;
}

function parseFailOn(text: string | undefined): readonly FailOn[] {
  if (text === undefined) return ['denied', 'unknown'];
  const words = text.split(',').map((word) => word.trim());
  if (words.length === 1 && words[0] === 'none') return [];
  return words.map((word) => {
    const known = FAIL_ON.find((one) => one === word);
    if (known !== undefined) return known;
    throw new Failure({
      code: 'SP255',
      exit: EXIT.usage,
      message: `--fail-on ${safeText(word)} is none of ${FAIL_ON.join(', ')}`,
      where: '--fail-on',
      hint: 'join them by commas: --fail-on denied,unknown,opened; or none',
    });
  });
}

interface Proposal extends Pick<Snapshot, 'objects' | 'origins'> {
  /** What was left out in reading. */
  readonly left: readonly Finding[];
}

/** The policies of a directory. A file that does not parse ends it: what it holds could turn any answer. */
async function readProposal(app: App, dir: string): Promise<Proposal> {
  const { objects, origins, findings } = await readManifestDirectory(dir, {
    defaultNamespace: app.options.defaultNamespace,
  });
  const broken = findings.filter(({ severity }) => severity === 'error');
  const [first] = broken;
  if (first !== undefined)
    throw new Failure({
      code: 'SP216',
      exit: EXIT.usage,
      message: `${broken.length} of the files cannot be read, so nothing is judged: ${safeText(first.message)}`,
      where: broken.map(({ where, subject }) => where ?? subject).join(', '),
      hint: 'mend the file at that line',
    });
  return {
    objects: objects.filter(({ apiVersion, kind }) => isPolicyKind(groupOf(apiVersion), kind)),
    origins,
    left: findings
      .filter(({ severity }) => severity === 'warning')
      .map((one) => ({ ...one, where: `${dir.replace(/\/+$/u, '')}/${one.where ?? one.subject}` })),
  };
}
