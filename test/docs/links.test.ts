import { existsSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { PAGES, readPage } from '../support/docs.ts';
import { ROOT } from '../support/imports.ts';

const MORE = ['CHANGELOG.md', 'src/README.md', 'test/lab/README.md'];

/** Text without code, where brackets mean something else. */
const prose = (text: string): string => text.replaceAll(/```[\s\S]*?```/g, '').replaceAll(/`[^`\n]*`/g, '');

/** As GitHub names the place of a heading. */
function anchorsOf(page: string): ReadonlySet<string> {
  const headings = [...readPage(page).matchAll(/^#{1,6} (.+)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .trim()
      .replaceAll(/\s/g, '-'),
  );
  return new Set(headings);
}

describe('links of the documents', () => {
  it.each([...PAGES, ...MORE])('lead somewhere: %s', (page) => {
    const broken = [...prose(readPage(page)).matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([, target = '']) => {
      if (/^[a-z]+:/.test(target)) return [];
      const [path = '', anchor] = target.split('#');
      const file = path === '' ? page : join(dirname(page), path);
      if (!existsSync(join(ROOT, file))) return [`${target}: there is no ${file}`];
      if (anchor === undefined || statSync(join(ROOT, file)).isDirectory()) return [];
      return anchorsOf(file).has(anchor) ? [] : [`${target}: no heading of ${file} is #${anchor}`];
    });
    expect(broken).toEqual([]);
  });

  it.each([...PAGES, ...MORE])('name paths that are there: %s', (page) => {
    const text = readPage(page).replaceAll(/```[\s\S]*?```/g, '');
    const paths = [...text.matchAll(/`((?:src|test|docs|phases|templates|state|scripts|bin)\/[\w./-]+)`/g)].map(
      ([, path = '']) => path,
    );
    // A place to be filled in, such as phases/NN-NAME, and files that only a running program makes.
    const real = paths.filter((path) => !/[A-Z]{2,}/.test(path.replace('README', '')));
    expect(real.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
  });

  // Pages for those who change the code speak of the checkout; everybody else may read them from an installed package.
  const FOR_A_CHECKOUT: ReadonlySet<string> = new Set(['docs/extending.md', 'docs/mutation.md']);
  it('of installed pages lead to what is installed', () => {
    const { files } = JSON.parse(readPage('package.json')) as { readonly files: readonly string[] };
    const shipped = [...files, 'README.md', 'package.json'].map(
      (one) => new RegExp(`^${one.replaceAll('.', '\\.').replaceAll('*', '[^/]*')}(?:/|$)`),
    );
    const isShipped = (file: string): boolean => shipped.some((one) => one.test(file));
    const missing = PAGES.filter((page) => isShipped(page) && !FOR_A_CHECKOUT.has(page)).flatMap((page) =>
      [...prose(readPage(page)).matchAll(/\]\(([^)\s#]+)/g)]
        .map(([, target = '']) => target)
        .filter((target) => !/^[a-z]+:/.test(target) && !isShipped(join(dirname(page), target)))
        .map((target) => `${page}: ${target}`),
    );
    expect(missing).toEqual([]);
  });

  it('reach every page of docs and phases from the README and the index', () => {
    const seen = new Set<string>();
    const visit = (page: string): void => {
      if (seen.has(page)) return;
      seen.add(page);
      for (const [, target = ''] of prose(readPage(page)).matchAll(/\]\(([^)\s#]+\.md)/g)) {
        const file = join(dirname(page), target);
        if (PAGES.includes(file)) visit(file);
      }
    };
    for (const start of ['README.md', 'docs/README.md']) visit(start);
    expect(PAGES.filter((page) => /^(?:docs|phases)\//.test(page) && !seen.has(page))).toEqual([]);
    expect(prose(readPage('README.md')).includes('(docs/README.md)')).toBe(true);
  });
});
