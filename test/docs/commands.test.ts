// Every command of Sallyport that the documents show, run as it stands: on the bundled example where a page is about it, else on a small
// cluster that an API server in this process plays.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { generateFlows } from '../../examples/fraud-detection/generate.ts';
import { readConfig } from '../../src/cli/config.ts';
import { readPatterns } from '../../src/cli/pattern-files.ts';
import { parseCommandLine } from '../../src/cli/program.ts';
import { main } from '../../src/main.ts';
import { isKubeManifest } from '../../src/model/object.ts';
import { isFault, parseNeutralEdge } from '../../src/sources/edges/schema.ts';
import { findSource } from '../../src/sources/registry.ts';
import { isRemote } from '../../src/sources/remote.ts';
import { CLUSTER } from '../cli/shop.ts';
import { fixtures } from '../sources/cluster.ts';
import type { Block, Command } from '../support/docs.ts';
import { PAGES, blocksOf, commandsOf, readPage } from '../support/docs.ts';
import { prepareExample } from '../support/example-place.ts';
import { ISTIO_KINDS } from '../support/fake-api/kinds.ts';
import type { FakeApi } from '../support/fake-api/server.ts';
import { startFakeApi } from '../support/fake-api/server.ts';

/** Pages that go through the bundled example step by step; their output is compared as well. */
const TUTORIALS = ['docs/tutorial.md'];

/** Blocks that are not run: every one of them, by page and reason. */
const NOT_RUN: Readonly<Record<string, readonly string[]>> = {
  'docs/platforms/aks.md': ['commands of a provider'],
  'docs/platforms/calico.md': ['objects of other tools', 'commands of other tools'],
  'docs/platforms/cilium.md': ['commands of other tools', 'commands of other tools'],
  'docs/platforms/eks.md': ['commands of a provider'],
  'docs/platforms/gke.md': ['objects and commands of a provider', 'commands of a provider'],
  'docs/platforms/istio.md': ['objects of other tools', 'commands of other tools'],
  'docs/platforms/openshift.md': ['objects of other tools', 'commands of other tools'],
};

/** Programs beside ours in blocks that are run: theirs is not our promise. A name that is not here is a slip of the keyboard. */
const OTHERS: ReadonlySet<string> = new Set(
  'kubectl istioctl hubble gzip gunzip base64 curl npm node npx cd sh grep jq git docker sha256sum'.split(' '),
);

/** Asked of an API server that answers for everything, or without an end: other tests run them. Here their command lines are read. */
const READ_ONLY: ReadonlySet<string> = new Set(['doctor', 'watch']);

/** Gates that a cluster this small and this quiet cannot meet; a person confirms what asks for it. */
const CONFIG = `gates: {window: off, coverage: off, unseen-workloads: off, corroboration: off, soak: off}
cluster: {cni: {name: cilium, ipBlockMatches: []}, apiServer: [10.0.0.1/32]}
`;
/** A proposal, for commands that judge one. */
const POLICY = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]
`;
const CONFIRMED = ['--yes', '--config', 'sallyport-test.yaml'];

/** What people fill in. */
const PLACEHOLDERS: Readonly<Record<string, string>> = { NS: 'shop', WORKLOAD: 'shop/Deployment/web' };

const BLOCKS = PAGES.flatMap(blocksOf).filter((block) => ['sh', 'bash', ''].includes(block.language));
const RUN = BLOCKS.filter((block) => block.notRun === undefined && block.language !== '');

/** The arguments of ours; undefined for another program. */
function argumentsOf({ words }: Pick<Command, 'words'>): readonly string[] | undefined {
  const [program, ...rest] = words;
  if (program === 'sallyport') return rest;
  if (program === 'kubectl' && rest[0] === 'sallyport') return rest.slice(1);
  const npm = program === 'npm' ? rest.indexOf('sallyport') : -1;
  if (npm < 0) return undefined;
  const after = rest.slice(npm + 1);
  return after[0] === '--' ? after.slice(1) : after;
}

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

let folder: string;
let api: FakeApi;
/** Environment of this process, put back after the tests. */
const before = { ...process.env };

/** The program in this process, without a terminal. */
async function sallyport(args: readonly string[]): Promise<Ended> {
  let [stdout, stderr] = ['', ''];
  const out = vi.spyOn(process.stdout, 'write').mockImplementation((text) => ((stdout += String(text)), true));
  const err = vi.spyOn(process.stderr, 'write').mockImplementation((text) => ((stderr += String(text)), true));
  try {
    await main(args);
    return { code: Number(process.exitCode ?? 0), stdout, stderr };
  } finally {
    process.exitCode = undefined;
    out.mockRestore();
    err.mockRestore();
    for (const stream of [process.stdout, process.stderr]) stream.removeAllListeners('error');
  }
}

/** Of the cluster that a page speaks of: a grant of that id (SP634), another CNI (SP268), the pod. Their answers have tests of their own. */
const NOT_HERE = /\(SP634\)|\(SP268\)|there is no pod [^ ]+ \(SP267\)/u;

/** Done, refused by a gate, or something was found; the session alone needs a terminal. */
function isTrue({ code, stderr }: Ended): boolean {
  return [0, 3, 6].includes(code) || stderr.includes('(SP227)') || NOT_HERE.test(stderr);
}

function at(block: Block, command: Command): string {
  return `${block.page}:${command.line} ${command.words.join(' ')}`;
}

let copies = 0;
/** A recording of that source under the name that the page gives it; never the same bytes twice. */
function putRecording(source: string, file: string): void {
  const fixture = fixtures.find((one) => one.source === source);
  if (fixture === undefined) throw new Error(`there is no fixture of ${source}`);
  copies += 1;
  const text = `${fixture.text.trimEnd()}${'\n'.repeat(copies)}`;
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, file.endsWith('.gz') ? gzipSync(text) : text);
}

/** A command of a page that speaks of somebody's cluster. */
async function runOnCluster(command: Command, args: readonly string[]): Promise<Ended | undefined> {
  const [verb, source = '', ...rest] = args;
  if (READ_ONLY.has(verb ?? '')) {
    await parseCommandLine(args, '0', () => undefined);
    return undefined;
  }
  if (verb !== 'observe') return sallyport(verb === undefined ? args : [...args, ...CONFIRMED]);
  const inputs = rest.filter((word) => isRemote(word) || /^grpcs?:/.test(word));
  // Archives of somebody's, with a query or as Parquet, have tests of their own (test/sources/archive.test.ts).
  const isArchive = args.includes('--query') || rest.some((word) => word.endsWith('.parquet'));
  if (inputs.length > 0 || args.includes('--follow') || isArchive) {
    // Nobody is there to be asked: the source must be one that can be, and the flags must be known.
    if (inputs.some(isRemote)) expect(findSource(source)?.remote).toBeDefined();
    await parseCommandLine(args, '0', () => undefined);
    return undefined;
  }
  const files = rest.filter((word, index) => !word.startsWith('--') && !(rest[index - 1] ?? '').startsWith('--'));
  const named = files.map((file, index) => (file === '-' ? `stdin-${index}.log` : file));
  for (const file of named) putRecording(source, file);
  if (command.piped) expect(files).toEqual(['-']);
  return sallyport(['observe', source, ...named, ...rest.filter((word) => !files.includes(word)), ...takenAt(source)]);
}

/** Snapshots without times ask when they were taken. */
const takenAt = (source: string): readonly string[] =>
  ['istio', 'linkerd', 'caretta', 'coroot', 'kiali', 'otterize', 'kubescape'].includes(source)
    ? ['--now', '2026-10-05T12:00:00Z']
    : [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sallyport-docs-'));
  const objects = Object.values(CLUSTER)
    .flatMap((text) => parseAllDocuments(text).map((one) => one.toJS() as unknown))
    .filter(isKubeManifest)
    .filter(({ metadata }) => metadata.name !== 'kube-system');
  api = await startFakeApi({ objects, kinds: ISTIO_KINDS, now: () => Date.now() });
});
afterAll(async () => {
  // Not back to the checkout: what a timeout left behind may still write.
  process.chdir(tmpdir());
  process.env = before;
  rmSync(folder, { recursive: true, force: true });
  await api.close();
});

/** A working directory and a state home of its own. */
function enter(name: string): string {
  const place = join(folder, name.replaceAll(/\W+/g, '-'));
  mkdirSync(place, { recursive: true });
  process.chdir(place);
  process.env = {
    ...before,
    KUBECONFIG: api.kubeconfig,
    HOME: place,
    XDG_STATE_HOME: join(place, 'xdg'),
    SALLYPORT_USER: 'reader',
    NO_COLOR: '1',
  };
  return place;
}

describe('blocks of the documents', () => {
  it('are run, but for those that say why not', () => {
    const listed: Record<string, string[]> = {};
    for (const { page, notRun } of BLOCKS) if (notRun !== undefined) (listed[page] ??= []).push(notRun);
    expect(listed).toEqual(NOT_RUN);
  });

  it('that are not run have no command of ours', () => {
    const ours = BLOCKS.filter((block) => block.notRun !== undefined).filter(({ text }) => /\bsallyport\b/.test(text));
    expect(ours.map(({ page, line }) => `${page}:${line}`)).toEqual([]);
  });

  it('name the language where they hold a command of ours', () => {
    const bare = BLOCKS.filter((block) => block.language === '' && /^\s*sallyport /m.test(block.text));
    expect(bare.map(({ page, line }) => `${page}:${line}`)).toEqual([]);
  });

  it('call programs that there are', () => {
    const strange = RUN.flatMap((block) =>
      commandsOf(block, new Map())
        .filter((command) => argumentsOf(command) === undefined && !OTHERS.has(command.words[0] ?? ''))
        .map((command) => at(block, command)),
    );
    expect(strange).toEqual([]);
  });
});

describe('commands in the text', () => {
  /** Words that stand for a value of a certain form. */
  const STAND_IN: Readonly<Record<string, string>> = { PHASE: 'monitor', TIME: '2026-10-14' };

  it.each(PAGES)('are taken, as far as they are written out: %s', async (page) => {
    const prose = readPage(page).replaceAll(/```[\s\S]*?```/g, '');
    const wrong: string[] = [];
    for (const [, text = ''] of prose.matchAll(/`(sallyport [^`\n]+)`/g)) {
      // `accept|adopt`, `ours|theirs`: the first stands for all.
      const whole = text.replaceAll(/([\w-]+)(?:\|[\w-]+)+/g, '$1').replaceAll(/ \.\.\.(?= |$)/g, '');
      for (const command of commandsOf({ page, line: 1, language: 'sh', text: whole, notRun: undefined }, new Map())) {
        const args = argumentsOf(command)?.map((word) => STAND_IN[word] ?? word);
        if (args === undefined || args[0] === 'COMMAND') continue;
        await parseCommandLine(args, '0', () => undefined).catch((error: unknown) => {
          // What is left out is left to the reader.
          if (!String(error).includes('missing: ')) wrong.push(`${text}: ${String(error)}`);
        });
      }
    }
    expect(wrong).toEqual([]);
  });
});

describe('examples of --help', () => {
  const helpOf = async (...words: readonly string[]): Promise<string> => {
    let help = '';
    await parseCommandLine([...words, '--help'], '0', (text) => (help += text));
    return help;
  };

  it('are command lines that are taken', async () => {
    const [, list = ''] = (await helpOf()).split('\nCommands:\n');
    const verbs = [...(list.split('\n\n')[0] ?? '').matchAll(/^  ([a-z]+)/gm)].map(([, verb = '']) => verb);
    expect(verbs.length).toBeGreaterThan(20);
    const wrong: string[] = [];
    let tried = 0;
    for (const verb of verbs.filter((one) => one !== 'help')) {
      const [, shown = ''] = (await helpOf(verb)).split('\nExamples:\n');
      const text = shown.split('\n\n')[0] ?? '';
      const block = { page: `sallyport ${verb} --help`, line: 1, language: 'sh', text, notRun: undefined };
      for (const command of commandsOf(block, new Map())) {
        const args = argumentsOf(command);
        if (args === undefined) continue;
        tried += 1;
        await parseCommandLine(args, '0', () => undefined).catch((error: unknown) => {
          wrong.push(`${at(block, command)}: ${String(error)}`);
        });
        // `addresses` is no traffic: who holds which address, asked of the cluster.
        if (args[0] === 'observe' && args[1] !== 'addresses')
          expect(findSource(args[1] ?? '')?.name, at(block, command)).toBe(args[1]);
      }
      if (!text.includes('sallyport')) wrong.push(`${verb} has no example`);
    }
    expect(wrong).toEqual([]);
    expect(tried).toBeGreaterThan(50);
  });
});

describe('configuration as the documents show it', () => {
  const shown = PAGES.flatMap(blocksOf).filter(({ language, text }) => language === 'yaml' && !isPattern(text));

  it.each(shown.map((block) => [`${block.page}:${block.line}`, block.text] as const))(
    'is read: %s',
    async (_, text) => {
      const file = join(enter('configuration'), 'config.yaml');
      writeFileSync(file, text);
      await expect(readConfig(file)).resolves.toBeDefined();
    },
  );
});

/** A pattern of one's own, and no configuration. */
function isPattern(text: string): boolean {
  return text.startsWith('title: ');
}

describe('patterns as the documents show them', () => {
  it('are read', async () => {
    const shown = PAGES.flatMap(blocksOf).filter(({ language, text }) => language === 'yaml' && isPattern(text));
    expect(shown.length).toBeGreaterThan(0);
    for (const [index, { text }] of shown.entries()) {
      const own = join(enter('patterns'), `own-${index}`, 'nobody-calls');
      mkdirSync(own, { recursive: true });
      writeFileSync(join(own, 'pattern.yaml'), text);
      writeFileSync(join(own, 'README.md'), 'Nobody calls.\n');
      const read = await readPatterns(dirname(own));
      expect(read.map(({ name }) => name)).toContain('nobody-calls');
    }
  });
});

describe('neutral edges as the documents show them', () => {
  it('are read', () => {
    const shown = PAGES.flatMap(blocksOf).filter(
      ({ language, text }) => language === 'json' && text.includes('"verdict"'),
    );
    expect(shown.length).toBeGreaterThan(0);
    for (const { text } of shown)
      for (const line of text.split('\n')) expect(isFault(parseNeutralEdge(JSON.parse(line)))).toBe(false);
  });
});

describe('commands on a cluster', { timeout: 240_000 }, () => {
  const pages = PAGES.filter((page) => !TUTORIALS.includes(page)).filter((page) =>
    RUN.some(
      (block) => block.page === page && commandsOf(block, new Map()).some((one) => argumentsOf(one) !== undefined),
    ),
  );

  it.each(pages)('are true: %s', async (page) => {
    const place = enter(page);
    writeFileSync(join(place, 'sallyport-test.yaml'), CONFIG);
    mkdirSync(join(place, 'policies'));
    writeFileSync(join(place, 'policies', 'db.yaml'), POLICY);
    writeFileSync(join(place, 'before.jsonl'), history());
    expect(await sallyport(['observe', 'edges', 'before.jsonl'])).toMatchObject({ code: 0 });
    const wrong: string[] = [];
    const variables = new Map(Object.entries(PLACEHOLDERS));
    for (const block of RUN.filter((one) => one.page === page))
      for (const command of commandsOf(block, variables)) {
        const args = argumentsOf(command)?.map((word) => PLACEHOLDERS[word] ?? word);
        // A whole tour has tests of its own (test/examples).
        if (args === undefined || args[0] === 'demo') continue;
        const ended = await runOnCluster(command, args);
        if (ended !== undefined && !isTrue(ended)) wrong.push(`${at(block, command)}\n${ended.stderr}`);
      }
    expect(wrong.join('\n'), 'mend the page, or put what the command needs into its place (here)').toBe('');
  });
});

describe('the tutorial', { timeout: 240_000 }, () => {
  it.each(TUTORIALS)('is true, and so is its output: %s', async (page) => {
    const place = enter(page);
    const wrong: string[] = [];
    const variables = new Map<string, string>();
    let said = '';
    for (const block of blocksOf(page)) {
      if (block.language === 'text') {
        const missing = notSaid(block.text, said);
        if (missing !== undefined) wrong.push(`${page}:${block.line} is not in the output: ${missing}`);
      }
      if (block.language !== 'sh' || block.notRun !== undefined) continue;
      said = '';
      for (const command of commandsOf(block, variables)) {
        const [program, ...rest] = command.words;
        const args = argumentsOf(command);
        if (program === 'cd') process.chdir(rest[0] ?? '.');
        else if (program === 'node' && rest[0]?.endsWith('generate.ts') === true) generate(rest);
        else if (args?.[0] === 'demo') await prepareExample(join(place, args[2] ?? ''));
        else if (args !== undefined) {
          const ended = await sallyport(args);
          said += ended.stdout + ended.stderr;
          if (ended.code !== 0) wrong.push(`${at(block, command)}: exit ${ended.code}\n${ended.stderr}`);
        } else wrong.push(`${at(block, command)}: who runs this?`);
      }
    }
    expect(wrong.join('\n')).toBe('');
  });
});

function generate(args: readonly string[]): void {
  const value = (flag: string): string | undefined => args[args.indexOf(flag) + 1];
  expect(args.filter((word) => word.startsWith('--')).sort()).toEqual(['--days', '--out']);
  writeFileSync(basename(value('--out') ?? ''), [...generateFlows({ days: Number(value('--days')) })].join('\n'));
}

/** The first line of an excerpt that the output lacks, in its order; `...` stands for any lines. */
function notSaid(excerpt: string, output: string): string | undefined {
  let rest = output.split('\n').map((line) => line.trimEnd());
  for (const line of excerpt.split('\n')) {
    if (line.trim() === '...') continue;
    const found = rest.indexOf(line.trimEnd());
    if (found < 0) return line;
    rest = rest.slice(found + 1);
  }
  return undefined;
}

/** Web calls its database on each of the last ten days. */
function history(): string {
  return [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]
    .map((ago) => {
      const time = new Date(Date.now() - ago * 86_400_000).toISOString();
      const ends = { src: { workload: 'shop/Deployment/web' }, dst: { workload: 'shop/Deployment/db' } };
      return `${JSON.stringify({ first: time, last: time, ...ends, protocol: 'TCP', port: 5432, count: 3, verdict: 'allowed' })}\n`;
    })
    .join('');
}
