import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

export const ROOT = fileURLToPath(new URL('../../', import.meta.url));

export interface Import {
  /** The importing file, relative to the root. */
  readonly from: string;
  /** A file relative to the root, or the name of a package. */
  readonly to: string;
  /** Gone after compilation. */
  readonly typeOnly: boolean;
  readonly names: readonly string[];
}

/** TypeScript files under these folders, relative to the root. */
export function sourceFiles(...folders: readonly string[]): readonly string[] {
  return folders
    .flatMap((folder) =>
      readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' }).map((file) => join(folder, file)),
    )
    .filter((file) => file.endsWith('.ts'))
    .sort();
}

export function readSource(file: string): ts.SourceFile {
  return ts.createSourceFile(file, readFileSync(join(ROOT, file), 'utf8'), ts.ScriptTarget.Latest, true);
}

/** Static and dynamic imports, re-exports and `import()` types of a file. */
export function importsOf(source: ts.SourceFile): readonly Import[] {
  const found: Import[] = [];
  const add = (specifier: ts.Node | undefined, typeOnly: boolean, names: readonly string[] = []): void => {
    if (specifier === undefined || !ts.isStringLiteralLike(specifier))
      throw new Error(`${source.fileName}: an import whose target is computed`);
    const to = specifier.text.startsWith('.')
      ? relative(ROOT, join(ROOT, dirname(source.fileName), specifier.text))
      : specifier.text;
    found.push({ from: source.fileName, to, typeOnly, names });
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) {
      const clause = node.importClause;
      const bindings = clause?.namedBindings;
      const names =
        bindings !== undefined && ts.isNamedImports(bindings) ? bindings.elements.map((one) => one.name.text) : [];
      add(node.moduleSpecifier, clause?.phaseModifier === ts.SyntaxKind.TypeKeyword, names);
    } else if (ts.isExportDeclaration(node) && node.moduleSpecifier !== undefined)
      add(node.moduleSpecifier, node.isTypeOnly);
    else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword)
      add(node.arguments[0], false);
    else if (ts.isImportTypeNode(node))
      add(ts.isLiteralTypeNode(node.argument) ? node.argument.literal : undefined, true);
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

/** The code alone, without spaces: comments and strings are not in it. */
export function bareCode(source: ts.SourceFile): string {
  const words: string[] = [];
  const visit = (node: ts.Node): void => {
    if (node.getChildCount(source) === 0) {
      if (!ts.isStringLiteralLike(node)) words.push(node.getText(source));
    } else for (const child of node.getChildren(source)) visit(child);
  };
  visit(source);
  return words.join('');
}
