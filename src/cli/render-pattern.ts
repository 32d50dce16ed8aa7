import type { InvariantResult, PatternPair } from '../candidates/patterns/judge.ts';
import type { ParameterSpec, Pattern } from '../candidates/patterns/pattern.ts';
import type { AppliedPattern } from '../model/applied-pattern.ts';
import type { Finding } from '../model/finding.ts';
import { renderYaml } from '../shared/io/yaml.ts';
import { plural, safeText } from '../shared/pure/text.ts';
import type { Output } from './output.ts';
import { few, paint, wrap } from './output.ts';
import { appliedText } from './render-applied.ts';

export interface CheckedPattern {
  readonly name: string;
  readonly title: string;
  /** `not-asked`: parameters are missing that nothing in the cluster stands for. `not-applicable`: nothing here is what it is about. */
  readonly answer: 'holds' | 'violated' | 'unknown' | 'not-applicable' | 'not-asked';
  /** Of which namespace it was asked; null: of the cluster. */
  readonly namespace: string | null;
  /** With what, `key=value`; what is left out has its default. */
  readonly set: readonly string[];
  /** Are these what it was applied with, and not what was typed now? */
  readonly recorded: boolean;
  readonly missing: readonly string[];
  /** Namespaces under which its steps are filed. */
  readonly inForce: readonly string[];
  readonly invariants: readonly InvariantResult[];
  readonly findings: readonly Finding[];
}

export function renderPatternList(
  patterns: readonly Pattern[],
  output: Output,
  applied: readonly AppliedPattern[] = [],
): string {
  const lines = patterns.flatMap(({ name, title, summary }) => [
    paint(output, 'bold', safeText(name)),
    wrap(safeText(`${title}.`), output.width, 2, 2),
    wrap(safeText(summary), output.width, 2, 2),
    ...applied.filter((one) => one.name === name).map((one) => wrap(appliedText(one), output.width, 4, 2)),
  ]);
  return [...lines, '', 'Next: sallyport pattern show NAME, or sallyport pattern check'].join('\n');
}

export function renderPatternPage(
  { name, title, phase, parameters, objects, notes, doc }: Pattern,
  output: Output,
): string {
  const { width } = output;
  return [
    paint(output, 'bold', safeText(`${name}: ${title}`)),
    '',
    ...page(doc.trim(), width),
    '',
    `Filed under the phase ${phase}. Parameters (--set key=value):`,
    ...Object.entries(parameters).map(([key, spec]) => wrap(safeText(`${key}  ${describe(spec)}`), width, 6, 2)),
    '',
    'Notes:',
    ...notes.map((note) => wrap(safeText(`- ${note}`), width, 4, 2)),
    '',
    'What it writes, with placeholders:',
    ...renderYaml(objects).trimEnd().split('\n').map(safeText),
  ].join('\n');
}

/** A pattern's own text: paragraphs are broken anew for this terminal, what stands between fences is left as it is. */
function page(doc: string, width: number): readonly string[] {
  return doc.split(/^```.*\n?/mu).flatMap((part, index) =>
    index % 2 === 1
      ? part
          .trimEnd()
          .split('\n')
          .map((text) => `  ${safeText(text)}`)
      : part
          .split(/(\n{2,})/u)
          .flatMap((paragraph) =>
            paragraph.trim() === ''
              ? paragraph.includes('\n\n')
                ? ['']
                : []
              : [wrap(safeText(paragraph.trim().replaceAll('\n', ' ')), width)],
          ),
  );
}

function describe({ type, help, default: value, optional, choices }: ParameterSpec): string {
  const form = choices === undefined ? type : choices.join(' | ');
  const without = value === undefined ? (optional === true ? 'may be left out' : 'needed') : `default ${value}`;
  return `(${form}; ${without}) ${help}`;
}

const WORDS = {
  holds: 'holds',
  violated: 'does not hold',
  unknown: 'cannot be told',
  'not-applicable': 'not applicable',
  'not-asked': 'not asked',
} as const;
const COLOURS = {
  holds: 'green',
  violated: 'red',
  unknown: 'yellow',
  'not-applicable': 'dim',
  'not-asked': 'dim',
} as const;
/** Pairs of one invariant that a terminal shows; --json has all. */
const MOST_PAIRS = 12;

export function renderChecked(checked: readonly CheckedPattern[], output: Output): string {
  const lines = checked.flatMap((one) => [
    `${paint(output, 'bold', safeText(one.name))}: ${paint(output, COLOURS[one.answer], WORDS[one.answer])}${one.inForce.length === 0 ? '' : `, applied for ${safeText(one.inForce.join(', '))}`}`,
    ...(one.recorded
      ? [
          wrap(
            safeText(
              `as applied for ${one.namespace ?? ''}: ${one.set.length === 0 ? 'the defaults' : one.set.join(' ')}`,
            ),
            output.width,
            4,
            2,
          ),
        ]
      : []),
    ...(one.missing.length === 0
      ? []
      : [wrap(`needs ${one.missing.map((name) => `--set ${name}=...`).join(' ')}, or -n NS`, output.width, 4, 2)]),
    ...one.invariants.flatMap((invariant) => renderInvariant(invariant, output)),
    ...one.findings.map((finding) => wrap(safeText(`${finding.code} ${finding.message}`), output.width, 4, 2)),
  ]);
  const count = (answer: CheckedPattern['answer']): number => checked.filter((one) => one.answer === answer).length;
  const sum = `${plural(checked.length, 'pattern')}: ${count('holds')} hold, ${count('violated')} do not, ${count('unknown')} cannot be told, ${count('not-applicable')} not applicable, ${count('not-asked')} not asked`;
  return [...lines, '', sum].join('\n');
}

function renderInvariant(
  { text, answer, asked, violating, unknown }: InvariantResult,
  output: Output,
): readonly string[] {
  const { width } = output;
  const about = asked === 0 ? 'there is nothing here that it is about' : `${plural(asked, 'pair')} asked`;
  return [
    wrap(safeText(asked === 0 ? `${text}: ${about}` : `${text}: ${WORDS[answer]} (${about})`), width, 4, 2),
    ...renderPairs(violating, output),
    ...(unknown.length === 0 ? [] : ['    cannot be told:', ...renderPairs(unknown, output)]),
  ];
}

function renderPairs(pairs: readonly PatternPair[], output: Output): readonly string[] {
  const { shown, more } = few(pairs, MOST_PAIRS);
  return [
    ...shown.flatMap(({ src, dst, ports, why }) => [
      wrap(safeText(`${src} -> ${dst} ${ports}`), output.width, 6, 4),
      ...why
        .slice(0, 2)
        .map((reason) =>
          wrap(
            safeText(reason.object === undefined ? reason.text : `by ${reason.object}: ${reason.text}`),
            output.width,
            8,
            6,
          ),
        ),
    ]),
    ...(more === '' ? [] : [`    ${more}`]),
  ];
}

/** What the invariant says now, and what it would say of the state that a plan leaves. */
export function renderInvariants(
  before: readonly InvariantResult[],
  after: readonly InvariantResult[],
  output: Output,
): string {
  return after
    .flatMap((one) => {
      const was = before.find(({ id }) => id === one.id);
      return [
        wrap(
          safeText(`${one.text}: now ${WORDS[was?.answer ?? 'unknown']}, afterwards ${WORDS[one.answer]}`),
          output.width,
          2,
        ),
        ...renderPairs([...one.violating, ...one.unknown], output),
      ];
    })
    .join('\n');
}
