import { realpath } from 'node:fs/promises';
import { posix, relative, sep } from 'node:path';
import type { View } from '../engine/contract.ts';
import type { Gate } from '../model/finding.ts';
import { formatRef } from '../model/object.ts';
import type { Step } from '../plan/plan.ts';
import { gate } from '../readiness/view.ts';
import type { Repository } from '../targets/git.ts';
import { openRepository } from '../targets/git.ts';
import type { Tree, TreeLayout } from '../targets/git-writes.ts';
import { layoutOf, planTreeWrites, readTree } from '../targets/git-writes.ts';
import { EXIT, Failure } from '../shared/pure/errors.ts';
import { plural, safeText } from '../shared/pure/text.ts';
import type { App } from './context.ts';

/** Where a plan is written, and how. */
export interface GitPlace {
  /** The folder of the tree, links resolved. */
  readonly dir: string;
  /** From the top of the repository to the folder; empty for the top. */
  readonly folder: string;
  readonly repository: Repository;
  readonly layout: TreeLayout;
}

/** The folder that the flags or the configuration name; undefined where changes go to the cluster itself. */
export async function gitFolder(app: App): Promise<string | undefined> {
  return app.options.git ?? (await app.config()).git?.dir;
}

export async function openGitPlace(app: App, dir: string, text?: string): Promise<GitPlace> {
  const repository = await openRepository(dir, app.env);
  const real = await realpath(dir);
  const folder = relative(await realpath(repository.root), real)
    .split(sep)
    .join('/');
  const given = text ?? (await layoutText(app));
  const layout = given === undefined ? layoutOf(await readTreeOf(app, real)) : parseLayout(given);
  return { dir: real, folder, repository, layout };
}

export function readTreeOf(app: App, dir: string): Promise<Tree> {
  return readTree(dir, app.options.defaultNamespace);
}

async function layoutText(app: App): Promise<string | undefined> {
  const { layout } = app.options;
  return layout ?? (await app.config()).git?.layout;
}

export function layoutName(layout: TreeLayout): string {
  return layout.kind === 'helm' ? `helm:${layout.file}:${layout.key}` : layout.kind;
}

/** `plain`, `kustomize`, `helm`, or `helm:FILE:KEY`. Exit 2 for anything else. */
export function parseLayout(text: string): TreeLayout {
  if (text === 'plain' || text === 'kustomize') return { kind: text };
  const [kind, file = 'values.yaml', key = 'extraObjects', ...more] = text.split(':');
  const inside = posix.normalize(file);
  if (kind === 'helm' && more.length === 0 && key !== '' && /\.ya?ml$/u.test(file) && !/^(?:\.\.|\/)/u.test(inside))
    return { kind: 'helm', file: inside, key };
  throw new Failure({
    code: 'SP204',
    exit: EXIT.usage,
    message: `--layout ${safeText(text)} is none of plain, kustomize, helm, helm:FILE:KEY`,
    where: '--layout',
    hint: 'helm alone is helm:values.yaml:extraObjects: a list of manifests that the chart renders',
  });
}

/**
 * What the tree cannot take of the steps. It stands in place of the gates on ownership: what Git declares is changed in Git, and what it does
 * not declare is not written past it.
 */
export function treeGates(view: View, steps: readonly Step[], tree: Tree, layout: TreeLayout): readonly Gate[] {
  const { refused, writes } = planTreeWrites(tree, steps, layout);
  if (refused.length > 0)
    return refused.map(({ ref, reason, fix }) => gate('gitops', 'no', formatRef(ref), [safeText(reason)], fix));
  return [
    gate(
      'gitops',
      'yes',
      view.namespace,
      [`written into Git: ${plural(writes.length, 'file')} of ${safeText(tree.root)} (${layoutName(layout)})`],
      '',
    ),
  ];
}
