/** Syntax trees of JavaScript and TypeScript, and small questions about them. */
import { parseSync, visitorKeys, type Expression, type Node, type Program } from 'oxc-parser';

/** Endings of modules that are JavaScript or TypeScript. */
export const CODE_FILE = /\.[cm]?[jt]sx?$/;
/** Endings of TypeScript, without declarations. */
export const TYPESCRIPT_FILE = /(?<!\.d)\.[cm]?tsx?$/;

/** The tree of a module; undefined where it has a syntax error, which the bundler reports better. */
export function parse(file: string, text: string): Program | undefined {
  // CommonJS allows more, such as `return` at the top level.
  const types = file.endsWith('.cjs') ? (['commonjs'] as const) : (['unambiguous', 'commonjs'] as const);
  for (const sourceType of types) {
    const { program, errors } = parseSync(file, text, { sourceType });
    if (errors.length === 0) return program;
  }
  return undefined;
}

/** Calls `visit` for each node, parents first. `above`: the nodes around it, the nearest last. */
export function walk(
  node: Node,
  visit: (node: Node, above: readonly Node[]) => void,
  above: readonly Node[] = [],
): void {
  visit(node, above);
  const around = [...above, node];
  for (const key of visitorKeys[node.type] ?? []) {
    const child: unknown = (node as unknown as Record<string, unknown>)[key];
    for (const one of Array.isArray(child) ? (child as unknown[]) : [child]) {
      if (isNode(one)) walk(one, visit, around);
    }
  }
}

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && 'type' in value && typeof value.type === 'string';
}

/** The expression inside of parentheses and of what only TypeScript reads: `(x as T)!`. */
export function bare(node: Node): Node {
  switch (node.type) {
    case 'ParenthesizedExpression':
    case 'TSAsExpression':
    case 'TSNonNullExpression':
    case 'TSSatisfiesExpression':
    case 'TSTypeAssertion':
      return bare(node.expression);
    default:
      return node;
  }
}

/** Text of a string literal, also of a template without expressions. */
export function stringOf(node: Node | undefined): string | undefined {
  if (node === undefined) return undefined;
  const inner = bare(node);
  if (inner.type === 'Literal') return typeof inner.value === 'string' ? inner.value : undefined;
  if (inner.type !== 'TemplateLiteral' || inner.expressions.length > 0) return undefined;
  return inner.quasis[0]?.value.cooked ?? undefined;
}

/** Last name of a callee: `join` of `path.join`. */
export function nameOf(callee: Expression | Node): string | undefined {
  const inner = bare(callee);
  if (inner.type === 'Identifier') return inner.name;
  if (inner.type !== 'MemberExpression' || inner.computed) return undefined;
  return inner.property.type === 'Identifier' ? inner.property.name : undefined;
}

/** The member's name of `import.meta.NAME`; undefined for anything else. */
export function metaMember(node: Node): string | undefined {
  if (node.type !== 'MemberExpression' || node.computed || node.object.type !== 'MetaProperty')
    return undefined;
  return node.property.type === 'Identifier' ? node.property.name : undefined;
}

/** The specifier of `require.resolve('…')` or `import.meta.resolve('…')`; undefined for anything else. */
export function resolvedSpecifier(callee: Node, [first]: readonly Node[]): string | undefined {
  const inner = bare(callee);
  if (inner.type !== 'MemberExpression' || nameOf(inner) !== 'resolve') return undefined;
  const owner = bare(inner.object);
  const asks =
    metaMember(inner) !== undefined || (owner.type === 'Identifier' && /require/i.test(owner.name));
  return asks ? stringOf(first) : undefined;
}

/** Is this identifier a value that is read, and not the name of a member, a key, a type or a declaration? */
export function isReference(node: Node, above: readonly Node[]): boolean {
  const parent = above.at(-1);
  if (node.type !== 'Identifier' || parent === undefined || isDeclared(node, above)) return false;
  switch (parent.type) {
    case 'MemberExpression':
      return parent.object === node || parent.computed;
    case 'Property':
      return parent.value === node || parent.computed;
    case 'PropertyDefinition':
    case 'MethodDefinition':
      return parent.value === node || parent.computed;
    case 'LabeledStatement':
    case 'BreakStatement':
    case 'ContinueStatement':
    case 'ImportSpecifier':
    case 'ExportSpecifier':
    case 'MetaProperty':
      return false;
    default:
      return !parent.type.startsWith('TS') || bare(parent) !== parent || parent.type === 'TSExportAssignment';
  }
}

/** Names that a module declares itself, wherever in it. `declare const x` declares nothing at run time. */
export function declaredNames(program: Program): ReadonlySet<string> {
  const names = new Set<string>();
  walk(program, (node, above) => {
    if (node.type === 'Identifier' && isDeclared(node, above)) names.add(node.name);
  });
  return names;
}

function isDeclared(node: Node, above: readonly Node[]): boolean {
  const parent = above.at(-1);
  switch (parent?.type) {
    case 'VariableDeclarator': {
      const declaration = above.at(-2);
      return parent.id === node && !(declaration?.type === 'VariableDeclaration' && declaration.declare);
    }
    case 'FunctionDeclaration':
    case 'FunctionExpression':
      return parent.id === node || (parent.params as readonly Node[]).includes(node);
    case 'ArrowFunctionExpression':
      return (parent.params as readonly Node[]).includes(node);
    case 'ClassDeclaration':
    case 'ClassExpression':
      return parent.id === node;
    case 'ImportSpecifier':
    case 'ImportDefaultSpecifier':
    case 'ImportNamespaceSpecifier':
      return parent.local === node;
    case 'CatchClause':
      return parent.param === node;
    case 'AssignmentPattern':
      return parent.left === node;
    case 'Property':
      return parent.value === node && above.at(-2)?.type === 'ObjectPattern';
    case 'RestElement':
    case 'ArrayPattern':
    case 'TSParameterProperty':
      return true;
    default:
      return false;
  }
}
