/**
 * Edits of a source, so that it finds in the archive what it finds on disk: its own place, modules that it requires by a
 * `require` of its own making, and modules whose names only the run knows.
 */
import { MagicString } from 'magic-string';
import type { Node, Program } from 'oxc-parser';
import type { StaticPaths } from './static-paths.ts';
import { bare, isReference, metaMember, nameOf, stringOf, walk } from './syntax.ts';

/** Name for an author's own `require` where it is called `require`: the bundler must see calls with a literal as its own. */
const OWN_REQUIRE = 'offshootOwnRequire';

/**
 * `place`: path of the source in the archive. `renamed`: literals of paths that get an ending, and the ending. Returns the edited text; unchanged where there is
 * nothing to edit.
 */
export function edit(
  text: string,
  program: Program,
  values: StaticPaths,
  place: string,
  renamed: ReadonlyMap<Node, string>,
): MagicString {
  const edited = new MagicString(text);
  // Before the closing quote of the literal.
  for (const [literal, ending] of renamed) edited.appendLeft(literal.end - 1, ending);
  const file = JSON.stringify(place);
  const folder = JSON.stringify(place.includes('/') ? place.slice(0, place.lastIndexOf('/')) : '.');
  const own = ownRequires(program, values);
  const replaced = new Map<string, string>([
    ['dirname', `offshootPlace(${folder})`],
    ['filename', `offshootPlace(${file})`],
    ['url', `offshootUrl(${file})`],
    ['resolve', `offshootResolve(${file}, (name) => import.meta.resolve(name))`],
  ]);
  walk(program, (node, above) => {
    const parent = above.at(-1);
    const member = metaMember(node);
    const meta = member === undefined ? undefined : replaced.get(member);
    if (meta !== undefined) edited.overwrite(node.start, node.end, meta);
    if (node.type === 'MetaProperty' && nameOf(node.meta) === 'import' && !(parent && metaMember(parent))) {
      edited.overwrite(node.start, node.end, `offshootMeta(${file}, import.meta)`);
    }
    if (node.type === 'ImportExpression' && !values.of(node.source) && !isSearched(node.source)) {
      edited.appendLeft(node.source.start, `offshootSpecifier(${file}, `);
      edited.appendRight(node.source.end, ')');
    }
    if (node.type !== 'Identifier') return;
    if (own.has(node.name)) editOwnRequire(edited, node, above);
    if (!isReference(node, above) || values.declares(node.name)) return;
    if (node.name === '__dirname') put(edited, node, above, `offshootPlace(${folder})`);
    if (node.name === '__filename') put(edited, node, above, `offshootPlace(${file})`);
    if (node.name === 'require' && !isLiteralCall(node, parent) && !isTypeof(parent)) {
      put(edited, node, above, `offshootRequire(${file})`);
    }
  });
  return edited;
}

/** Constants made by `createRequire` of the source's own place. */
function ownRequires(program: Program, values: StaticPaths): ReadonlySet<string> {
  const names = new Set<string>();
  walk(program, (node) => {
    if (node.type !== 'VariableDeclarator' || node.id.type !== 'Identifier' || !node.init) return;
    const made = bare(node.init);
    if (made.type !== 'CallExpression' || nameOf(made.callee) !== 'createRequire') return;
    const [from] = made.arguments;
    if (from && values.of(from)?.base) names.add(node.id.name);
  });
  return names;
}

/** A call with a literal becomes the bundler's; all other uses keep the author's own, under another name if need be. */
function editOwnRequire(edited: MagicString, node: Node & { name: string }, above: readonly Node[]): void {
  const parent = above.at(-1);
  const declared = parent?.type === 'VariableDeclarator' && parent.id === node;
  if (!declared && !isReference(node, above)) return;
  if (!declared && isLiteralCall(node, parent)) {
    if (node.name !== 'require') edited.overwrite(node.start, node.end, 'require');
  } else if (node.name === 'require') {
    put(edited, node, above, OWN_REQUIRE);
  }
}

function put(
  edited: MagicString,
  node: Node & { name?: string },
  above: readonly Node[],
  text: string,
): void {
  const parent = above.at(-1);
  const shorthand = parent?.type === 'Property' && parent.shorthand;
  edited.overwrite(node.start, node.end, shorthand ? `${node.name}: ${text}` : text);
}

function isLiteralCall(node: Node, parent: Node | undefined): boolean {
  return parent?.type === 'CallExpression' && parent.callee === node && isSearched(parent.arguments[0]);
}

/** A literal, or a template that begins with a relative path: the bundler searches for both. */
function isSearched(specifier: Node | undefined): boolean {
  if (!specifier) return false;
  if (stringOf(specifier) !== undefined) return true;
  const node = bare(specifier);
  if (node.type === 'TemplateLiteral') return /^\.\.?\//.test(node.quasis[0]?.value.cooked ?? '');
  if (node.type === 'BinaryExpression' && node.left.type !== 'PrivateIdentifier')
    return isSearched(node.left);
  if (node.type === 'ConditionalExpression') return isSearched(node.consequent) && isSearched(node.alternate);
  return false;
}

function isTypeof(parent: Node | undefined): boolean {
  return parent?.type === 'UnaryExpression' && parent.operator === 'typeof';
}
