import type { App } from '../context.ts';
import type { Loaded } from '../load.ts';
import { loadAll, requireNamespace } from '../load.ts';
import type { View } from '../../engine/contract.ts';
import { endpointNamespace, formatEdge } from '../../model/edge.ts';
import type { Edge } from '../../model/edge.ts';
import { edgesTouching } from '../../model/edge-index.ts';
import type { Gate } from '../../model/finding.ts';
import { formatRef } from '../../model/object.ts';
import { changeRef } from '../../plan/change.ts';
import { checkDrift } from '../../plan/drift.ts';
import { deniedByOwn, judgeEdges } from '../../plan/simulate.ts';
import type { Sighting } from '../../plan/soak.ts';
import { patternsInForce } from '../../readiness/patterns-in-force.ts';
import { recordGates } from '../../readiness/record-gates.ts';
import { keptEdges, settleGate } from '../../readiness/view.ts';
import { packageVersion } from '../../shared/io/assets.ts';
import { EXIT } from '../../shared/pure/errors.ts';
import { looksLikeCredential, MASKED, showValue } from '../../shared/pure/mask.ts';
import { uniqueSorted } from '../../shared/pure/order.ts';
import { plural, safeText } from '../../shared/pure/text.ts';
import { phases } from '../../../phases/index.ts';
import { patternGates, readAppliedPatterns } from '../applied-patterns.ts';
import type { AppliedWithTemplates } from '../applied-patterns.ts';
import { renderGates } from '../render-gates.ts';
import { wrap } from '../output.ts';

/** Edges of these namespaces that must work and that a policy of Sallyport's denies as things are. One between two of them is judged once. */
function cutEdges(view: View, names: readonly string[]): readonly Edge[] {
  const kept = keptEdges(view.edges);
  const [only = ''] = names;
  const asked = new Set(names);
  const edges =
    names.length === 1
      ? edgesTouching(kept, only)
      : kept.filter(({ src, dst }) => [src, dst].some((end) => asked.has(endpointNamespace(end) ?? '')));
  return deniedByOwn(view.inventory, edges, judgeEdges(view.inventory, edges));
}

function cutGates(view: View, all: readonly Edge[]): readonly Gate[] {
  const cut = edgesTouching(all, view.namespace);
  if (cut.length === 0) return [];
  return [
    {
      id: 'denies-observed',
      answer: 'no',
      subject: view.namespace,
      facts: cut.map(formatEdge),
      fix: `sallyport advance ${view.namespace} --to ${view.phases.get(view.namespace) ?? 'monitor'} brings its policies up to date; or sallyport accept QUERY --reason "..."`,
    },
  ];
}

/**
 * What the signals hold since the watch over the namespaces' newest runs ended, by namespace; of one that no watch stood over, as far back
 * as they are kept. All are read in one go, from where the oldest of those watches stopped: records from before a step had its time to act
 * are left out where they are judged.
 */
async function readRecord(
  app: App,
  loaded: Loaded,
  namespaces: readonly string[],
): Promise<ReadonlyMap<string, readonly Sighting[]>> {
  const { soak } = loaded.config;
  const target = await app.target();
  if (target.kind !== 'cluster' || soak.signals.length === 0 || namespaces.length === 0) return new Map();
  const { reader } = await app.state();
  const runs = reader.runs().filter((run) => run.kind === 'advance');
  const watches = namespaces.map((namespace) => {
    const watched = runs.findLast((run) => run.namespace === namespace && reader.soakOf(run.id) !== undefined);
    return watched === undefined ? undefined : { at: runs.indexOf(watched), run: watched.id };
  });
  const oldest = watches.includes(undefined) ? undefined : watches.toSorted((a, b) => (a?.at ?? 0) - (b?.at ?? 0))[0];
  const { openSignals } = await import('../signals.ts');
  const signals = await openSignals({
    configs: soak.signals,
    position: oldest === undefined ? undefined : reader.soakOf(oldest.run)?.position,
    tail: true,
    inventory: loaded.inventory,
    // Read a moment ago.
    reread: () => Promise.resolve(loaded.inventory),
    clock: app.clock(),
    patient: false,
  });
  const records = new Map(namespaces.map((namespace) => [namespace, [] as Sighting[]]));
  try {
    for (;;) {
      const look = await signals.look();
      for (const sighting of look.sightings)
        for (const namespace of new Set([sighting.key.src, sighting.key.dst].map(endpointNamespace)))
          if (namespace !== undefined) records.get(namespace)?.push(sighting);
      for (const gap of look.gaps) app.output.note(`${gap}; what it held is not judged`);
      if (!look.more) return records;
    }
  } finally {
    await signals.close();
  }
}

interface Judged {
  readonly namespace: string;
  readonly gates: readonly Gate[];
}

/** Namespaces under way, sorted; one that only a pattern is applied for counts. */
export function namespacesUnderWay(loaded: Loaded): readonly string[] {
  const { phases: reached, applied } = loaded.view('');
  const moving = [...reached].filter(([, phase]) => phase !== 'none').map(([name]) => name);
  return uniqueSorted([...moving, ...patternsInForce(applied).keys()]);
}

/** The gates of the phases that each namespace has reached, and what the record shows against them. */
export function judgeNamespaces(
  loaded: Loaded,
  names: readonly string[],
  records: ReadonlyMap<string, readonly Sighting[]>,
  patterns: AppliedWithTemplates = [],
): readonly Judged[] {
  const cut = cutEdges(loaded.view(''), names);
  return names.map((name) => {
    const view = loaded.view(name);
    const now = view.phases.get(name) ?? 'none';
    const reached = phases.slice(0, phases.findIndex((phase) => phase.name === now) + 1);
    const found = [
      ...reached.flatMap((phase) => phase.verify(view)),
      ...cutGates(view, cut),
      ...recordGates(view, records.get(name) ?? []),
      ...patternGates(loaded, name, patterns),
    ];
    return { namespace: name, gates: found.map((gate) => settleGate(view, gate)) };
  });
}

export interface VerifyOptions {
  readonly output?: string;
  readonly probe?: boolean;
  readonly probeFile?: string;
  readonly probeSuggest?: boolean;
}

/** Gates of probes beside those of the record, each with the namespace that it is about. */
function withProbes(judged: readonly Judged[], probed: readonly Judged[]): readonly Judged[] {
  const names = uniqueSorted([...judged, ...probed].map(({ namespace }) => namespace));
  return names.map((namespace) => ({
    namespace,
    gates: [...judged, ...probed].filter((one) => one.namespace === namespace).flatMap(({ gates }) => gates),
  }));
}

/** Does the cluster still hold what Sallyport left there, and do the gates of the phase still hold? Exit 6 if not. */
export async function verify(app: App, namespace: string | undefined, options: VerifyOptions = {}): Promise<number> {
  const underWay = namespace === undefined ? [...(await app.state()).reader.phases().keys()] : [namespace];
  const loaded = await loadAll(app, { kind: 'touching', namespaces: underWay });
  if (namespace !== undefined) requireNamespace(loaded, namespace);
  if (options.probeSuggest === true) {
    app.output.raw((await import('../probe.ts')).suggestProbes(loaded));
    return EXIT.done;
  }
  const applied = loaded.view('').applied;
  const names = namespace === undefined ? namespacesUnderWay(loaded) : [namespace];
  const drift = checkDrift(
    namespace === undefined ? applied : applied.filter((step) => step.namespace === namespace),
    loaded.snapshot.objects,
    loaded.view('').resolved,
  );
  const records = await readRecord(app, loaded, names);
  const probed =
    options.probe === true ? await (await import('../probe.ts')).probeAll(app, loaded, options.probeFile) : [];
  const judged = withProbes(judgeNamespaces(loaded, names, records, await readAppliedPatterns(applied)), probed);
  const gates = judged.flatMap((one) => one.gates);
  const { output } = app;
  const code = drift.length > 0 || gates.some((gate) => gate.answer !== 'yes') ? EXIT.drift : EXIT.done;
  const driftText = (one: (typeof drift)[number]): string =>
    `${one.object} ${one.path}: ours ${showValue(one.field, one.ours)}, now ${showValue(one.field, one.now)}`;
  if (options.output === 'junit' || options.output === 'sarif') {
    const { renderJunit, renderSarif } = await import('../render-verify.ts');
    const ownerOf = (one: (typeof drift)[number]): string | undefined =>
      applied.find(({ step }) => step.id === one.step && formatRef(changeRef(step.change)) === one.object)?.namespace;
    const suites = judged.map(({ namespace: name, gates: own }) => ({
      namespace: name,
      gates: own,
      drift: drift
        .filter((one) => (ownerOf(one) ?? names[0]) === name)
        .map((one) => ({ object: one.object, path: one.path, step: one.step, text: driftText(one) })),
    }));
    output.raw((options.output === 'junit' ? renderJunit : renderSarif)(suites, packageVersion()));
    return code;
  }
  output.document('Verify', {
    drift: drift.map(({ field, ours, now, ...one }) => ({
      ...one,
      ours: looksLikeCredential(field, ours) ? MASKED : ours,
      now: looksLikeCredential(field, now) ? MASKED : now,
    })),
    gates,
  });
  if (names.length === 0) output.line('No namespace is under way: nothing to verify.');
  else if (drift.length === 0) output.line(`No drift: ${plural(names.length, 'namespace')} as Sallyport left it.`);
  for (const one of drift)
    output.line(wrap(safeText(`drift: ${driftText(one)} (since step ${one.step})`), output.width, 4));
  if (gates.length > 0) output.line(renderGates(gates, output));
  return code;
}
