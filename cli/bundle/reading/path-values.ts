/** Values of path expressions, as far as they are known before the run, and how they are put together. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import type { Node } from 'oxc-parser';

export interface StaticValue {
  /** `path` and `url` stand for an absolute path on disk; `text` is a string without a place of its own. */
  readonly kind: 'path' | 'url' | 'text';
  readonly text: string;
  /** More follows that only the run knows: `text` is the beginning. */
  readonly open?: boolean;
  /** Is it the place of the source or of the working directory itself, without a step from there? */
  readonly base?: boolean;
  /** The string literal that ends it. */
  readonly tail?: Node;
}

/** A part of a path that something replaces at run time: `{{lng}}`, `*`, `[name]`, `%s`, `:id`. */
const REPLACED = /[*{[%<$]|^:/;

/** As `path.join` does, up to the first part that is not known. */
export function joined(values: readonly (StaticValue | undefined)[]): StaticValue | undefined {
  const [first, ...others] = values;
  if (!first) return undefined;
  let { text } = first;
  let tail: Node | undefined;
  let base = first.base === true;
  for (const value of others) {
    if (value?.kind !== 'text') return { kind: first.kind, text: `${text}${path.sep}`, open: true, base };
    // A step up alone leads to another base.
    base &&= /^[./]*$/.test(value.text);
    text = path.join(text, value.text);
    ({ tail } = value);
    if (value.open) return { kind: first.kind, text, open: true, base };
  }
  return closed({ kind: first.kind, text, base, ...(tail && { tail }) });
}

/** As `+` and templates do, up to the first piece that is not known. */
export function concatenated(
  pieces: readonly (StaticValue | undefined)[],
  whole?: Node,
): StaticValue | undefined {
  let text = '';
  let kind: StaticValue['kind'] = 'text';
  let base = false;
  let tail = whole;
  for (const [at, piece] of pieces.entries()) {
    if (!piece || (piece.kind !== 'text' && text !== '')) {
      return at === 0 || text === ''
        ? undefined
        : { kind, text: kind === 'text' ? text : path.normalize(text), open: true, base };
    }
    if (piece.kind !== 'text') ({ kind } = piece);
    base = piece.kind === 'text' ? base && /^[./]*$/.test(piece.text) : piece.base === true;
    text += piece.text;
    tail = piece.tail ?? tail;
    if (piece.open) return { kind, text, open: true, base };
  }
  if (kind === 'text') return { kind, text, ...(tail && { tail }) };
  return closed({ kind, text: path.normalize(text), base, ...(tail && { tail }) });
}

/** A value whose text has parts to be replaced is open from the first of them on. */
function closed(value: StaticValue): StaticValue {
  if (value.kind === 'text' || existsSync(value.text)) return value;
  const parts = value.text.split(path.sep);
  const at = parts.findIndex((part) => REPLACED.test(part));
  if (at < 0) return value;
  return {
    kind: value.kind,
    text: `${parts.slice(0, at).join(path.sep)}${path.sep}`,
    open: true,
    base: value.base === true,
  };
}
