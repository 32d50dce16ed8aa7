/** One word of a command line: what a shell would read as anything else stands in quotes, what a terminal would obey is taken out before. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
