import { EXIT, Failure } from '../../shared/pure/errors.ts';
import { safeText } from '../../shared/pure/text.ts';
import { nearest } from '../check-command-line.ts';
import { allCodes, explain as explainCode } from '../codes/catalogue.ts';
import type { App } from '../context.ts';
import { paint, wrap } from '../output.ts';

/** What a code means, what causes it and what to do: from the catalogue alone. Exit 2 for a code that there is not. */
export function explain(app: App, typed: string): void {
  const { output } = app;
  // As it is typed: sp401, 401.
  const code = typed.toUpperCase().replace(/^(?=\d+$)/, 'SP');
  const found = explainCode(code);
  if (found === undefined) {
    const [near] = nearest(code, allCodes(), 1);
    throw new Failure({
      code: 'SP108',
      exit: EXIT.usage,
      message: `there is no code ${safeText(typed)}${near === undefined ? '' : ` (did you mean ${near}?)`}`,
      where: 'CODE',
      hint: 'codes are SP and three digits, as messages and findings end with: sallyport explain SP403',
    });
  }
  if (found.kind === 'retired') {
    const { means } = found;
    output.document('Explanation', { code, class: 'retired', title: null, exit: [], means, causes: [], fix: [] });
    output.line(wrap(`${code} is retired. ${means}`, output.width));
    return;
  }
  const exit = found.kind === 'finding' ? [] : [found.exit].flat();
  const { title, means, causes, fix } = found;
  output.document('Explanation', { code, class: found.kind, title, exit, means, causes, fix });
  output.line(paint(output, 'bold', wrap(`${code} ${title}`, output.width)));
  output.line(
    wrap(
      found.kind === 'finding'
        ? 'A finding: something true of your cluster. It ends no command.'
        : `A failure: exit ${exit.join(' or ')}.`,
      output.width,
    ),
  );
  output.line(`\n${wrap(means, output.width)}`);
  for (const [head, lines] of [
    ['Likely causes', causes],
    ['What to do', fix],
  ] as const) {
    output.line(`\n${head}`);
    for (const line of lines) output.line(wrap(`- ${line}`, output.width, 4, 2));
  }
}
