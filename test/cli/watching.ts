// The watch as a person or a Deployment starts it, on a fake API server, with what it prints line by line.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { watch } from '../../src/cli/commands/watch.ts';
import type { WatchOptions } from '../../src/cli/commands/watch.ts';
import { openApp } from '../../src/cli/context.ts';
import type { App, GlobalOptions } from '../../src/cli/context.ts';
import type { Interrupt } from '../../src/cli/interrupt.ts';
import { openInterrupt } from '../../src/cli/interrupt.ts';
import type { Output } from '../../src/cli/output.ts';
import type { FakeApi, FakeApiOptions } from '../support/fake-api/server.ts';
import { startFakeApi } from '../support/fake-api/server.ts';
import { generate } from '../watch/world.ts';

export type Line = Readonly<Record<string, unknown>>;

export interface Running {
  readonly interrupt: Interrupt;
  readonly lines: readonly Line[];
  readonly notes: readonly string[];
  readonly ended: Promise<number>;
  /** Waits for a line. */
  until(is: (line: Line) => boolean): Promise<Line>;
}

export interface Place {
  readonly dir: string;
  readonly server: FakeApi;
  start(
    options: WatchOptions,
    source?: string,
    inputs?: readonly string[],
    own?: string,
    more?: GlobalOptions,
  ): Running;
  /** An app on the same state, for commands. */
  app(more?: GlobalOptions, own?: string): App;
  close(): Promise<void>;
}

/** A cluster of one namespace of ten workloads, and a folder for states. */
export async function openPlace(options: FakeApiOptions = {}): Promise<Place> {
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-watch-'));
  const server = await startFakeApi({ objects: generate(1).objects, ...options });
  server.put({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'kube-system' } });
  server.put({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'ops' } });
  const running: { readonly one: Running; readonly app: App }[] = [];
  const apps: App[] = [];
  const global = (own: string, more: GlobalOptions): GlobalOptions => ({
    kubeconfig: server.kubeconfig,
    state: join(dir, `${own}.sqlite`),
    ...more,
  });

  const start: Place['start'] = (watchOptions, source, inputs = [], own = 'one', more = {}) => {
    const interrupt = openInterrupt();
    const lines: Line[] = [];
    const notes: string[] = [];
    let heard: (() => void)[] = [];
    const output: Output = {
      ...silent(),
      raw: (text) => {
        for (const line of text.split('\n')) if (line !== '') lines.push(JSON.parse(line) as Line);
        for (const one of heard) one();
      },
      note: (text) => {
        notes.push(text);
        for (const one of heard) one();
      },
    };
    const app = openApp(global(own, more), output, { XDG_STATE_HOME: dir }, interrupt);
    const ended = watch(app, source, inputs, { output: 'jsonl', ...watchOptions });
    // What fails is seen where it is awaited.
    ended.catch(() => undefined);
    const one: Running = {
      interrupt,
      lines,
      notes,
      ended,
      until: (is) =>
        new Promise((resolve, reject) => {
          const check = (): void => {
            const found = lines.find(is);
            if (found === undefined) return;
            heard = heard.filter((other) => other !== check);
            resolve(found);
          };
          heard.push(check);
          ended.catch(reject);
          check();
        }),
    };
    running.push({ one, app });
    return one;
  };

  return {
    dir,
    server,
    start,
    app(more = {}, own = 'one') {
      const app = openApp(
        global(own, more),
        silent(),
        { XDG_STATE_HOME: dir, SALLYPORT_USER: 'tester' },
        openInterrupt(),
      );
      apps.push(app);
      return app;
    },
    async close() {
      // They hold states that a watch writes to as it ends.
      for (const app of apps) await app.close();
      for (const { one } of running) one.interrupt.stop();
      for (const { one, app } of running) {
        await one.ended.catch(() => undefined);
        await app.close();
      }
      await server.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** An output that says nothing. */
export function silent(): Output {
  return {
    json: false,
    color: false,
    width: 80,
    interactive: false,
    documented: false,
    line: () => undefined,
    document: () => undefined,
    names: () => undefined,
    raw: () => undefined,
    note: () => undefined,
    progress: () => undefined,
    event: () => false,
  };
}
