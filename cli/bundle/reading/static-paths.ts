/**
 * Paths that a source makes out of its own place: `new URL('./x', import.meta.url)`, `path.join(__dirname, 'x')` and the like,
 * read from the syntax tree. No code runs.
 */
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { Node, Program } from 'oxc-parser';
import { concatenated, joined, type StaticValue } from './path-values.ts';
import { bare, declaredNames, metaMember, nameOf, resolvedSpecifier, walk } from './syntax.ts';

export class StaticPaths {
  readonly #file: string;
  readonly #cwd: string;
  readonly #declared: ReadonlySet<string>;
  /** Initial values of constants, by name; null where a name is declared more than once. */
  readonly #constants = new Map<string, Node | null>();
  readonly #open = new Set<string>();

  /** `cwd`: the working directory at run time, which is the function's folder. */
  constructor(file: string, program: Program, cwd: string) {
    this.#file = file;
    this.#cwd = cwd;
    this.#declared = declaredNames(program);
    walk(program, (node) => {
      if (node.type !== 'VariableDeclarator' || node.id.type !== 'Identifier' || !node.init) return;
      this.#constants.set(node.id.name, this.#constants.has(node.id.name) ? null : node.init);
    });
  }

  /** Does the module declare this name itself? */
  declares(name: string): boolean {
    return this.#declared.has(name);
  }

  /** The value of an expression; undefined where it cannot be known before the run. */
  of(expression: Node): StaticValue | undefined {
    const node = bare(expression);
    switch (node.type) {
      case 'Literal':
        return typeof node.value === 'string' ? { kind: 'text', text: node.value, tail: node } : undefined;
      case 'TemplateLiteral': {
        const pieces = node.quasis.flatMap((quasi, at) => {
          const text: StaticValue = { kind: 'text', text: quasi.value.cooked ?? '' };
          const next = node.expressions[at];
          return next ? [text, this.of(next)] : [text];
        });
        return concatenated(pieces, node.expressions.length === 0 ? node : undefined);
      }
      case 'BinaryExpression':
        return node.operator === '+' ? concatenated([this.of(node.left), this.of(node.right)]) : undefined;
      case 'Identifier':
        return this.#named(node.name);
      case 'MemberExpression':
        return this.#member(node);
      case 'NewExpression':
        return nameOf(node.callee) === 'URL' ? this.#url(node.arguments) : undefined;
      case 'CallExpression':
        return this.#call(node.callee, node.arguments);
      default:
        return undefined;
    }
  }

  #named(name: string): StaticValue | undefined {
    if (!this.#declared.has(name)) {
      if (name === '__dirname') return { kind: 'path', text: path.dirname(this.#file), base: true };
      if (name === '__filename') return { kind: 'path', text: this.#file, base: true };
      return undefined;
    }
    const value = this.#constants.get(name);
    // A name that stands for itself, directly or not, has no value.
    if (!value || this.#open.has(name)) return undefined;
    this.#open.add(name);
    const found = this.of(value);
    this.#open.delete(name);
    return found;
  }

  #member(node: Node & { type: 'MemberExpression' }): StaticValue | undefined {
    const meta = metaMember(node);
    if (meta === 'dirname') return { kind: 'path', text: path.dirname(this.#file), base: true };
    if (meta === 'filename') return { kind: 'path', text: this.#file, base: true };
    if (meta === 'url') return { kind: 'url', text: this.#file, base: true };
    if (node.computed || node.property.type !== 'Identifier') return undefined;
    if (node.property.name !== 'href' && node.property.name !== 'pathname') return undefined;
    const value = this.of(node.object);
    return value?.kind === 'url' ? value : undefined;
  }

  #url([first, second]: readonly Node[]): StaticValue | undefined {
    const text = first && this.of(first);
    const base = second && this.of(second);
    if (text?.kind === 'url' && second === undefined) return text;
    // A path from the root of a host, not of this machine.
    if (text?.kind !== 'text' || base?.kind !== 'url' || text.text.startsWith('/')) return undefined;
    try {
      const url = new URL(text.text, pathToFileURL(base.text));
      if (url.protocol !== 'file:') return undefined;
      const found = fileURLToPath(new URL(url.pathname, 'file://'));
      return { ...text, kind: 'url', text: found, base: found === path.dirname(this.#file) + path.sep };
    } catch {
      return undefined;
    }
  }

  /** A module beside the source; those of packages have no path here. */
  #resolved(callee: Node, specifier: string, tail: Node | undefined): StaticValue | undefined {
    if (!/^\.\.?\//.test(specifier)) return undefined;
    const text = path.resolve(path.dirname(this.#file), specifier);
    return { kind: metaMember(bare(callee)) === undefined ? 'path' : 'url', text, ...(tail && { tail }) };
  }

  #call(callee: Node, args: readonly Node[]): StaticValue | undefined {
    const name = nameOf(callee);
    const resolved = resolvedSpecifier(callee, args);
    if (resolved !== undefined) return this.#resolved(callee, resolved, args[0]);
    const values = args.map((argument) => this.of(argument));
    const [first] = values;
    switch (name) {
      case 'fileURLToPath':
        return first?.kind === 'url' ? { ...first, kind: 'path' } : undefined;
      case 'pathToFileURL':
        return first?.kind === 'path' ? { ...first, kind: 'url' } : undefined;
      case 'String':
      case 'normalize':
        return first;
      case 'toString': {
        const owner = bare(callee);
        return owner.type === 'MemberExpression' ? this.of(owner.object) : undefined;
      }
      case 'dirname':
        return first?.kind === 'path' && !first.open
          ? { kind: 'path', text: path.dirname(first.text), base: first.base === true }
          : undefined;
      case 'cwd':
        return { kind: 'path', text: this.#cwd, base: true };
      case 'resolve':
        if (first?.kind === 'text' && values.length > 0) {
          return joined([{ kind: 'path', text: this.#cwd, base: true }, ...values]);
        }
        return first?.kind === 'path' ? joined(values) : undefined;
      case 'join':
        return first && first.kind !== 'url' ? joined(values) : undefined;
      default:
        return undefined;
    }
  }
}
