/** What the page needs of the table of commands. */
interface Named {
  readonly flags: string;
  readonly description: string;
  readonly hidden: boolean;
}
interface Documented {
  name(): string;
  description(): string;
  readonly options: readonly Named[];
  readonly registeredArguments: readonly {
    name(): string;
    readonly required: boolean;
    readonly variadic: boolean;
    readonly description: string;
  }[];
}

/** Text as roff takes it: no backslash, and no dot or apostrophe at the start of a line, is a command. */
function roff(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replace(/^(?=[.'])/gm, '\\&');
}

function optionsOf(options: readonly Named[]): readonly string[] {
  return options
    .filter(({ hidden }) => !hidden)
    .flatMap(({ flags, description }) => ['.TP', `.B ${roff(flags)}`, roff(description)]);
}

/** The manual page, section 1, from the table of commands: what `--help` says of each, in one place. `exitCodes` is kept in its columns. */
export function renderManual(
  program: Documented & { readonly commands: readonly Documented[] },
  exitCodes: string,
  version: string,
): string {
  return [
    `.TH SALLYPORT 1 "" "sallyport ${roff(version)}"`,
    '.SH NAME',
    'sallyport \\- moves the namespaces of a Kubernetes cluster to zero trust, step by step, with proof and a way back',
    '.SH SYNOPSIS',
    '.B sallyport',
    '.RI [ flags ]\n.RI [ command\n.RI [ arguments ]]',
    '.SH DESCRIPTION',
    roff(program.description()),
    '.SH COMMANDS',
    ...program.commands.flatMap((command) => [
      `.SS ${roff(
        [
          command.name(),
          ...command.registeredArguments.map((one) => {
            const name = `${one.name()}${one.variadic ? '...' : ''}`;
            return one.required ? `<${name}>` : `[${name}]`;
          }),
        ].join(' '),
      )}`,
      roff(command.description()),
      ...command.registeredArguments
        .filter((one) => one.description !== '')
        .flatMap((one) => ['.TP', `.I ${roff(one.name())}`, roff(one.description)]),
      ...optionsOf(command.options),
    ]),
    '.SH FLAGS FOR EVERY COMMAND',
    ...optionsOf(program.options),
    '.SH EXIT STATUS',
    '.nf',
    roff(exitCodes.replace(/^\s*Exit codes:\n/, '').trimEnd()),
    '.fi',
    '.SH FILES',
    '.TP',
    '.I $XDG_STATE_HOME/sallyport/<id>.sqlite',
    'The state of a cluster or directory, and beside it the folder that its way back is kept in.',
    '.TP',
    '.I $XDG_CACHE_HOME/sallyport/compiled',
    'The program as it was compiled last; may be removed at any time.',
    '.SH ENVIRONMENT',
    '.TP',
    '.B KUBECONFIG',
    'As for kubectl.',
    '.TP',
    '.B SALLYPORT_USER',
    'Who stands on the audit trail, in place of the name of the account.',
    '.TP',
    '.B NO_COLOR',
    'Not empty: no colour.',
    '',
  ].join('\n');
}
