import { EXIT, Failure, isFailure } from '../../shared/pure/errors.ts';
import { plural, safeText } from '../../shared/pure/text.ts';
import { connectKube, openDiscovery } from '../../sources/kube/index.ts';
import { openState } from '../../../state/open.ts';
import type { App } from '../context.ts';
import { kubeOptions } from '../context.ts';
import { forgetAddresses } from '../note-addresses.ts';
import { watchAddresses } from '../watch-addresses.ts';
import type { ObserveOptions } from './observe.ts';
import { parseDuration } from '../observe-followed.ts';

/** At the end another process that writes to the state is waited for so long. */
const PATIENCE_SEC = 60;

/**
 * `observe addresses`: who holds which address now, or with --follow who comes and goes until Ctrl-C or --for, for records that name
 * addresses alone. Returns the exit code.
 */
export async function observeAddresses(app: App, inputs: readonly string[], options: ObserveOptions): Promise<number> {
  const wrong = (message: string, hint: string): Failure =>
    new Failure({ code: 'SP288', exit: EXIT.usage, message, where: 'observe addresses', hint });
  if (inputs.length > 0)
    throw wrong('addresses are asked of the cluster, and there is no input', 'sallyport observe addresses --follow');
  if (app.options.manifests !== undefined)
    throw wrong(
      'a directory of manifests does not say who holds which address when',
      'name a cluster: --kubeconfig, --context. Pods in the directory count by their own status at every import',
    );
  if (options.for !== undefined && options.follow !== true)
    throw wrong('--for says how long to follow', `sallyport observe addresses --follow --for ${safeText(options.for)}`);
  const forMs = options.for === undefined ? undefined : parseDuration(options.for);
  return app.interrupt.during(() => run(app, options.follow === true, forMs));
}

async function run(app: App, follow: boolean, forMs: number | undefined): Promise<number> {
  const { output } = app;
  const clock = app.clock();
  const { path, target } = await app.stateFile();
  const api = await connectKube({ ...kubeOptions(app.options, app.env), clock });
  const stop = new AbortController();
  const onInterrupt = (): void => stop.abort(new Error('stopped'));
  if (app.interrupt.signal.aborted) onInterrupt();
  app.interrupt.signal.addEventListener('abort', onInterrupt, { once: true });
  if (forMs !== undefined) clock.sleep(forMs, stop.signal).then(onInterrupt, () => undefined);
  let recorded = 0;
  let isTold = false;
  try {
    if (follow) output.note('watching who holds which address; Ctrl-C ends it, and what was seen is kept');
    const seen = await watchAddresses({
      api,
      discovery: openDiscovery(api),
      clock,
      signal: stop.signal,
      once: !follow,
      note: (text) => output.note(safeText(text)),
      record: async ({ holds, watched }, isLast) => {
        for (let waited = 0; ; waited += 1) {
          try {
            const state = openState(path, { target, mode: 'write', create: true });
            try {
              recorded += state.writer.recordAddresses(holds, watched).added;
              if (isLast) await forgetAddresses(app, state.writer);
            } finally {
              state.close();
            }
            isTold = false;
            return true;
          } catch (error) {
            // Whoever runs a phase writes for as long as it takes.
            if (!isFailure(error) || error.detail.code !== 'SP508' || (isLast && waited >= PATIENCE_SEC)) throw error;
            if (!isTold) output.note('another sallyport writes to the state: what is seen is kept until it ends');
            isTold = true;
            if (!isLast) return false;
            await clock.sleep(1000);
          }
        }
      },
    });
    const { watched } = seen;
    const iso = (time: number): string => new Date(time).toISOString();
    output.document('Addresses', {
      present: seen.present,
      added: recorded,
      watched: watched === undefined ? null : { from: iso(watched.from), to: iso(watched.to) },
      gaps: seen.gaps.map((gap) => ({ from: iso(gap.from), to: iso(gap.to) })),
    });
    const span = watched === undefined ? '' : `; watched from ${iso(watched.from)} to ${iso(watched.to)}`;
    output.line(
      `${plural(seen.present, 'pod')} with an address; ${plural(recorded, 'pod')} new at ${recorded === 1 ? 'its' : 'their'} address${span}`,
    );
    for (const gap of seen.gaps)
      output.line(
        `a gap from ${iso(gap.from)} to ${iso(gap.to)}: addresses that changed hands in it stay unattributed`,
      );
    return EXIT.done;
  } finally {
    app.interrupt.signal.removeEventListener('abort', onInterrupt);
    if (!stop.signal.aborted) stop.abort(new Error('over'));
    api.close();
  }
}
