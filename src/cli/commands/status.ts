import { setTimeout as delay } from 'node:timers/promises';
import type { App } from '../context.ts';
import { PHASES, phaseIndex } from '../../model/phase.ts';
import { plural, safeText } from '../../shared/pure/text.ts';
import { EXIT, Failure } from '../../shared/pure/errors.ts';
import { cancelled } from '../interrupt.ts';
import type { Output } from '../output.ts';
import { few, paint, wrap } from '../output.ts';
import { countGates } from '../render-gates.ts';
import { findLiveWriter } from '../../../state/open.ts';
import { parseMoment } from '../moment.ts';
import { appliedTuning, describeExpected } from '../../readiness/tuning-in-force.ts';
import { appliedPatterns } from '../../readiness/patterns-in-force.ts';
import { grantDocument, grantLines, readGrants } from '../render-grant.ts';
import { chaosDocument, leftText, readChaos } from '../render-chaos.ts';
import { appliedText } from '../render-applied.ts';
import type { NamespaceOption } from './inventory.ts';

export interface StatusOptions extends NamespaceOption {
  readonly watch?: boolean;
}

const WATCH_MS = 2000;

/** Where each namespace stands, from the state alone; with `watch` again whenever it changed, until Ctrl-C. */
export async function status(app: App, options: StatusOptions): Promise<void> {
  const { output, interrupt } = app;
  if (options.watch !== true) {
    await showStatus(app, options, output);
    return;
  }
  if (output.json)
    throw new Failure({
      code: 'SP253',
      exit: EXIT.usage,
      message: 'a document is printed once, and --watch prints again and again',
      where: 'sallyport status --watch',
      hint: 'leave out one of the two; sallyport status --json again and again is cheap',
    });
  // Where nothing can be drawn over, only what changed is worth a page.
  const redraw = output.interactive && app.env['TERM'] !== 'dumb';
  let before = '';
  while (!interrupt.signal.aborted) {
    const lines: string[] = [];
    await showStatus(app, options, { ...output, line: (text = '') => void lines.push(text) });
    const page = lines.join('\n');
    if (page !== before) {
      if (redraw) output.raw(HOME_AND_CLEAR);
      output.line(`${new Date(app.clock().now()).toISOString()}\n${page}${redraw ? '' : '\n'}`);
    }
    before = page;
    await delay(WATCH_MS, undefined, { signal: interrupt.signal }).catch(() => undefined);
  }
  throw cancelled('no longer watched; runs under way go on');
}

const HOME_AND_CLEAR = '\u001b[H\u001b[2J';

async function showStatus(app: App, options: NamespaceOption, output: Output): Promise<void> {
  const { reader, file } = await app.state();
  const phases = reader.phases();
  const writer = findLiveWriter(file);
  const open = reader.openHeads();
  // A namespace that was asked for is answered from its last plan, under way or not.
  const names = [...new Set([...phases.keys(), ...open.map((run) => run.namespace), ...asked(options)])]
    .filter((name) => options.namespace === undefined || name === options.namespace)
    .sort();
  const namespaces = names.map((namespace) => {
    const phase = phases.get(namespace) ?? 'none';
    const run = open.find((one) => one.namespace === namespace);
    const soak = run === undefined ? undefined : reader.soakOf(run.id);
    return {
      namespace,
      phase,
      next: PHASES[phaseIndex(phase) + 1] ?? null,
      gates: reader.gates(namespace),
      ...(run === undefined ? {} : { openRun: { run: run.id, kind: run.kind, to: run.to, writer: writer ?? null } }),
      ...(soak === undefined
        ? {}
        : {
            soak: {
              run: soak.run,
              // Nobody waits for it: resume ends it.
              left: soak.left,
              until: soak.until === 0 ? null : new Date(soak.until).toISOString(),
              lookedAt: new Date(soak.lookedAt).toISOString(),
              awaited: soak.awaited.map(({ edge, text, due }) => ({
                edge,
                text,
                due: due === undefined ? null : new Date(due).toISOString(),
              })),
              newCallers: soak.memory.callers.map(({ id, text, denied }) => ({ edge: id, text, denied: denied > 0 })),
              denied: soak.memory.denials.map(({ edge, text, at }) => ({ edge, text, at: new Date(at).toISOString() })),
            },
          }),
    };
  });
  const now = app.options.now === undefined ? app.clock().now() : parseMoment(app.options.now);
  const grants = readGrants(reader).filter(
    (one) => options.namespace === undefined || one.steps.some(({ namespace }) => namespace === options.namespace),
  );
  const applied = reader.applied();
  const patterns = appliedPatterns(applied).filter(
    (one) => options.namespace === undefined || one.namespace === options.namespace,
  );
  const tuning = appliedTuning(applied).filter(
    (one) => options.namespace === undefined || one.namespace === options.namespace,
  );
  const experiments = readChaos(reader).filter(
    (one) => options.namespace === undefined || one.namespace === options.namespace,
  );
  output.document('Status', {
    namespaces,
    experiments: experiments.map((one) => chaosDocument(one, now)),
    grants: grants.map((one) => grantDocument(one, now)),
    patterns: patterns.map(({ namespace, name, mark }) => ({ namespace, name, set: mark?.set ?? null })),
    tuning: tuning.map(({ namespace, id, gain, since, run }) => ({
      namespace,
      id,
      since: new Date(since).toISOString(),
      run,
      expected: gain ?? null,
    })),
  });
  output.names(namespaces.map((one) => one.namespace));
  if (experiments.length > 0) output.line(paint(output, 'bold', 'Experiments that have not ended'));
  for (const one of experiments) output.line(wrap(`  ${leftText(one, now)}`, output.width, 6));
  if (grants.length > 0) output.line(paint(output, 'bold', 'Access that ends by itself'));
  for (const one of grants) for (const line of grantLines(one, now)) output.line(wrap(`  ${line}`, output.width, 6));
  if (patterns.length > 0) output.line(paint(output, 'bold', 'Patterns; sallyport verify says whether they hold'));
  for (const one of patterns) output.line(wrap(`  ${safeText(one.name)}, ${appliedText(one)}`, output.width, 6));
  if (tuning.length > 0) output.line(paint(output, 'bold', 'Tuning; sallyport tune says what it came to'));
  for (const { namespace, id, gain, since } of tuning)
    output.line(
      wrap(
        `  ${safeText(`${namespace}: ${id}, since ${new Date(since).toISOString()}; ${describeExpected(gain)}`)}`,
        output.width,
        6,
      ),
    );
  if (namespaces.length === 0) {
    output.line(
      wrap(
        reader.newestRecord() === undefined
          ? 'No namespace is under way, and no traffic is on record. Next: sallyport observe --help, for what is recorded here'
          : 'No namespace is under way. Next: sallyport waves says which goes first; sallyport plan NAMESPACE',
        output.width,
        2,
      ),
    );
    return;
  }
  for (const one of namespaces) {
    const red = one.gates.filter((gate) => gate.answer !== 'yes');
    output.line(paint(output, 'bold', safeText(one.namespace)));
    output.line(`  phase ${one.phase}, ${one.next === null ? 'the last one' : `next ${one.next}`}`);
    if (one.soak?.left === true) {
      const { awaited, newCallers, until } = one.soak;
      const say = (text: string, first: number): void =>
        output.line(wrap(safeText(text), output.width, first + 2, first));
      say(
        `soaks until ${until ?? 'its steps are done'}: ${awaited.length} not seen since, as of ${one.soak.lookedAt}, ${plural(newCallers.length, 'new caller')}. Next: sallyport resume`,
        2,
      );
      const { shown, more } = few(awaited, 6);
      for (const { text, edge, due } of shown) say(`${text} (${edge})${due === null ? '' : `, expected by ${due}`}`, 4);
      if (more !== '') say(more, 4);
    } else if (one.openRun !== undefined)
      output.line(
        wrap(
          one.openRun.writer === null
            ? `run ${safeText(one.openRun.run)} (${one.openRun.kind} to ${one.openRun.to}) was interrupted. Next: sallyport resume, or sallyport rollback ${safeText(one.namespace)}`
            : `run ${safeText(one.openRun.run)} (${one.openRun.kind} to ${one.openRun.to}) is open, and ${one.openRun.writer} writes here now. If it was interrupted: sallyport resume, when that has ended`,
          output.width,
          4,
          2,
        ),
      );
    if (one.gates.length === 0) output.line('  no gate was asked yet: sallyport plan, then advance');
    else
      output.line(
        wrap(
          red.length === 0
            ? `all ${one.gates.length} gates of the last attempt were met`
            : `open gates of the last attempt: ${safeText(countGates(red))}`,
          output.width,
          4,
          2,
        ),
      );
  }
}

function asked({ namespace }: NamespaceOption): readonly string[] {
  return namespace === undefined ? [] : [namespace];
}

/** Who did what, when and why. */
export async function audit(app: App, options: NamespaceOption): Promise<void> {
  const { reader } = await app.state();
  const entries = reader.audit(options.namespace === undefined ? {} : { namespace: options.namespace });
  const { output } = app;
  output.document('Audit', {
    entries: entries.map((entry) => ({ ...entry, at: new Date(entry.at).toISOString() })),
  });
  if (entries.length === 0) output.line('Nothing is on the audit trail yet.');
  for (const entry of entries)
    output.line(
      wrap(
        safeText(
          `${new Date(entry.at).toISOString()} ${entry.who} ${entry.what} ${entry.object}: ${entry.reason}${entry.run === undefined ? '' : ` (run ${entry.run})`}`,
        ),
        output.width,
        4,
      ),
    );
}
