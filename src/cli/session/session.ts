import type { App } from '../context.ts';
import type { Front } from '../prompts.ts';
import type { Output } from '../output.ts';
import { EXIT, Failure, isFailure } from '../../shared/pure/errors.ts';
import { safeText } from '../../shared/pure/text.ts';
import { openDesk } from './desk.ts';

/** The interactive session: where each namespace stands, what it needs, and the way forward and back. */
export async function session(app: App): Promise<number> {
  if (!app.output.interactive)
    throw new Failure({
      code: 'SP227',
      exit: EXIT.usage,
      message: 'the interactive session needs a terminal',
      hint: 'sallyport --help lists the commands; sallyport status shows where each namespace stands',
    });
  if (isPlain(app)) {
    const { plainFront } = await import('./plain.ts');
    const front = plainFront({
      input: process.stdin,
      write: (text) => void process.stdout.write(text),
      width: app.output.width,
      signal: app.interrupt.signal,
    });
    return runSession({ ...app, output: plainOutput(app.output) }, front);
  }
  const { terminalFront } = await import('../prompts.ts');
  return runSession(app, terminalFront(app.output.color));
}

/** Without cursor movement: asked for, or on a terminal that has none. */
function isPlain({ options, env }: App): boolean {
  return options.plain === true || (env['SALLYPORT_PLAIN'] ?? '') !== '' || env['TERM'] === 'dumb';
}

/** Lines only: no list that redraws itself, no line that is written over. */
function plainOutput(output: Output): Output {
  let said = '';
  return {
    ...output,
    color: false,
    interactive: false,
    documented: false,
    progress: (text) => {
      // The count in it changes all the time, and would be read out each time.
      const what = text.replaceAll(/\d+/g, '');
      if (what !== said) output.note(safeText(text));
      said = what;
    },
  };
}

/** The session on any front; tests answer from a script. Ctrl-C leaves it with exit 130, and the way to go on. */
export async function runSession(app: App, front: Front): Promise<number> {
  const desk = openDesk(app, front);
  try {
    return await desk.run();
  } catch (error) {
    if (isFailure(error) && error.detail.code === 'SP130')
      throw new Failure({
        ...error.detail,
        message: 'the session was left; what was done is on record, and nothing more was written',
        hint: await desk.goOn(),
      });
    throw error;
  } finally {
    front.close();
  }
}
