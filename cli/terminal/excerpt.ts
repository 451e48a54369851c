/** Shows a place in a source file: the line that is meant, one before and after it, and a caret under the column. */

export interface Position {
  /** From 1. */
  readonly line: number;
  /** From 1. */
  readonly column: number;
}

/** Lines of the excerpt; empty when the source has no such line. */
export function excerpt(source: string, position: Position): string[] {
  const lines = source.split(/\r?\n/);
  if (position.line < 1 || position.line > lines.length) return [];
  const first = Math.max(1, position.line - 1);
  const last = Math.min(lines.length, position.line + 1);
  const gutter = String(last).length;
  const shown: string[] = [];
  for (let number = first; number <= last; number++) {
    const text = (lines[number - 1] ?? '').replaceAll('\t', '  ');
    const mark = number === position.line ? '>' : ' ';
    shown.push(`${mark} ${String(number).padStart(gutter)} | ${text}`.trimEnd());
    if (number === position.line) {
      const before = (lines[number - 1] ?? '').slice(0, position.column - 1).replaceAll('\t', '  ');
      shown.push(`  ${' '.repeat(gutter)} | ${' '.repeat(before.length)}^`);
    }
  }
  return shown;
}
