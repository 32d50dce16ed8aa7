import { join } from 'node:path';
import ts from 'typescript';

/**
 * The JSON Schema (draft 2020-12) of the assessment report, and a table of its fields in Markdown, both made from the types in
 * `src/report/model.ts` and the comments above their fields: what is documented is what is compiled.
 */

const MODEL = join(import.meta.dirname, '../../src/report/model.ts');
const ROOT = 'AssessmentReport';

export type Schema = { readonly [key: string]: unknown };

export interface ReportSchema {
  readonly schema: Schema;
  readonly markdown: string;
  /** `Type.field` of what no comment explains. */
  readonly unexplained: readonly string[];
}

export function readReportSchema(): ReportSchema {
  const program = ts.createProgram([MODEL], {
    target: ts.ScriptTarget.ES2024,
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    strict: true,
    noEmit: true,
    allowImportingTsExtensions: true,
    types: [],
  });
  const checker = program.getTypeChecker();
  const source = program.getSourceFile(MODEL);
  if (source === undefined) throw new Error(`${MODEL} is not there`);
  const unexplained: string[] = [];
  const definitions = new Map<string, Schema>();
  const tables: string[] = [];
  const waiting: ts.InterfaceDeclaration[] = [];

  const explain = (name: ts.Node): string =>
    ts
      .displayPartsToString(checker.getSymbolAtLocation(name)?.getDocumentationComment(checker))
      .replaceAll(/\s+/g, ' ')
      .trim();

  const resolve = (node: ts.TypeReferenceNode): ts.Declaration | undefined => {
    const found = checker.getSymbolAtLocation(node.typeName);
    const symbol =
      found !== undefined && (found.flags & ts.SymbolFlags.Alias) !== 0 ? checker.getAliasedSymbol(found) : found;
    return symbol?.declarations?.[0];
  };

  /** The values that a type of literals alone may take, in the order in which it is written. */
  const literals = (node: ts.TypeNode): readonly unknown[] | undefined => {
    if (ts.isParenthesizedTypeNode(node)) return literals(node.type);
    if (ts.isTypeOperatorNode(node) && node.operator === ts.SyntaxKind.KeyOfKeyword) {
      const type = checker.getTypeFromTypeNode(node);
      return type.isUnion() ? type.types.flatMap((one) => (one.isStringLiteral() ? [one.value] : [])) : undefined;
    }
    if (ts.isUnionTypeNode(node)) {
      const parts = node.types.map(literals);
      return parts.includes(undefined) ? undefined : parts.flatMap((part) => part ?? []);
    }
    if (ts.isLiteralTypeNode(node)) {
      const type = checker.getTypeFromTypeNode(node);
      if (type.isStringLiteral() || type.isNumberLiteral()) return [type.value];
      return (type.flags & ts.TypeFlags.Null) !== 0 ? [null] : undefined;
    }
    if (ts.isIndexedAccessTypeNode(node)) {
      const items = checker.getTypeArguments(checker.getTypeFromTypeNode(node.objectType) as ts.TypeReference);
      const values = items.map((item) => (item.isStringLiteral() ? item.value : undefined));
      return values.includes(undefined) ? undefined : values;
    }
    if (ts.isTypeQueryNode(node)) {
      const type = checker.getTypeFromTypeNode(node);
      return type.isStringLiteral() ? [type.value] : undefined;
    }
    const declaration = ts.isTypeReferenceNode(node) ? resolve(node) : undefined;
    return declaration !== undefined && ts.isTypeAliasDeclaration(declaration) ? literals(declaration.type) : undefined;
  };

  /** The fields of an object, in the order in which the types have them. */
  const objectOf = (members: ts.NodeArray<ts.TypeElement>, path: string, rows: string[]): Schema => {
    const properties: Record<string, Schema> = {};
    for (const member of members) {
      if (!ts.isPropertySignature(member) || member.type === undefined || member.questionToken !== undefined)
        throw new Error(`${path}: only fields that are always there can be documented`);
      const name = member.name.getText(source);
      const description = explain(member.name);
      const at = path === '' ? name : `${path}.${name}`;
      const place = rows.length;
      rows.push('');
      const inner: string[] = [];
      const schema = schemaOf(member.type, at, inner);
      if (description === '') unexplained.push(at);
      rows[place] = `| \`${at.slice(at.indexOf('.') + 1)}\` | ${cell(typeText(member.type))} | ${cell(description)} |`;
      rows.push(...inner.filter((row) => !rows.includes(row)));
      properties[name] = { description, ...schema };
    }
    return { type: 'object', properties, required: Object.keys(properties), additionalProperties: false };
  };

  const typeText = (node: ts.TypeNode): string => {
    if (isReadonly(node)) return typeText(node.type);
    if (ts.isParenthesizedTypeNode(node)) return typeText(node.type);
    if (ts.isArrayTypeNode(node)) return `list of ${typeText(node.elementType)}`;
    if (ts.isTypeLiteralNode(node)) return 'object';
    const values = literals(node);
    if (values !== undefined)
      return values.map((value) => `\`${typeof value === 'string' ? value : String(value)}\``).join(', ');
    if (ts.isUnionTypeNode(node)) return [...new Set(node.types.map(typeText))].join(' or ');
    if (ts.isTypeReferenceNode(node)) {
      const name = node.typeName.getText(source);
      if (name === 'Instant') return 'time';
      const declaration = resolve(node);
      if (declaration !== undefined && ts.isInterfaceDeclaration(declaration))
        return `[${name}](#${name.toLowerCase()})`;
      if (declaration !== undefined && ts.isTypeAliasDeclaration(declaration)) return typeText(declaration.type);
    }
    const text = node.getText();
    return text === 'string' ? 'text' : text;
  };

  const schemaOf = (node: ts.TypeNode, path: string, rows: string[]): Schema => {
    if (isReadonly(node) || ts.isParenthesizedTypeNode(node)) return schemaOf(node.type, path, rows);
    if (ts.isArrayTypeNode(node)) return { type: 'array', items: schemaOf(node.elementType, `${path}[]`, rows) };
    if (ts.isTypeLiteralNode(node)) return objectOf(node.members, path, rows);
    const values = literals(node);
    if (values !== undefined) return values.length === 1 ? { const: values[0] } : { enum: values };
    if (ts.isUnionTypeNode(node)) return { anyOf: node.types.map((part) => schemaOf(part, path, rows)) };
    if (ts.isTypeReferenceNode(node)) {
      const name = node.typeName.getText(source);
      if (name === 'Instant') return { type: 'string', format: 'date-time' };
      const declaration = resolve(node);
      if (declaration !== undefined && ts.isInterfaceDeclaration(declaration)) {
        if (!definitions.has(name)) {
          definitions.set(name, {});
          waiting.push(declaration);
        }
        return { $ref: `#/$defs/${name}` };
      }
      if (declaration !== undefined && ts.isTypeAliasDeclaration(declaration))
        return schemaOf(declaration.type, path, rows);
    }
    switch (node.kind) {
      case ts.SyntaxKind.StringKeyword:
        return { type: 'string' };
      case ts.SyntaxKind.NumberKeyword:
        return { type: 'number' };
      case ts.SyntaxKind.BooleanKeyword:
        return { type: 'boolean' };
      default:
        throw new Error(`${path}: no schema is known for ${node.getText(source)}`);
    }
  };

  const define = (declaration: ts.InterfaceDeclaration): Schema => {
    const name = declaration.name.text;
    const rows: string[] = [];
    const description = explain(declaration.name);
    const schema = objectOf(declaration.members, name, rows);
    tables.push(
      [
        `## ${name}`,
        ...(description === '' ? [] : ['', description]),
        '',
        '| field | type | meaning |',
        '|---|---|---|',
        ...rows,
      ].join('\n'),
    );
    return { ...(description === '' ? {} : { description }), ...schema };
  };

  const root = source.statements.find(
    (one): one is ts.InterfaceDeclaration => ts.isInterfaceDeclaration(one) && one.name.text === ROOT,
  );
  if (root === undefined) throw new Error(`${ROOT} is not there`);
  const top = define(root);
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
    definitions.set(next.name.text, define(next));
  }
  return {
    schema: {
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      title: 'Sallyport assessment report',
      ...top,
      $defs: Object.fromEntries(definitions),
    },
    markdown: tables.join('\n\n'),
    unexplained,
  };
}

function isReadonly(node: ts.TypeNode): node is ts.TypeOperatorNode {
  return ts.isTypeOperatorNode(node) && node.operator === ts.SyntaxKind.ReadonlyKeyword;
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('<', '&lt;');
}
