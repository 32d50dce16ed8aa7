import { GATE_IDS } from '../model/config.ts';
import { formatRef } from '../model/object.ts';
import { PHASES } from '../model/phase.ts';
import { changeRef } from '../plan/change.ts';
import { uniqueSorted } from '../shared/pure/order.ts';
import { safeText } from '../shared/pure/text.ts';
import type { CommandTable, FlagTable } from './check-command-line.ts';
import { flagsOf, splitWords } from './check-command-line.ts';
import type { App } from './context.ts';
import { kubeOptions } from './context.ts';

/** A word that may stand next, and what it is. */
interface Candidate {
  readonly word: string;
  readonly what?: string;
}

/** What a shell may offer: words, or files, or folders. With `open` the word goes on: no space behind it. */
type Offer =
  | { readonly kind: 'words'; readonly words: readonly Candidate[]; readonly open?: boolean }
  | { readonly kind: 'files' }
  | { readonly kind: 'folders' };

/** Bits of the last line, as cobra's ShellCompDirective has them (spf13/cobra, completions.go). */
const DIRECTIVE = { noSpace: 2, noFiles: 4, foldersAlone: 16 } as const;
/** A shell waits for the answer: a cluster that is slower than this completes nothing. */
const PATIENCE_MS = 2000;

const NOTHING: Offer = { kind: 'words', words: [] };

/**
 * Prints what may stand in place of the last of `words`, one candidate a line with a tab before what it is, and a directive after a
 * colon at the end. It never fails and never asks: where the state or the cluster cannot be read, their names are missing.
 */
export async function complete(
  app: App,
  program: CommandTable & { readonly commands: readonly CommandTable[] },
  sources: readonly { readonly name: string; readonly summary: string }[],
  words: readonly string[],
): Promise<void> {
  const current = words.at(-1) ?? '';
  const offer = await offerFor(app, program, sources, words.slice(0, -1), current).catch(() => NOTHING);
  if (offer.kind !== 'words') {
    app.output.raw(`:${offer.kind === 'files' ? 0 : DIRECTIVE.foldersAlone}\n`);
    return;
  }
  const lines = offer.words
    .filter(({ word }) => word.startsWith(current))
    .map(({ word, what }) => (what === undefined ? safeText(word) : `${safeText(word)}\t${safeText(what)}`));
  const directive = DIRECTIVE.noFiles | (offer.open === true ? DIRECTIVE.noSpace : 0);
  app.output.raw([...lines, `:${directive}`].map((line) => `${line}\n`).join(''));
}

async function offerFor(
  app: App,
  program: CommandTable & { readonly commands: readonly CommandTable[] },
  sources: readonly { readonly name: string; readonly summary: string }[],
  before: readonly string[],
  current: string,
): Promise<Offer> {
  const known = flagsOf([program, ...program.commands]);
  const typed = splitWords(before, known).filter((word) => word.kind === 'word');
  const command = program.commands.find((one) => one.name() === typed[0]?.text);
  const flags = flagsOf(command === undefined ? [program] : [program, command]);
  const last = flags.get(before.at(-1) ?? '');
  if (last?.required === true) return ofFlag(app, last, command);
  const equals = current.indexOf('=');
  if (current.startsWith('-') && equals > 0) {
    const option = flags.get(current.slice(0, equals));
    if (option === undefined) return NOTHING;
    const offer = await ofFlag(app, option, command);
    return offer.kind === 'words' ? ofWords(prefixed(offer.words, current.slice(0, equals + 1))) : offer;
  }
  if (current.startsWith('-')) return ofWords(flagWords(command === undefined ? [program] : [command, program]));
  if (command === undefined)
    return ofWords(program.commands.map((one) => ({ word: one.name(), what: one.description() })));
  const place = typed.length - 1;
  const argument = command.registeredArguments[place] ?? command.registeredArguments.findLast((one) => one.variadic);
  if (argument === undefined) return NOTHING;
  if (argument.argChoices !== undefined) return ofWords(argument.argChoices.map((word) => ({ word })));
  switch (argument.name()) {
    case 'ns':
      return ofWords(await namespaceNames(app));
    case 'source':
      return ofWords(sources.map(({ name, summary }) => ({ word: name, what: summary })));
    case 'action':
      return ofWords(['export', 'import', 'rebuild'].map((word) => ({ word })));
    case 'pattern':
      return ofWords((await patterns()).map(({ name, title }) => ({ word: name, what: title })));
    case 'query':
      return ofQuery(app, command.name(), current);
    case 'grant':
      return ofWords(await grantIds(app));
    case 'object':
      return ofWords(await objectNames(app));
    default:
      return { kind: 'files' };
  }
}

async function patterns(): Promise<readonly { readonly name: string; readonly title: string }[]> {
  return (await import('./pattern-files.ts')).readPatterns();
}

const ofWords = (words: readonly Candidate[]): Offer => ({ kind: 'words', words });

const prefixed = (words: readonly Candidate[], prefix: string): readonly Candidate[] =>
  words.map((one) => ({ ...one, word: prefix + one.word }));

function flagWords(tables: readonly CommandTable[]): readonly Candidate[] {
  const seen = new Set<string>();
  return tables.flatMap(({ options }) =>
    options.flatMap(({ long, description, hidden }): readonly Candidate[] => {
      if (long === undefined || hidden || seen.has(long)) return [];
      seen.add(long);
      return [{ word: long, what: description }];
    }),
  );
}

async function ofFlag(app: App, option: FlagTable, command: CommandTable | undefined): Promise<Offer> {
  if (option.argChoices !== undefined) return ofWords(option.argChoices.map((word) => ({ word })));
  const value = /<(.*)>/.exec(option.flags)?.[1];
  switch (value) {
    case 'phase':
      return ofWords(
        PHASES.filter((phase) => phase !== 'none' || command?.name() === 'rollback').map((word) => ({ word })),
      );
    case 'ns':
      return ofWords(await namespaceNames(app));
    case 'workload':
      return ofWords(await workloadNames(app));
    case 'name':
      return ofWords(await contextNames(app));
    case 'dir':
      return { kind: 'folders' };
    case 'file':
      return { kind: 'files' };
    default:
      return NOTHING;
  }
}

const EDGE_KEYS = ['ns', 'src', 'dst', 'port', 'verdict', 'before', 'id'];
const GATE_KEYS = ['gate', 'ns', 'subject'];

/** The key or the value after the last comma. */
async function ofQuery(app: App, command: string, current: string): Promise<Offer> {
  const comma = current.lastIndexOf(',') + 1;
  const [head, part] = [current.slice(0, comma), current.slice(comma)];
  const equals = part.indexOf('=');
  const keys =
    command === 'waive' ? GATE_KEYS : command === 'withdraw' ? [...new Set([...EDGE_KEYS, ...GATE_KEYS])] : EDGE_KEYS;
  const [prefix, words] =
    equals < 0
      ? [head, keys.map((key) => ({ word: `${key}=` }))]
      : [`${head}${part.slice(0, equals + 1)}`, await valuesOf(app, part.slice(0, equals))];
  return { kind: 'words', words: prefixed(words, prefix), open: true };
}

async function valuesOf(app: App, key: string): Promise<readonly Candidate[]> {
  switch (key) {
    case 'ns':
      return namespaceNames(app);
    case 'src':
    case 'dst':
      return workloadNames(app);
    case 'gate':
      return GATE_IDS.map((word) => ({ word }));
    case 'verdict':
      return ['allowed', 'denied', 'audit', 'unknown'].map((word) => ({ word }));
    default:
      return [];
  }
}

/** Of the directory of manifests, or of the state and the cluster; with the phase where one is under way. */
async function namespaceNames(app: App): Promise<readonly Candidate[]> {
  const phases = await orNothing(async () => (await app.state()).reader.phases());
  const names = app.options.manifests === undefined ? await liveNamespaces(app) : await offlineNamespaces(app);
  return uniqueSorted([...names, ...(phases?.keys() ?? [])]).map((word) => ({
    word,
    what: phases?.get(word) ?? 'none',
  }));
}

async function offlineNamespaces(app: App): Promise<readonly string[]> {
  const { loadAll } = await import('./load.ts');
  return (await loadAll(app, { kind: 'none' })).inventory.namespaces.map(({ name }) => name);
}

async function liveNamespaces(app: App): Promise<readonly string[]> {
  const { connectKube } = await import('../sources/kube/index.ts');
  const { systemClock } = await import('../shared/io/clock.ts');
  const listed = await orNothing(async () => {
    const api = await connectKube({ ...kubeOptions(app.options, app.env), clock: systemClock, timeoutMs: PATIENCE_MS });
    try {
      const { body } = await api
        .send({
          method: 'GET',
          path: '/api/v1/namespaces',
          query: { limit: '500' },
          subject: { verb: 'list', resource: 'namespaces', doing: 'listing namespaces' },
          signal: AbortSignal.timeout(PATIENCE_MS),
        })
        .then((answer) => (answer.ok ? answer : { body: {} }));
      const { asArray, asObject, asString } = await import('../shared/pure/json.ts');
      return asArray(asObject(body)['items']).flatMap((item) => {
        const name = asString(asObject(asObject(item)['metadata'])['name']);
        return name === undefined ? [] : [name];
      });
    } finally {
      api.close();
    }
  });
  return listed ?? [];
}

/** Workloads that have traffic on record, and with a directory of manifests all that are in it. */
async function workloadNames(app: App): Promise<readonly Candidate[]> {
  const recorded = await orNothing(async () => (await app.state()).reader.workloads());
  const declared =
    app.options.manifests === undefined
      ? []
      : ((await orNothing(async () => {
          const { loadAll } = await import('./load.ts');
          return (await loadAll(app, { kind: 'none' })).inventory.workloads.map(({ id }) => id);
        })) ?? []);
  return uniqueSorted([...declared, ...(recorded ?? [])]).map((word) => ({ word }));
}

async function objectNames(app: App): Promise<readonly Candidate[]> {
  const { reader } = await app.state();
  return uniqueSorted(reader.applied().map(({ step }) => formatRef(changeRef(step.change)))).map((word) => ({ word }));
}

async function grantIds(app: App): Promise<readonly Candidate[]> {
  const { readGrants } = await import('./render-grant.ts');
  return readGrants((await app.state()).reader).map(({ id, text }) => ({ word: id, what: text }));
}

async function contextNames(app: App): Promise<readonly Candidate[]> {
  const { readContexts } = await import('../sources/kube/kubeconfig.ts');
  return (await readContexts(kubeOptions(app.options, app.env))).map((word) => ({ word }));
}

async function orNothing<T>(read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read();
  } catch {
    // Completion has nowhere to say what is wrong; the command itself will.
    return undefined;
  }
}
