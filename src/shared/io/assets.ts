import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The package's root: the nearest folder above that holds package.json. Sources and the built package differ by one level. */
function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) {
    const parent = dirname(folder);
    if (parent === folder) throw new Error('the package has no package.json above its program');
    folder = parent;
  }
  return folder;
}

/** The path of a data file shipped with the package. */
export function assetPath(...parts: readonly string[]): string {
  return join(packageRoot(), ...parts);
}

/** The package's version. */
export function packageVersion(): string {
  const facts = JSON.parse(readFileSync(assetPath('package.json'), 'utf8')) as { readonly version: string };
  return facts.version;
}
