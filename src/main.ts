import { packageVersion } from './shared/io/assets.ts';
import { EXIT, isFailure } from './shared/pure/errors.ts';
import type { Json } from './shared/pure/json.ts';
import { openInterrupt, cancelled } from './cli/interrupt.ts';
import type { Interrupt } from './cli/interrupt.ts';
import { errorDocument, FORMATS, openOutput, renderFailure } from './cli/output.ts';
import type { Format, Output } from './cli/output.ts';
import { parseCommandLine } from './cli/program.ts';
import type { App } from './cli/context.ts';
import { traceSettings } from './cli/trace-settings.ts';
import type { Tracing } from './cli/tracing.ts';

/** How long a command that was interrupted may take to tidy up before it is left. */
const GRACE_MS = 3000;
/** Commands that go on until somebody ends them. */
const ENDLESS: readonly string[] = ['session', 'watch'];

/** argv in, process.exitCode out. The only top-level catch. */
export async function main(argv: readonly string[]): Promise<void> {
  const { stdout, stderr, stdin } = process;
  const color = !argv.includes('--no-color') && (process.env['NO_COLOR'] ?? '') === '';
  // What asks and what shows progress look at the environment alone.
  if (!color) process.env['NO_COLOR'] = '1';
  const format = readFormat(argv);
  const yaml = format === 'yaml' ? await import('./shared/io/yaml.ts') : undefined;
  const output = openOutput(
    {
      format,
      color,
      events: readFlag(argv, '--progress') === 'json',
      ...(yaml === undefined ? {} : { renderYaml: (text) => yaml.renderYaml(JSON.parse(text) as Json) }),
    },
    { stdout, stderr, stdin },
  );
  const streams = { broken: false };
  // A reader such as `head` that closes the pipe ends the output, not the program with a stack trace.
  stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE' || streams.broken) return;
    streams.broken = true;
    stderr.write(`sallyport: standard output cannot be written: ${error.message} (SP107)\n`);
  });
  stderr.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') streams.broken = true;
  });

  const interrupt = openInterrupt();
  const onSignal = (signal: NodeJS.Signals): void => {
    if (interrupt.stopping) process.exit(EXIT.cancelled);
    // A person at the keyboard means what is under way; whoever ends the process means all of it.
    interrupt.stop(signal === 'SIGTERM');
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  let app: App | undefined;
  let tracing: Tracing | undefined;
  let code: string | undefined;
  try {
    const { options, action, command } = await parseCommandLine(argv, packageVersion(), (text) => stdout.write(text));
    if (action === undefined) return;
    tracing = await startTracing(options.otlp, command, argv, output);
    const { openApp } = await import('./cli/context.ts');
    const opened = openApp(options, output, process.env, interrupt);
    app = opened;
    const work = (): Promise<unknown> => orLeft(action(opened), interrupt);
    const exit = await (tracing === undefined ? work() : tracing.command(work));
    process.exitCode = typeof exit === 'number' ? exit : EXIT.done;
  } catch (error) {
    process.exitCode = reportError(error, output);
    code = isFailure(error) ? error.detail.code : 'SP001';
  } finally {
    const closed = app?.close() ?? Promise.resolve();
    await (interrupt.signal.aborted ? Promise.race([closed, later(GRACE_MS)]) : closed);
    if (streams.broken && process.exitCode === EXIT.done) process.exitCode = EXIT.usage;
    const isSent = (await tracing?.end(Number(process.exitCode ?? EXIT.done), code)) ?? true;
    // A collector that holds a request must not hold the command.
    if (!isSent) process.exit();
    // Whatever still reads or waits was left behind by Ctrl-C.
    if (interrupt.signal.aborted) process.exit();
    process.removeListener('SIGINT', onSignal);
    process.removeListener('SIGTERM', onSignal);
  }
}

/** Where traces are asked for. Only then anything is loaded for them. */
async function startTracing(
  flag: string | undefined,
  command: string,
  argv: readonly string[],
  output: Output,
): Promise<Tracing | undefined> {
  const settings = traceSettings(flag, process.env);
  if (settings.kind === 'off') return undefined;
  if (settings.kind === 'wrong') {
    output.note(`sallyport: no traces are sent: ${settings.why}`);
    return undefined;
  }
  const { openTracing } = await import('./cli/tracing.ts');
  const words = argv.includes('--') ? argv.slice(0, argv.indexOf('--')) : argv;
  return openTracing({
    url: settings.url,
    command,
    isLong: ENDLESS.includes(command) || words.some((word) => word === '-f' || word === '--follow'),
    version: packageVersion(),
    env: process.env,
    warn: (text) => output.note(`sallyport: ${text}`),
    // What a person looks at is drawn over: there it is said at the end.
    warnAtOnce: !output.interactive,
  });
}

/** The value of a flag that has to be known before the command line is read: `--flag value`, `--flag=value`. */
function readFlag(argv: readonly string[], flag: string): string | undefined {
  const words = argv.includes('--') ? argv.slice(0, argv.indexOf('--')) : argv;
  for (const [index, word] of words.entries()) {
    if (word === flag) return words[index + 1];
    if (word.startsWith(`${flag}=`)) return word.slice(flag.length + 1);
  }
  return undefined;
}

/** What is printed even where the command line turns out to be wrong. Where --json and another format are asked for, that is refused later. */
function readFormat(argv: readonly string[]): Format {
  if (argv.includes('--json')) return 'json';
  const short = argv.find((word) => /^-o=?./.test(word))?.replace(/^-o=?/, '');
  const asked = readFlag(argv, '--output') ?? readFlag(argv, '-o') ?? short;
  return FORMATS.find((one) => one === asked) ?? 'text';
}

/** The outcome of a command, or a cancellation when Ctrl-C came outside a run and the command does not end by itself. */
async function orLeft(work: Promise<unknown>, interrupt: Interrupt): Promise<unknown> {
  let timer: NodeJS.Timeout | undefined;
  const left = new Promise<never>((_, reject) => {
    interrupt.signal.addEventListener('abort', () => {
      if (!interrupt.running) timer = setTimeout(() => reject(cancelled()), GRACE_MS);
    });
  });
  try {
    return await Promise.race([work, left]);
  } catch (error) {
    throw interrupt.signal.aborted && error instanceof Error && error.name === 'AbortError' ? cancelled() : error;
  } finally {
    clearTimeout(timer);
  }
}

function later(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

function reportError(error: unknown, output: Output): number {
  if (isFailure(error)) {
    // A command that has printed its document has put the failure into it.
    if (!output.documented) output.document('Error', { error: errorDocument(error) });
    if (!output.event('error', { error: errorDocument(error), exit: error.detail.exit }))
      output.note(renderFailure(error.detail, output.width).trimEnd());
    return error.detail.exit;
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  if (!output.documented)
    output.document('Error', { error: { code: 'SP001', message: 'a bug in sallyport', where: null, hint: null } });
  output.note(
    `sallyport ${packageVersion()} has a bug; what was written so far is on record. Please report this:\n${text}`,
  );
  return EXIT.bug;
}
