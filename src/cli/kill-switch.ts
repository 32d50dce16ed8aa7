import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { EXIT, Failure, messageOf } from '../shared/pure/errors.ts';
import { safeText } from '../shared/pure/text.ts';
import { explain } from './file-error.ts';

/**
 * The kill switch is a file beside the state: `FILE.stop`. Not a row in it, since the state is held by one writer at a time, and just then, while a
 * run is under way, the switch must be thrown.
 */
const fileOf = (state: string): string => `${state}.stop`;

/** Why nothing may run by itself; undefined where the switch is not thrown. A file that cannot be read is a switch that is thrown. */
export function readStop(state: string): string | undefined {
  try {
    const text = safeText(readFileSync(fileOf(state), 'utf8').trim()).slice(0, 300);
    return `the kill switch is thrown: ${text === '' ? 'no reason is given' : text}`;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    return `whether the kill switch is thrown cannot be read: ${messageOf(error)}`;
  }
}

/** Throws it: nothing is begun by itself from now on. Errors: SP660. */
export function throwStop(state: string, reason: string, by: string, at: number): void {
  change(state, () =>
    writeFileSync(fileOf(state), `${reason} (${by}, ${new Date(at).toISOString()})\n`, { mode: 0o600, flush: true }),
  );
}

/** Lets rules run again. Errors: SP660. */
export function releaseStop(state: string): void {
  change(state, () => rmSync(fileOf(state), { force: true }));
}

function change(state: string, work: () => void): void {
  try {
    work();
  } catch (error) {
    throw new Failure({
      code: 'SP660',
      exit: EXIT.state,
      message: `the kill switch cannot be moved: ${explain(error)}`,
      where: fileOf(state),
      hint: "make that folder writable; or: kubectl annotate namespace kube-system sallyport.dev/stop='REASON'",
      cause: error,
    });
  }
}
