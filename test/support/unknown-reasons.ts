import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';

const MODEL = join(import.meta.dirname, '../../src/model');

/** Words by which a text says that something cannot be told. */
const DOUBT =
  /not known|not evaluated|cannot be told|not plain|not a valid|not valid|versions differ|not sure|only some|do not agree|depends on|is not either/iu;
/** Texts of findings, which say the same of an object. */
const NOT_REASONS: readonly string[] = ['finding-catalogue.ts'];

export interface UnknownReason {
  readonly file: string;
  /** What is filled in is `…`. */
  readonly text: string;
}

/** Every text of the model that may stand as the reason of an answer `unknown`, as its sources have it. */
export function unknownReasons(): readonly UnknownReason[] {
  const files = readdirSync(MODEL).filter((file) => file.endsWith('.ts') && !NOT_REASONS.includes(file));
  return files.sort().flatMap((file) => {
    const source = ts.createSourceFile(file, readFileSync(join(MODEL, file), 'utf8'), ts.ScriptTarget.Latest, true);
    const found = new Set<string>();
    const visit = (node: ts.Node): void => {
      const text = textOf(node);
      if (text !== undefined && DOUBT.test(text)) found.add(text.trim());
      ts.forEachChild(node, visit);
    };
    visit(source);
    return [...found].map((text) => ({ file, text }));
  });
}

function textOf(node: ts.Node): string | undefined {
  if (ts.isStringLiteralLike(node)) return node.text;
  if (!ts.isTemplateExpression(node)) return undefined;
  return node.head.text + node.templateSpans.map(({ literal }) => `…${literal.text}`).join('');
}
