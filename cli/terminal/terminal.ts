/**
 * Where the command writes. Results go to stdout; progress, notes and errors to stderr, so that a pipe gets results only.
 * With `--json`, stdout carries one JSON document (or JSON lines when something is followed) and nothing else.
 */
import { styleText } from 'node:util';
import { terminalJson } from '#contract/api/text.ts';
import type { CliError } from './errors.ts';
import { defuse } from './text.ts';

export type Style = Parameters<typeof styleText>[0];

export class Terminal {
  readonly json: boolean;

  constructor(json: boolean) {
    this.json = json;
  }

  /** May a person be asked, and can lines be redrawn? */
  get interactive(): boolean {
    return !this.json && process.stdin.isTTY && process.stderr.isTTY;
  }

  /** Columns of the terminal that results go to; a pipe gets a width that fits a report. */
  get width(): number {
    return process.stdout.isTTY ? Math.max(40, process.stdout.columns) : 100;
  }

  /** Text for stdout in a style, or as it is when stdout is not a terminal or NO_COLOR is set. */
  style(format: Style, text: string): string {
    return styleText(format, text, { stream: process.stdout });
  }

  /** The same for stderr. */
  noteStyle(format: Style, text: string): string {
    return styleText(format, text, { stream: process.stderr });
  }

  /** A line of the result for a person; silent with `--json`. */
  print(line = ''): void {
    if (!this.json) process.stdout.write(`${line}\n`);
  }

  /** Bytes of the result as they are. */
  write(bytes: Uint8Array): void {
    process.stdout.write(bytes);
  }

  /** The result for a program; silent without `--json`. */
  document(value: unknown): void {
    if (this.json) process.stdout.write(`${terminalJson(value, 2)}\n`);
  }

  /** One of many results for a program: a JSON line. */
  documentLine(value: unknown): void {
    if (this.json) process.stdout.write(`${terminalJson(value)}\n`);
  }

  /** Something that is not the result: progress, a warning. Silent with `--json`. */
  note(line: string): void {
    if (!this.json) process.stderr.write(`${line}\n`);
  }

  /** Shows an error: its message, its details, and the next command to type, in this order. */
  error(error: CliError): void {
    if (this.json) {
      process.stdout.write(`${terminalJson(error.toBody(), 2)}\n`);
      return;
    }
    const lines = [`${this.noteStyle(['red', 'bold'], 'error:')} ${defuse(error.message)}`];
    for (const line of error.lines) lines.push(line === '' ? '' : `  ${line}`);
    lines.push(`${this.noteStyle('cyan', 'next:')} ${error.next}`);
    process.stderr.write(`${lines.join('\n')}\n`);
  }
}

/** Rows as aligned columns; the last column is not padded. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  return all.map((row) =>
    row
      .map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)))
      .join('  '),
  );
}
