// What the commands of an undo script do to objects, without a shell, a process or a cluster: for thousands of runs. That a real shell and
// the real kubectl read them the same way is tested elsewhere.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { KubeManifest } from '../../../src/model/object.ts';
import { groupOf } from '../../../src/model/object.ts';
import { applyJsonPatch } from '../fake-api/json-patch.ts';

export interface Interpreted {
  readonly objects: readonly KubeManifest[];
  /** Steps that were passed over or left. */
  readonly left: number;
}

/** Runs the script of a bundle's folder. Throws on a command that it does not know. */
export function interpretUndo(folder: string, start: readonly KubeManifest[]): Interpreted {
  let objects = start;
  let left = 0;
  const run = (words: readonly string[]): boolean => {
    const [tool, ...args] = words;
    if (tool !== 'kubectl') throw new Error(`not a call of kubectl: ${words.join(' ')}`);
    const done = kubectl(folder, objects, args);
    if (done === undefined) return false;
    objects = done;
    return true;
  };
  const part = (words: readonly string[]): boolean => {
    const [word = '', ...rest] = words;
    if (word === 'run') {
      if (!run(rest)) left += 1;
      return true;
    }
    if (word === 'leave') {
      left += 1;
      return true;
    }
    if (word === 'try') return run(rest);
    if (word === 'exists') return run(['kubectl', 'get', ...rest]);
    if (word === '!') return !part(rest);
    throw new Error(`unknown command: ${words.join(' ')}`);
  };
  const text = readFileSync(join(folder, 'undo.sh'), 'utf8');
  for (const line of text.split('\n')) {
    if (!/^(?:run|try|exists|leave|!) /.test(line)) continue;
    for (const words of alternatives(tokens(line))) if (part(words)) break;
  }
  return { objects, left };
}

function alternatives(words: readonly string[]): readonly (readonly string[])[] {
  const at = words.indexOf('||');
  return at < 0 ? [words] : [words.slice(0, at), ...alternatives(words.slice(at + 1))];
}

/** Words of a POSIX shell: bare ones, and parts in single quotes. */
function tokens(line: string): readonly string[] {
  const found = line.match(/(?:'[^']*'|\\'|[^\s'])+/g) ?? [];
  return found.map((word) =>
    word.replaceAll(/'([^']*)'|\\(')/g, (_, inner?: string, quote?: string) => inner ?? quote ?? ''),
  );
}

function kubectl(
  folder: string,
  objects: readonly KubeManifest[],
  args: readonly string[],
): readonly KubeManifest[] | undefined {
  const flag = (name: string): string | undefined => {
    const at = args.indexOf(name);
    return at < 0 ? undefined : args[at + 1];
  };
  const [verb, kind = '', name = ''] = args;
  const isOf = (object: KubeManifest): boolean => {
    const group = groupOf(object.apiVersion);
    const version = object.apiVersion.slice(object.apiVersion.lastIndexOf('/') + 1);
    const spelled = group === '' ? object.kind : `${object.kind}.${version}.${group}`;
    return spelled.toLowerCase() === kind.toLowerCase() && object.metadata['namespace'] === flag('-n');
  };
  const read = (file: string): unknown => JSON.parse(readFileSync(join(folder, file), 'utf8')) as unknown;
  switch (verb) {
    case 'get':
      return objects.some((object) => isOf(object) && object.metadata.name === name) ? objects : undefined;
    case 'delete': {
      const [label = '', value] = (flag('-l') ?? '').split('=');
      const field = flag('--field-selector') ?? '';
      const labels = (object: KubeManifest): Readonly<Record<string, unknown>> =>
        (object.metadata['labels'] ?? {}) as Readonly<Record<string, unknown>>;
      return objects.filter(
        (object) =>
          !(isOf(object) && field === `metadata.name=${object.metadata.name}` && labels(object)[label] === value),
      );
    }
    case 'create':
      return [...objects, read(flag('-f') ?? '') as KubeManifest];
    case 'patch': {
      const live = objects.find((object) => isOf(object) && object.metadata.name === name);
      if (live === undefined) return undefined;
      const patched = applyJsonPatch(live, read(flag('--patch-file') ?? '') as never);
      if (typeof patched === 'string') return undefined;
      return objects.map((object) => (object === live ? (patched as unknown as KubeManifest) : object));
    }
    default:
      throw new Error(`kubectl ${args.join(' ')}`);
  }
}
