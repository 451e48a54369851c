/** Takes the sentences out of a file: of its comments, of its prose where it is a document, and of the text that it shows to people. */

/** A sentence and the line on which it begins. */
export interface Sentence {
  readonly line: number;
  readonly text: string;
}

/** Shorter pieces are labels and names, not sentences. */
const MIN_WORDS = 4;
/** A string of so many words is text for people; shorter ones are mostly keys. */
const MIN_TEXT_WORDS = 5;

interface Piece {
  readonly line: number;
  readonly text: string;
}

/** Sentences of one file, by its ending: .md is prose, .ts, .tsx, .mjs, .c and .h have comments, .sh and .yml lines with `#`. */
export function sentencesOf(path: string, source: string): Sentence[] {
  return piecesOf(path, source).flatMap(split);
}

function piecesOf(path: string, source: string): Piece[] {
  if (path.endsWith('.md')) return proseOf(source);
  if (/\.(sh|ya?ml|toml)$/.test(path)) return hashComments(source);
  return scan(source);
}

/** Paragraphs, items and cells; neither code blocks nor what stands in backticks. */
function proseOf(source: string): Piece[] {
  const pieces: Piece[] = [];
  let isCode = false;
  let open: { line: number; text: string } | undefined;
  const close = (): void => {
    if (open) pieces.push(open);
    open = undefined;
  };
  for (const [index, line] of source.split('\n').entries()) {
    if (line.startsWith('```')) isCode = !isCode;
    if (isCode || line.startsWith('```') || /^\s*$|^#|^\|[-| ]+\|$/.test(line)) {
      close();
    } else if (line.startsWith('|')) {
      close();
      for (const cell of line.split(/(?<!\\)\|/)) pieces.push({ line: index + 1, text: cell });
    } else if (/^\s*([-*]|\d+\.) /.test(line)) {
      close();
      open = { line: index + 1, text: line.replace(/^\s*([-*]|\d+\.) /, '') };
    } else if (open) {
      open.text += ` ${line.trim()}`;
    } else {
      open = { line: index + 1, text: line };
    }
  }
  close();
  return pieces;
}

function hashComments(source: string): Piece[] {
  return joined(
    source.split('\n').flatMap((line, index) => {
      const [, text] = /(?:^|\s)#(?!!) ?(.*)$/.exec(line) ?? [];
      return text === undefined ? [] : [{ line: index + 1, text }];
    }),
  );
}

/** Comments and strings of the C family. A small scanner: it need not know more than where each begins and ends. */
function scan(source: string): Piece[] {
  const comments: Piece[] = [];
  const strings: Piece[] = [];
  const token =
    /\/\*[\s\S]*?\*\/|\/\/[^\n]*|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`|(?<=[=(,:[!&|?{};]\s*|return\s+)\/(?![*/])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[])+\//g;
  for (const match of source.matchAll(token)) {
    const [found] = match;
    const line = source.slice(0, match.index).split('\n').length;
    if (found.startsWith('//')) comments.push({ line, text: found.slice(2).trim() });
    else if (found.startsWith('/*')) comments.push(...blockOf(found, line));
    else if (isText(found))
      strings.push({ line, text: found.slice(1, -1).replaceAll(/\$\{[^}]*\}/g, 'X') });
  }
  return [...joined(comments), ...strings];
}

/** Several lines in one string are a program in another language, such as Lua or C. */
function isText(string: string): boolean {
  return /^['"`]/.test(string) && !string.includes('\n') && string.split(/\s+/).length >= MIN_TEXT_WORDS;
}

function blockOf(comment: string, line: number): Piece[] {
  const lines = comment.replace(/^\/\*+/, '').replace(/\*\/$/, '').split('\n');
  return lines.map((text, index) => ({ line: line + index, text: text.replace(/^\s*\* ?/, '').trimEnd() }));
}

/** Lines that follow each other are one paragraph; an empty or an indented one begins another. */
function joined(pieces: readonly Piece[]): Piece[] {
  const paragraphs: { line: number; last: number; text: string }[] = [];
  for (const { line, text } of pieces) {
    const before = paragraphs.at(-1);
    const follows = before && before.last === line - 1 && text.trim() !== '' && !/^(\s{2,}|@|[-*] )/.test(text);
    if (follows) {
      before.text += ` ${text.trim()}`;
      before.last = line;
    } else {
      paragraphs.push({ line, last: line, text: text.trim() });
    }
  }
  return paragraphs;
}

function split({ line, text }: Piece): Sentence[] {
  const plain = text.replaceAll(/`[^`]*`/g, 'X').replaceAll(/\]\([^)]*\)/g, ']');
  return plain
    .split(/(?<=[.?!:;])\s+(?=["'(A-Za-z[])/)
    .map((sentence) => sentence.trim())
    .filter((sentence) => sentence.split(/\s+/).length >= MIN_WORDS)
    .map((sentence) => ({ line, text: sentence }));
}
