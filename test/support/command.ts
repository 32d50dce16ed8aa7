// A command of the program in this process: what it answered, what it said, and a clock that stands between two looks.
import { openApp } from '../../src/cli/context.ts';
import type { App, GlobalOptions } from '../../src/cli/context.ts';
import { openInterrupt } from '../../src/cli/interrupt.ts';
import type { Output } from '../../src/cli/output.ts';
import { isFailure } from '../../src/shared/pure/errors.ts';

export interface Done {
  readonly code: number;
  /** `SP600`; undefined where nothing failed. */
  readonly error: string | undefined;
  /** The one document of --json; empty where there was none. */
  readonly document: Readonly<Record<string, unknown>>;
  /** Remarks, progress and failures, a line each. */
  readonly said: readonly string[];
}

export interface CommandPlace {
  readonly options: GlobalOptions;
  readonly env: NodeJS.ProcessEnv;
  /** What happens while somebody sleeps. */
  readonly onSleep?: () => unknown;
}

export async function runCommand(work: (app: App) => Promise<number>, place: CommandPlace): Promise<Done> {
  let document: Readonly<Record<string, unknown>> = {};
  const said: string[] = [];
  const nothing = (): void => undefined;
  const hear = (text: string): void => void said.push(text);
  const output: Output = {
    json: true,
    color: false,
    width: 200,
    interactive: false,
    documented: false,
    line: nothing,
    names: nothing,
    raw: nothing,
    document: (_, body) => (document = body as Readonly<Record<string, unknown>>),
    note: hear,
    progress: hear,
    event: () => false,
  };
  let now = Date.now();
  const app = openApp(place.options, output, place.env, openInterrupt());
  const patient: App = {
    ...app,
    clock: () => ({
      now: () => now,
      sleep: async (ms) => {
        now += ms;
        await place.onSleep?.();
      },
    }),
  };
  try {
    const code = await work(patient);
    return { code, error: (document['error'] as { readonly code: string } | undefined)?.code, document, said };
  } catch (error) {
    if (!isFailure(error)) throw error;
    said.push(error.detail.message, error.detail.hint ?? '');
    return { code: error.detail.exit, error: error.detail.code, document, said };
  } finally {
    await app.close();
  }
}
