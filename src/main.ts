import { readFileSync } from 'node:fs';
import { assetPath } from './shared/io/assets.ts';
import { EXIT, isFailure } from './shared/pure/errors.ts';
import { safeText } from './shared/pure/text.ts';
import { openOutput, renderFailure } from './cli/output.ts';
import { parseCommandLine } from './cli/program.ts';
import { openApp } from './cli/context.ts';

/** argv in, process.exitCode out. The only top-level catch. */
export async function main(argv: readonly string[]): Promise<void> {
  const { stdout, stderr, stdin } = process;
  // A reader such as `head` that closes the pipe ends the output, not the program with a stack trace.
  stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
  const json = argv.includes('--json');
  const color = !argv.includes('--no-color') && (process.env['NO_COLOR'] ?? '') === '';
  const output = openOutput({ json, color }, { stdout, stderr, stdin });
  const stop = new AbortController();
  const onSignal = (): void => {
    if (stop.signal.aborted) return;
    output.note(
      '\nStopping after the step that is under way. Press Ctrl-C again to stop at once; nothing is lost by it.',
    );
    stop.abort(new Error('cancelled'));
    process.once('SIGINT', () => process.exit(EXIT.cancelled));
  };
  process.once('SIGINT', onSignal);
  process.once('SIGTERM', onSignal);
  let close: (() => Promise<void>) | undefined;
  try {
    const version = packageVersion();
    const { options, action } = parseCommandLine(argv, version, (text) => stdout.write(text));
    if (action === undefined) return;
    const app = openApp(options, output, process.env, stop.signal);
    close = () => app.close();
    process.exitCode = (await action(app)) ?? EXIT.done;
  } catch (error) {
    process.exitCode = reportError(error, json, output.width);
  } finally {
    await close?.();
    process.removeListener('SIGINT', onSignal);
    process.removeListener('SIGTERM', onSignal);
  }

  function reportError(error: unknown, asJson: boolean, width: number): number {
    if (isFailure(error)) {
      const { code, message, where, hint, exit } = error.detail;
      if (asJson)
        output.document('Error', {
          error: { code, message: safeText(message), where: where ?? null, hint: hint ?? null },
        });
      stderr.write(renderFailure(error.detail, width));
      return exit;
    }
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    if (asJson)
      output.document('Error', { error: { code: 'SP001', message: 'a bug in sallyport', where: null, hint: null } });
    stderr.write(
      `sallyport ${packageVersion()} has a bug; what was written so far is on record. Please report this:\n${text}\n`,
    );
    return EXIT.bug;
  }
}

function packageVersion(): string {
  const facts = JSON.parse(readFileSync(assetPath('package.json'), 'utf8')) as { readonly version: string };
  return facts.version;
}
