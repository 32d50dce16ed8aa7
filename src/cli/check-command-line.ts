import { isPhaseName, PHASES } from '../model/phase.ts';
import { EXIT, Failure, isFailure } from '../shared/pure/errors.ts';
import { parseMoment } from './moment.ts';

/** What is needed of the command table. */
interface ArgumentTable {
  readonly name: () => string;
  readonly description: string;
  readonly required: boolean;
  readonly variadic: boolean;
  readonly argChoices?: readonly string[] | undefined;
}
export interface FlagTable {
  readonly short?: string | undefined;
  readonly long?: string | undefined;
  readonly flags: string;
  readonly required: boolean;
  readonly argChoices?: readonly string[] | undefined;
  readonly description: string;
  readonly hidden: boolean;
  readonly attributeName: () => string;
}
export interface CommandTable {
  readonly name: () => string;
  readonly options: readonly FlagTable[];
  readonly description: () => string;
  readonly registeredArguments: readonly ArgumentTable[];
}

interface Mistake {
  readonly code: string;
  readonly message: string;
}

/** Mistakes on the command line: all of them in one Failure with exit 2. */
export function checkCommandLine(
  program: CommandTable & { readonly commands: readonly CommandTable[] },
  argv: readonly string[],
): void {
  if (argv.some((word) => ['--help', '-h', '--version'].includes(word)) || argv[0] === 'help') return;
  const words = splitWords(argv, flagsOf([program, ...program.commands]));
  const name = words.find((word) => word.kind === 'word')?.text;
  const command = name === undefined ? undefined : program.commands.find((one) => one.name() === name);
  const mistakes: Mistake[] = [];
  if (name !== undefined && command === undefined)
    mistakes.push({
      code: 'SP101',
      message: `there is no command ${name}${didYouMean(
        name,
        program.commands.map((one) => one.name()),
      )}`,
    });
  // With an unknown command nobody knows its flags.
  const known = command === undefined ? flagsOf([program, ...program.commands]) : flagsOf([program, command]);
  const again = splitWords(argv, known);
  for (const word of again) {
    if (word.kind !== 'flag') continue;
    const option = known.get(word.flag);
    if (option === undefined)
      mistakes.push({ code: 'SP102', message: `there is no flag ${word.flag}${didYouMean(word.flag, known.keys())}` });
    else if (option.required && word.value === undefined)
      mistakes.push({ code: 'SP103', message: `${word.flag} needs a value: ${option.flags}` });
    else if (!option.required && word.value !== undefined)
      mistakes.push({ code: 'SP103', message: `${word.flag} takes no value, and was given ${word.value}` });
    else if (word.value !== undefined) mistakes.push(...checkValue(option, word.flag, word.value));
  }
  if (command !== undefined) {
    const given = again.filter((word) => word.kind === 'word').slice(1);
    // Behind an unknown flag a word may be its value.
    const guess = mistakes.some((one) => one.code === 'SP102');
    mistakes.push(...checkArguments(command.registeredArguments, given.length, guess));
  }
  const [first] = mistakes;
  if (first === undefined) return;
  throw new Failure({
    code: mistakes.length === 1 ? first.code : 'SP100',
    exit: EXIT.usage,
    message:
      mistakes.length === 1
        ? first.message
        : `${mistakes.length} mistakes: ${mistakes.map((one, index) => `(${index + 1}) ${one.message}`).join('; ')}`,
    where: `sallyport ${argv.join(' ')}`,
    hint: command === undefined ? 'sallyport --help' : `sallyport ${command.name()} --help`,
  });
}

export type Word =
  | { readonly kind: 'word'; readonly text: string }
  | { readonly kind: 'flag'; readonly flag: string; readonly value: string | undefined };

export function flagsOf(commands: readonly CommandTable[]): ReadonlyMap<string, FlagTable> {
  const flags = new Map<string, FlagTable>();
  for (const { options } of commands)
    for (const option of options)
      for (const name of [option.long, option.short]) if (name !== undefined) flags.set(name, option);
  return flags;
}

/** Words and flags with their values; `--` ends the flags. A flag that is known is never another flag's value. */
export function splitWords(argv: readonly string[], known: ReadonlyMap<string, FlagTable>): readonly Word[] {
  const words: Word[] = [];
  for (let index = 0; index < argv.length; index += 1) {
    const text = argv[index] ?? '';
    if (text === '--') {
      words.push(...argv.slice(index + 1).map((rest) => ({ kind: 'word' as const, text: rest })));
      break;
    }
    if (!text.startsWith('-') || text === '-') {
      words.push({ kind: 'word', text });
      continue;
    }
    const equals = text.indexOf('=');
    // -ojson is -o json.
    const joined = known.get(text.slice(0, 2));
    if (!text.startsWith('--') && text.length > 2 && joined !== undefined) {
      words.push({ kind: 'flag', flag: text.slice(0, 2), value: text.slice(2) });
      continue;
    }
    const flag = equals < 0 ? text : text.slice(0, equals);
    if (equals >= 0) words.push({ kind: 'flag', flag, value: text.slice(equals + 1) });
    else {
      const next = argv[index + 1];
      const takes = known.get(flag)?.required === true && next !== undefined && !known.has(next) && next !== '--';
      words.push({ kind: 'flag', flag, value: takes ? next : undefined });
      if (takes) index += 1;
    }
  }
  return words;
}

/** The flags of a command line that is not whole yet, as far as they can be told. */
export function typedOptions(
  program: CommandTable & { readonly commands: readonly CommandTable[] },
  argv: readonly string[],
): Readonly<Record<string, string | boolean>> {
  const known = flagsOf([program]);
  return Object.fromEntries(
    splitWords(argv.slice(0, -1), known).flatMap((word) => {
      const option = word.kind === 'flag' ? known.get(word.flag) : undefined;
      if (option === undefined || word.kind !== 'flag' || (option.required && word.value === undefined)) return [];
      return [[option.attributeName(), word.value ?? true] as const];
    }),
  );
}

function checkValue(option: FlagTable, flag: string, value: string): readonly Mistake[] {
  if (value === '') return [{ code: 'SP103', message: `${flag} needs a value: ${option.flags}` }];
  if (option.argChoices !== undefined && !option.argChoices.includes(value))
    return [{ code: 'SP104', message: `${flag} ${value} is none of ${option.argChoices.join(', ')}` }];
  if (option.flags === '--to <phase>' && !isPhaseName(value))
    return [
      {
        code: 'SP223',
        message: `there is no phase ${value}${didYouMean(value, PHASES)}: it is one of ${PHASES.join(', ')}`,
      },
    ];
  if (flag === '--now') {
    try {
      parseMoment(value);
    } catch (error) {
      if (!isFailure(error)) throw error;
      return [{ code: error.detail.code, message: `${error.detail.message}: ${error.detail.hint ?? ''}` }];
    }
  }
  return [];
}

function checkArguments(expected: readonly ArgumentTable[], given: number, guess: boolean): readonly Mistake[] {
  const missing = expected.slice(given).filter((argument) => argument.required);
  if (missing.length > 0)
    return [
      { code: 'SP105', message: `missing: ${missing.map((one) => `${one.name()} (${one.description})`).join(', ')}` },
    ];
  if (!guess && given > expected.length && expected.at(-1)?.variadic !== true)
    return [
      {
        code: 'SP106',
        message: `${given} arguments where ${expected.length === 0 ? 'none is' : `${expected.length} ${expected.length === 1 ? 'is' : 'are'}`} taken`,
      },
    ];
  return [];
}

function didYouMean(word: string, known: Iterable<string>): string {
  const [near] = nearest(word, known, 1);
  return near === undefined ? '' : ` (did you mean ${near}?)`;
}

/** The names that differ least from a word, nearest first; none that is wholly different. */
export function nearest(word: string, known: Iterable<string>, most: number): readonly string[] {
  return [...known]
    .map((one) => ({ one, distance: distance(word, one) }))
    .filter(({ one, distance: far }) => far <= Math.max(1, Math.floor(one.replace(/^--/, '').length / 3)))
    .sort((a, b) => a.distance - b.distance)
    .slice(0, most)
    .map(({ one }) => one);
}

/** Letters to insert, remove, replace, or swap with a neighbour. */
function distance(a: string, b: string): number {
  let before: readonly number[] = [];
  let above: readonly number[] = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let row = 1; row <= a.length; row += 1) {
    const line = [row];
    for (let column = 1; column <= b.length; column += 1) {
      const swap =
        row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1]
          ? (before[column - 2] ?? Infinity) + 1
          : Infinity;
      line.push(
        Math.min(
          (above[column] ?? Infinity) + 1,
          (line[column - 1] ?? Infinity) + 1,
          (above[column - 1] ?? Infinity) + (a[row - 1] === b[column - 1] ? 0 : 1),
          swap,
        ),
      );
    }
    before = above;
    above = line;
  }
  return above[b.length] ?? Infinity;
}
