import { isFailure } from '../shared/pure/errors.ts';
import type { OverdueExperiment } from '../watch/state.ts';
import type { Reader } from '../../state/reader.ts';
import { endChaos } from './chaos-end.ts';
import type { App } from './context.ts';
import { readChaos } from './render-chaos.ts';

/** One that ends itself is given so long beyond its time: it is putting back. */
const SLACK_MS = 60_000;
/** What was refused is not asked again at once: nothing but a person changes it. */
const AGAIN_MS = 15 * 60_000;

/** Experiments on record whose time is over, and which whoever made them does not end any more. */
export function overdueExperiments(
  reader: Pick<Reader, 'applied' | 'openHeads' | 'run'>,
  now: number,
): readonly OverdueExperiment[] {
  return readChaos(reader)
    .filter(({ mark }) => mark.until === undefined || mark.until + SLACK_MS <= now)
    .map(({ run, namespace, mark }) => ({
      run,
      namespace,
      object: mark.object,
      until: mark.until,
      text: `${mark.object} of ${namespace} was ${mark.how === 'remove' ? 'taken away' : 'loosened'} by an experiment that ${
        mark.until === undefined
          ? 'has no end on record'
          : `should have been over at ${new Date(mark.until).toISOString()}`
      }: it is put back`,
    }));
}

/**
 * Takes experiments back as `resume` does: runs on record, to the field. Whoever still writes to the state may be about to do so: then it is tried at the next
 * look. What is refused (no right, or somebody changed the object meanwhile) is told, and tried again after a while.
 */
export function openPutBack(
  open: () => App,
  now: () => number,
): (overdue: readonly OverdueExperiment[]) => Promise<readonly OverdueExperiment[]> {
  const tried = new Map<string, { readonly at: number; readonly why: string }>();
  const told = (one: OverdueExperiment, why: string): OverdueExperiment => ({
    ...one,
    text: `${one.text.replace(/: it is put back$/u, '')}, and could not be put back: ${why}. sallyport resume does it with more rights`,
  });
  return async (overdue) => {
    const left: OverdueExperiment[] = [];
    for (const one of overdue) {
      const before = tried.get(one.run);
      if (before !== undefined && now() - before.at < AGAIN_MS) {
        left.push(told(one, before.why));
        continue;
      }
      const app = open();
      try {
        const ended = await endChaos(app, (run) => run === one.run);
        const failure = ended.find(({ result }) => result.failure !== undefined)?.result.failure;
        if (failure !== undefined) throw failure;
        tried.delete(one.run);
      } catch (error) {
        if (!isFailure(error)) throw error;
        const { code, nature } = error.detail;
        // Held by whoever made it, or by another, or the cluster is away.
        const passes = code === 'SP508' || code === 'SP652' || code === 'SP653' || nature === 'passes';
        if (passes) left.push(one);
        else {
          const why = `${code} ${error.message}`;
          tried.set(one.run, { at: now(), why });
          left.push(told(one, why));
        }
      } finally {
        await app.close();
      }
    }
    return left;
  };
}
