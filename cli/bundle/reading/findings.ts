/** Files and packages that a source needs without importing them, as far as its syntax tree says. */
import { existsSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import path from 'node:path';
import type { Node, Program } from 'oxc-parser';
import { statOf } from './folders.ts';
import { packageNameOf } from '../terms/package-name.ts';
import type { StaticValue } from './path-values.ts';
import type { StaticPaths } from './static-paths.ts';
import { useOf, type Use } from './uses.ts';
import { bare, CODE_FILE, isReference, nameOf, resolvedSpecifier, stringOf, walk } from './syntax.ts';

export interface PathFinding {
  /** Absolute path; a beginning of one where `open`. */
  readonly path: string;
  readonly open: boolean;
  /** Nothing is known but the folder of the source itself. */
  readonly base: boolean;
  readonly use: Use;
  /** Offset of the expression in the source. */
  readonly at: number;
  /** Literal that ends the path. */
  readonly tail?: Node;
}

export interface Findings {
  readonly paths: readonly PathFinding[];
  /** Specifiers of packages that are named by strings: `target: 'pino-pretty'`, `require.resolve('x')`. */
  readonly packages: ReadonlySet<string>;
  /** Offsets of imports whose module only the run knows. */
  readonly unknownImports: readonly number[];
}

/** `direct`: names of the packages that the function's package.json names; a string that equals one may stand for it. */
export function findingsOf(
  program: Program,
  values: StaticPaths,
  cwd: string,
  direct: ReadonlySet<string>,
): Findings {
  const paths: PathFinding[] = [];
  const packages = new Set<string>();
  const unknownImports: number[] = [];
  walk(program, (node, above) => {
    const parent = above.at(-1);
    const text = node.type === 'Literal' ? stringOf(node) : undefined;
    if (text !== undefined && !isSpecifier(parent)) {
      const name = packageNameOf(text);
      if (name !== undefined && (direct.has(name) || isTarget(node, parent))) packages.add(text);
    }
    const asked = node.type === 'CallExpression' ? resolvedSpecifier(node.callee, node.arguments) : undefined;
    if (asked !== undefined && packageNameOf(asked) !== undefined && !isBuiltin(asked)) packages.add(asked);
    if (isUnknownImport(node, values)) unknownImports.push(node.start);
    if (node.type === 'Identifier' && !isReference(node, above)) return;
    const value = values.of(node);
    if (!value || isPart(node, above, values)) return;
    const use = useOf(above);
    if (use === 'write') return;
    if (value.kind !== 'text') {
      // A place alone says nothing about what is read there.
      if (value.base && !value.open && use !== 'data') return;
      paths.push(finding(node, value, value.text, use));
    } else if (!isSpecifier(parent)) {
      const found = below(cwd, value, use);
      if (found !== undefined) paths.push(finding(node, value, found, use));
    }
  });
  return { paths, packages, unknownImports };
}

function finding(node: Node, value: StaticValue, found: string, use: Use): PathFinding {
  const { open = false, base = false, tail } = value;
  return { path: found, open, base, use, at: node.start, ...(tail && { tail }) };
}

/** The file below the working directory that a text names: `renderFile('views/a.ejs')`. */
function below(cwd: string, { text, open }: StaticValue, use: Use): string | undefined {
  if (text === '' || path.isAbsolute(text) || !/[./]/.test(text) || text.length > 500) return undefined;
  const file = path.join(cwd, text);
  // Settings with secrets in them are packed only where `files` names them.
  if (/(?:^|[\\/])(?:\.env[^\\/]*|offshoot\.json)$/.test(file)) return undefined;
  if (!file.startsWith(cwd + path.sep) || file.includes(`${path.sep}node_modules`)) return undefined;
  if (open)
    return use === 'data' && existsSync(path.dirname(file)) && path.dirname(file) !== cwd ? file : undefined;
  const found = statOf(file);
  if (use !== 'unknown') return found ? file : undefined;
  return found?.isFile() && !CODE_FILE.test(file) ? file : undefined;
}

/** Is the expression a part of one that has a value as well? */
function isPart(node: Node, above: readonly Node[], values: StaticPaths): boolean {
  for (const one of above.toReversed()) {
    if (one.type === 'VariableDeclarator' || one.type.endsWith('Statement') || one.type.includes('Function'))
      return false;
    if (values.of(one)) return true;
    if (bare(one) === one && !one.type.endsWith('Expression')) return false;
    if ((one.type === 'CallExpression' || one.type === 'NewExpression') && one.callee !== node) return false;
  }
  return false;
}

/** The specifier of an import, which the bundler resolves. */
function isSpecifier(parent: Node | undefined): boolean {
  switch (parent?.type) {
    case 'ImportDeclaration':
    case 'ExportNamedDeclaration':
    case 'ExportAllDeclaration':
    case 'ImportExpression':
    case 'ImportAttribute':
    case 'TSExternalModuleReference':
    case 'TSLiteralType':
      return true;
    case 'CallExpression':
      return bare(parent.callee).type === 'Identifier' && nameOf(parent.callee) === 'require';
    default:
      return false;
  }
}

/** `target: 'name'` is how pino's transports are named. */
function isTarget(node: Node, parent: Node | undefined): boolean {
  return parent?.type === 'Property' && parent.value === node && nameOf(parent.key) === 'target';
}

/** `import(x)` and `require(x)` without a literal, or a template that esbuild can search for. */
function isUnknownImport(node: Node, values: StaticPaths): boolean {
  if (node.type === 'ImportExpression') return !isKnown(node.source, values);
  if (node.type !== 'CallExpression' || nameOf(node.callee) !== 'require') return false;
  const [first] = node.arguments;
  return bare(node.callee).type === 'Identifier' && first !== undefined && !isKnown(first, values);
}

function isKnown(specifier: Node, values: StaticPaths): boolean {
  const value = values.of(specifier);
  if (!value) return false;
  return value.kind !== 'text' || !value.open || /^\.\.?\//.test(value.text);
}
