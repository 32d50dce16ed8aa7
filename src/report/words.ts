/** How numbers, times and commands are written for people. JSON keeps them as they are. */

/** `196757.5` -> `196,757.5`. */
export function grouped(value: number): string {
  const [whole = '', rest] = String(value).split('.');
  const text = whole.replaceAll(/\B(?=(?:\d{3})+$)/g, ',');
  return rest === undefined ? text : `${text}.${rest}`;
}

/** `1 record`, `196,757 records`. */
export function counted(count: number, noun: string, many = `${noun}s`): string {
  return `${grouped(count)} ${count === 1 ? noun : many}`;
}

/** Times in a text: `2026-10-13T18:33:40.000Z` -> `2026-10-13 18:33 UTC`. */
export function humanTimes(text: string): string {
  return text.replaceAll(/\b(\d{4}-\d\d-\d\d)T(\d\d:\d\d):\d\d(?:\.\d+)?Z/g, '$1 $2 UTC');
}

/** A gate's advice with every command in it whole, so that it can be pasted. */
export function wholeCommands(fix: string): string {
  return fix.replaceAll(
    /sallyport adopt\|accept (.+?) --reason "\.\.\."/g,
    'sallyport adopt $1 --reason "..." or sallyport accept $1 --reason "..."',
  );
}

/** What an audit entry is about, without the list of edges that a decision froze: the JSON and `sallyport audit` have it whole. */
export function withoutEdges(object: string): string {
  return object.replace(
    / \((\d+) (edges?): .*\)$/s,
    (_, count: string, noun: string) => ` (${grouped(Number(count))} ${noun})`,
  );
}

const COMMAND =
  /sallyport (?:(?:adopt|accept|waive) \S+ --reason "\.\.\."|(?:advance|plan|rollback|suggest) [\w.-]+(?: --to [\w-]+)?)/;

const WHOLE_COMMAND = /^(?:sallyport|kubectl|istioctl|cilium) /;

/** One way to do what is advised: words, and the command among them, if there is one. */
export interface Advice {
  readonly before: string;
  readonly command: string | null;
  readonly after: string;
}

/** The ways that an advice names, each with its command by itself. The page's script has the same. */
export function adviceOf(text: string): readonly Advice[] {
  return text.split(/; |,? or (?=sallyport )/).map((part) => {
    const found = COMMAND.exec(part);
    if (found === null)
      return WHOLE_COMMAND.test(part)
        ? { before: '', command: part, after: '' }
        : { before: part, command: null, after: '' };
    const [command] = found;
    return {
      before: part.slice(0, found.index).trim(),
      command,
      after: part.slice(found.index + command.length).trim(),
    };
  });
}
