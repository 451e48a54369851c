/** The documents of the checkout, and the parts of them that a test can hold against the code. */
import { globSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export const CHECKOUT = fileURLToPath(new URL('../../../', import.meta.url));

/** A code block. `info`: the words behind the backticks, such as `json offshoot.json`. `line`: that of its first line, from 1. */
export interface Block {
  readonly document: string;
  readonly line: number;
  readonly info: string;
  readonly text: string;
}

export interface Document {
  /** Path from the checkout. */
  readonly path: string;
  readonly text: string;
  /** The text with empty lines in place of code blocks. */
  readonly prose: string;
  readonly blocks: readonly Block[];
}

/** All documents: those at the top, those in docs/, and the list of example functions. */
export function documents(): Document[] {
  return globSync(['*.md', 'docs/**/*.md', 'functions/README.md'], { cwd: CHECKOUT })
    .toSorted()
    .map((path) => parse(path, readFileSync(`${CHECKOUT}${path}`, 'utf8')));
}

function parse(path: string, text: string): Document {
  const blocks: Block[] = [];
  const prose: string[] = [];
  let open: { line: number; info: string; lines: string[] } | undefined;
  for (const [index, line] of text.split('\n').entries()) {
    const fence = /^\s*```(.*)$/.exec(line);
    if (fence && !open) open = { line: index + 2, info: (fence[1] ?? '').trim(), lines: [] };
    else if (fence && open) {
      blocks.push({ document: path, line: open.line, info: open.info, text: open.lines.join('\n') });
      open = undefined;
    } else if (open) open.lines.push(line);
    prose.push(open || fence ? '' : line);
  }
  if (open) throw new Error(`${path}:${open.line - 1}: the code block has no end`);
  return { path, text, prose: prose.join('\n'), blocks };
}

/** Names by which links may point to the headings of a document, as GitHub makes them. */
export function anchorsOf({ prose }: Document): Set<string> {
  const headings = prose.split('\n').flatMap((line) => /^#+ (.*)$/.exec(line)?.[1] ?? []);
  return new Set(
    headings.map((heading) =>
      heading
        .toLowerCase()
        .replaceAll(/[^\p{Letter}\p{Number}\s_-]/gu, '')
        .replaceAll(/\s/g, '-'),
    ),
  );
}

/** Text in backticks in the prose, with the line of each. */
export function codeSpansOf({ prose }: Document): { readonly line: number; readonly text: string }[] {
  return [...prose.matchAll(/`([^`]+)`/g)].map((match) => ({
    line: prose.slice(0, match.index).split('\n').length,
    text: (match[1] ?? '').replaceAll(/\s+/g, ' '),
  }));
}
