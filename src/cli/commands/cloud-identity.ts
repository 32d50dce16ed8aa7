import { buildAccountTable } from '../../candidates/account-table.ts';
import { TRUST_GATE } from '../../candidates/accounts.ts';
import type { CloudMove, CloudPlan } from '../../candidates/cloud-plan.ts';
import { planCloud } from '../../candidates/cloud-plan.ts';
import { readCloud } from '../../model/cloud-identity.ts';
import type { Finding } from '../../model/finding.ts';
import { waiverFor } from '../../readiness/view.ts';
import { EXIT, Failure } from '../../shared/pure/errors.ts';
import { maskText } from '../../shared/pure/mask.ts';
import { plural, safeText } from '../../shared/pure/text.ts';
import type { App } from '../context.ts';
import type { Loaded } from '../load.ts';
import { loadAll, requireNamespace } from '../load.ts';
import type { Output } from '../output.ts';
import { paint, wrap } from '../output.ts';

export interface CloudIdentityOptions {
  readonly namespace?: string;
  readonly terraform?: boolean;
}

/** Findings about trusts and keys of clouds. */
const ABOUT_CLOUDS: ReadonlySet<string> = new Set(['SP362', 'SP363', 'SP364', 'SP365', 'SP366', 'SP367']);

/**
 * Identities of clouds: who has one, who holds a key instead, and what replaces it on both sides. Writes nothing, asks no cloud, and reads no
 * Secret. With `terraform` standard output is HCL.
 */
export async function cloudIdentity(app: App, options: CloudIdentityOptions): Promise<void> {
  if (options.terraform === true && app.output.json)
    throw new Failure({
      code: 'SP261',
      exit: EXIT.usage,
      message: '--terraform prints HCL, and --json (or -o yaml) one document',
      hint: 'leave out one of the two: the document has the HCL of each workload as well',
    });
  const loaded = await loadAll(app);
  if (options.namespace !== undefined) requireNamespace(loaded, options.namespace);
  const plan = cloudPlanOf(loaded, options.namespace);
  const facts = plan.cloud;
  const subjects = new Set(plan.moves.map((move) => move.workload));
  const findings = loaded.inventory.findings.filter(
    ({ code, subject }) =>
      ABOUT_CLOUDS.has(code) && (options.namespace === undefined || subjects.has(subject) || code !== 'SP362'),
  );
  const { output } = app;
  output.document('CloudIdentity', {
    namespace: options.namespace ?? null,
    cloud: facts,
    workloads: plan.moves.map(masked),
    otherKeys: plan.otherKeys,
    unknownKeys: plan.unknownKeys,
    fill: plan.fill,
    findings,
  });
  output.names(plan.moves.map((move) => move.workload));
  if (options.terraform === true) {
    printTerraform(app, plan);
    return;
  }
  print(output, plan, findings);
}

/** What clouds trust and what holds keys, as it was loaded: of one namespace or of all. */
export function cloudPlanOf(loaded: Loaded, namespace: string | undefined): CloudPlan {
  const view = loaded.view(namespace ?? '');
  const table = buildAccountTable({
    snapshot: loaded.snapshot,
    inventory: loaded.inventory,
    edges: view.edges,
    ...(namespace === undefined ? {} : { namespace }),
    // Which account a workload would have, once the cloud trusts it: that is what is planned here.
    trusted: (workload) =>
      waiverFor({ ...view, namespace: workload.slice(0, workload.indexOf('/')) }, TRUST_GATE, workload) !== undefined,
  });
  return planCloud(table, readCloud(loaded.snapshot.objects), loaded.inventory.facts.cni.name);
}

function masked(move: CloudMove): object {
  return {
    ...move,
    bindings: move.bindings.map((one) => ({
      ...one,
      identity: one.identity === undefined ? null : maskText(one.identity),
    })),
  };
}

function printTerraform(app: App, plan: CloudPlan): void {
  const blocks = [...new Map(plan.moves.filter((move) => !move.shared).map((move) => [move.terraform, move])).values()];
  app.output.raw(
    [
      '# What stands in capitals is to be filled in; existing identities are to be imported, not made again.',
      ...plan.fill.map((line) => `# ${safeText(line)}`),
      ...blocks.map((move) => `\n# ${safeText(move.workload)}\n${hclLines(move.terraform)}`),
      '',
    ].join('\n'),
  );
  for (const move of plan.moves.filter((one) => one.shared)) app.output.note(safeText(sharedText(move)));
}

function hclLines(text: string): string {
  return text.split('\n').map(safeText).join('\n');
}

function sharedText(move: CloudMove): string {
  return `${move.workload} runs as ${move.account}, as others do or may: give it an account of its own first (sallyport plan ${move.namespace} --to identity), or the cloud trusts them all`;
}

const STATES: Readonly<Record<CloudMove['state'], string>> = {
  federated: 'has an identity, and no key',
  both: 'has an identity, and a key besides: the key can go',
  key: 'holds a key that does not end',
};

function print(output: Output, plan: CloudPlan, findings: readonly Finding[]): void {
  const { cloud } = plan;
  output.line(
    cloud.cloud === 'unknown'
      ? wrap(
          `Cloud: unknown (${safeText(cloud.because)}). What follows rests on the accounts and pods alone.`,
          output.width,
        )
      : `Cloud: ${cloud.cloud}${cloud.project === undefined ? '' : `, project ${safeText(cloud.project)}`}${cloud.region === undefined ? '' : `, ${safeText(cloud.region)}`} (${safeText(cloud.because)})`,
  );
  if (plan.moves.length === 0) output.line('No workload has an identity of a cloud, or a key of one.');
  for (const move of plan.moves) {
    output.line();
    output.line(paint(output, 'bold', safeText(move.workload)));
    output.line(wrap(`${move.cloud}: ${STATES[move.state]}`, output.width, 4, 2));
    const say = (label: string, texts: readonly string[]): void => {
      for (const text of texts) output.line(wrap(`${label}: ${safeText(text)}`, output.width, 6, 4));
    };
    say(
      'key',
      move.keys.map(({ place, reference }) => `${place}${reference === undefined ? '' : `, ${reference}`}`),
    );
    say(
      'trusted',
      move.bindings.map(
        ({ way, identity, by }) => `${way} ${identity === undefined ? '' : maskText(identity)} (${by})`,
      ),
    );
    if (move.shared) say('first', [sharedText(move)]);
    // Commands are to be copied: no line of them is broken.
    const block = (label: string, lines: readonly string[]): void => {
      if (lines.length === 0) return;
      output.line(`    ${label}:`);
      for (const line of lines.flatMap((one) => one.split('\n'))) output.line(`      ${safeText(line)}`);
    };
    if (move.state !== 'federated') {
      block('cloud', move.commands);
      block('cluster', move.kubernetes);
    }
    say(
      'needs to reach',
      move.metadata.map(({ ip, port, why }) => `${ip === undefined ? 'its node' : ip}:${port} (${why})`),
    );
  }
  if (plan.otherKeys.length > 0) {
    output.line();
    output.line('Keys of stores that are no cloud: short-lived ones come from the store itself (its STS).');
    for (const { workload, key } of plan.otherKeys)
      output.line(
        wrap(
          safeText(`${workload} ${key.place}${key.reference === undefined ? '' : `, ${key.reference}`}`),
          output.width,
          4,
          2,
        ),
      );
  }
  if (plan.unknownKeys.length > 0) {
    output.line();
    output.line(
      wrap(
        'Not known, since no Secret is read: which variables these set, and whether a key is among them. Name the keys by secretKeyRef, and they are.',
        output.width,
        2,
      ),
    );
    for (const { workload, key } of plan.unknownKeys)
      output.line(wrap(safeText(`${workload} ${key.place}, ${key.reference ?? ''}`), output.width, 4, 2));
  }
  if (plan.moves.some((move) => move.state === 'key')) {
    output.line();
    output.line('To be filled in:');
    for (const line of plan.fill) output.line(`  ${safeText(line)}`);
  }
  if (plan.moves.some((move) => move.state !== 'federated')) {
    output.line();
    output.line(
      'Next: sallyport cloud-identity apply -n NS --identity NS/KIND/NAME=IDENTITY plans the side of the cluster',
    );
  }
  const others = findings.filter(({ code }) => code !== 'SP362');
  if (others.length > 0) {
    output.line();
    output.line(`${plural(others.length, 'finding')}:`);
    for (const one of others) output.line(wrap(`${one.code} ${safeText(one.message)}`, output.width, 4, 2));
  }
}
