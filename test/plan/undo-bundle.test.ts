// The bundle that takes a run back without the product: patches judged by an interpreter of RFC 6902 that is not the product's, the
// script run by a real shell.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { KubeManifest } from '../../src/model/object.ts';
import { refKey, refOf } from '../../src/model/object.ts';
import { applyToObjects, changeRef } from '../../src/plan/change.ts';
import type { Step } from '../../src/plan/plan.ts';
import { renderChange } from '../../src/cli/render-plan.ts';
import { buildUndoBundle } from '../../src/plan/undo-bundle.ts';
import type { BundleFile } from '../../src/plan/undo-bundle.ts';
import { applyJsonPatch } from '../support/fake-api/json-patch.ts';
import { planFor, viewFor } from '../phases/worlds.ts';

const bundleOf = (steps: readonly Step[]): readonly BundleFile[] =>
  buildUndoBundle({
    run: 'r1',
    namespace: 'front',
    phase: 'identity',
    by: 'test',
    target: 'context test',
    at: '2026-01-01T00:00:00.000Z',
    steps: steps.map((step, index) => ({ step, number: index + 1 })),
    exposed: false,
  });

const MARK = 'app.kubernetes.io/managed-by=sallyport';

interface Call {
  readonly args: readonly string[];
  readonly patch?: unknown;
}

/** Runs undo.sh with a kubectl that writes down how it was called and fails where told to. */
function runScript(
  files: readonly BundleFile[],
  failing = '',
): { readonly calls: readonly Call[]; readonly code: number } {
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-undo-'));
  try {
    for (const { name, text } of files) writeFileSync(join(dir, name), text);
    const log = join(dir, 'calls.jsonl');
    writeFileSync(
      join(dir, 'kubectl'),
      `#!${process.execPath}\nconst fs = require('fs');\nconst args = process.argv.slice(2);\nfs.appendFileSync(${JSON.stringify(log)}, JSON.stringify(args) + '\\n');\nif (args[0] === 'get' || (${JSON.stringify(failing)} !== '' && args.includes(${JSON.stringify(failing)}))) process.exit(1);\n`,
      { mode: 0o755 },
    );
    let code = 0;
    try {
      execFileSync('sh', [join(dir, 'undo.sh')], {
        env: { PATH: `${dir}:${process.env['PATH'] ?? ''}` },
        stdio: 'pipe',
      });
    } catch (error) {
      code = (error as { status: number }).status;
    }
    const calls = readFileSync(log, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as string[]);
    return {
      code,
      calls: calls.map((args) => {
        const file = args[args.indexOf('--patch-file') + 1];
        return args[0] === 'patch'
          ? { args, patch: JSON.parse(files.find(({ name }) => name === file)?.text ?? 'null') as unknown }
          : { args };
      }),
    };
  } finally {
    rmSync(dir, { recursive: true });
  }
}

describe.each(['monitor', 'allow-list', 'permissive-mtls', 'strict-mtls', 'identity'] as const)(
  'a run to %s',
  (phase) => {
    const start = viewFor({}).snapshot.objects;
    const { steps } = planFor({}, phase);

    it('is taken back whole by its bundle', () => {
      const done = steps.reduce<readonly KubeManifest[]>(
        (objects, step) => applyToObjects(objects, step.change),
        start,
      );
      const now = new Map(done.map((object) => [refKey(refOf(object)), object as unknown]));
      const { calls, code } = runScript(bundleOf(steps));
      expect(code).toBe(0);
      const backward = [...steps].reverse();
      expect(calls.filter(({ args }) => args[0] !== 'get')).toHaveLength(backward.length);
      expect(calls.filter(({ args }) => args[0] === 'delete').every(({ args }) => args.includes(MARK))).toBe(true);
      for (const [index, { args, patch }] of calls.filter((call) => call.args[0] !== 'get').entries()) {
        const ref = changeRef((backward[index] as Step).change);
        expect(args[1]).toMatch(new RegExp(`^${ref.kind}`, 'i'));
        expect(args).toContain(args[0] === 'delete' ? `metadata.name=${ref.name}` : ref.name);
        if (ref.namespace !== undefined) expect(args).toContain(ref.namespace);
        if (args[0] === 'delete') now.delete(refKey(ref));
        else now.set(refKey(ref), applyJsonPatch(now.get(refKey(ref)) as never, patch as never));
      }
      expect([...now.values()]).toEqual([...start]);
    });

    it('was never begun: every patch fails its first test and changes nothing', () => {
      const objects = new Map(start.map((object) => [refKey(refOf(object)), object as unknown]));
      for (const step of steps) {
        if (step.change.kind !== 'edit') continue;
        const before = objects.get(refKey(changeRef(step.change)));
        if (before === undefined) continue;
        const file = bundleOf([step]).find(({ name }) => name.endsWith('.json'));
        expect(typeof applyJsonPatch(before as never, JSON.parse(file?.text ?? '') as never)).toBe('string');
      }
    });
  },
);

it('leaves what others have put into a map that Sallyport made', () => {
  const edit: Step = {
    id: 'monitor/mark',
    namespace: 'front',
    phase: 'monitor',
    operation: 'edit',
    title: 'mark',
    effects: [],
    risks: [],
    change: {
      kind: 'edit',
      ref: { apiVersion: 'v1', kind: 'Namespace', name: 'front' },
      owner: 'other',
      fields: [{ path: ['metadata', 'annotations'], before: undefined, after: { ours: 'x' } }],
    },
  };
  const live = {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name: 'front', annotations: { ours: 'x', theirs: 'y' } },
  };
  const files = bundleOf([edit]).filter(({ name }) => name.endsWith('.json'));
  const [whole, parts] = files.map(({ text }) => applyJsonPatch(live as never, JSON.parse(text) as never));
  expect(typeof whole).toBe('string');
  expect(parts).toEqual({ ...live, metadata: { name: 'front', annotations: { theirs: 'y' } } });
});

it('goes on past a step that is not as Sallyport left it, and says so by its exit code', () => {
  const { steps } = planFor({}, 'permissive-mtls');
  const whole = runScript(bundleOf(steps));
  const { calls, code } = runScript(bundleOf(steps), 'web');
  expect(code).toBe(1);
  const commands = (all: readonly Call[]): readonly string[] => [
    ...new Set(all.map(({ args }) => args.slice(0, 3).join(' '))),
  ];
  expect(commands(calls)).toEqual(commands(whole.calls));
});

it('gives no name from the cluster a meaning in the shell or in a path', () => {
  const name = `a'; touch hacked; $(touch hacked) \`x\` ../../etc/passwd "\u001b[31m`;
  const object: KubeManifest = { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, namespace: name } };
  const step = {
    id: 'identity/x',
    namespace: name,
    phase: 'identity',
    operation: 'create',
    title: name,
    effects: [],
    risks: [],
  } as const;
  const files = bundleOf([
    { ...step, change: { kind: 'create', object } },
    { ...step, change: { kind: 'delete', ref: refOf(object), before: object } },
    {
      ...step,
      change: {
        kind: 'edit',
        ref: refOf(object),
        owner: 'other',
        fields: [{ path: ['metadata', 'labels', name], before: 'a', after: 'b' }],
      },
    },
  ]);
  for (const file of files) expect(file.name).toMatch(/^(README\.md|undo\.sh|\d+-[a-z0-9-]+\.json)$/);
  const { calls } = runScript(files);
  expect(calls.map(({ args }) => args[0])).toEqual(['patch', 'get', 'create', 'delete', 'get']);
  // Control characters have no place in a name that an API server takes; all else arrives as it is.
  for (const { args } of calls)
    if (args[0] !== 'create')
      expect(args[0] === 'delete' ? args.at(-1) : args[2]).toContain(
        "a'; touch hacked; $(touch hacked) `x` ../../etc/passwd",
      );
});

describe('where others may read it', () => {
  const ref = { apiVersion: 'apps/v1', kind: 'Deployment', name: 'web', namespace: 'front' };
  const step = (path: readonly string[], before: string): Step => ({
    id: 'x/x',
    namespace: 'front',
    phase: 'monitor',
    operation: 'edit',
    title: 'x',
    effects: [],
    risks: [],
    change: { kind: 'edit', ref, owner: 'other', fields: [{ path, before, after: 'ours' }] },
  });
  const textOf = (steps: readonly Step[], exposed: boolean): string =>
    buildUndoBundle({
      run: 'r1',
      namespace: 'front',
      phase: 'monitor',
      by: 'test',
      target: 'context test',
      at: '2026-01-01T00:00:00.000Z',
      steps: steps.map((one, index) => ({ step: one, number: index + 1 })),
      exposed,
    })
      .map(({ text }) => text)
      .join('\n');

  it('leaves out a value that looks like a credential, names the field, and says that it was left', () => {
    const secret = step(['metadata', 'annotations', 'example.com/api-token'], 'hunter2');
    const plain = step(['metadata', 'annotations', 'example.com/team'], 'books');
    const text = textOf([secret, plain], true);
    expect(text).not.toContain('hunter2');
    expect(text).toContain("leave 'metadata.annotations.example.com/api-token held what looks like a credential");
    expect(text).toContain('books');
    // On the operator's own disk it is exact.
    expect(textOf([secret, plain], false)).toContain('hunter2');
  });

  it('shows no such value in a plan either', () => {
    const secret = step(['metadata', 'annotations', 'example.com/api-token'], 'hunter2');
    expect(renderChange(secret.change).join('\n')).not.toContain('hunter2');
    expect(renderChange(step(['metadata', 'labels', 'token'], 'books').change).join('\n')).toContain('books');
  });
});

describe('the bundle of a directory of manifests', () => {
  const of = {
    run: 'r1',
    namespace: 'front',
    phase: 'monitor',
    by: 'test',
    target: '/srv/manifests',
    at: '2026-01-01T00:00:00.000Z',
    steps: [],
    exposed: false,
  } as const;
  const fileOf = (files: readonly BundleFile[], name: string): string =>
    files.find((file) => file.name === name)?.text ?? '';

  it('says in the README and as the script begins that it acts on the cluster of the current context', () => {
    const files = buildUndoBundle({ ...of, offline: true });
    expect(fileOf(files, 'README.md')).toContain('runs kubectl against the current context');
    const dir = mkdtempSync(join(tmpdir(), 'sallyport-undo-'));
    try {
      writeFileSync(join(dir, 'undo.sh'), fileOf(files, 'undo.sh'));
      writeFileSync(join(dir, 'kubectl'), '#!/bin/sh\necho some-context\n', { mode: 0o755 });
      const said = execFileSync('sh', ['undo.sh'], {
        cwd: dir,
        encoding: 'utf8',
        env: { PATH: `${dir}:/usr/bin:/bin` },
      });
      expect(said).toMatch(/^on the cluster of context some-context, not on the directory of manifests\n/);
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });

  it('that of a cluster says nothing of the kind', () => {
    expect(JSON.stringify(buildUndoBundle(of))).not.toContain('directory of manifests');
  });
});
