/** JSX of a source whose tsconfig.json does not say how it is compiled, or leaves it to another tool. */
import path from 'node:path';
import type { Program } from 'oxc-parser';
import { findPackage } from '../packages/packages.ts';
import { declaredNames, walk } from '../reading/syntax.ts';
import type { CompilerOptions } from './tsconfig.ts';

/** Packages that bring a JSX runtime, and the name to import it by, the first that is installed. */
const RUNTIMES: readonly (readonly [name: string, source: string])[] = [
  ['react', 'react'],
  ['preact', 'preact'],
  ['hono', 'hono/jsx'],
  ['vue', 'vue'],
  ['@kitajs/html', '@kitajs/html'],
];

export interface JsxProblem {
  /** Offset of the first element. */
  readonly at: number;
  readonly text: string;
  readonly next: string;
}

/**
 * The comment to put before a source, for esbuild; undefined where nothing is needed. A problem where the result would not
 * run.
 */
export function jsxPragma(
  file: string,
  text: string,
  program: Program,
  options: CompilerOptions,
): string | JsxProblem | undefined {
  const at = firstElement(program);
  if (at === undefined || /@jsxRuntime\s/.test(text)) return undefined;
  // As TypeScript has it, a source that names its runtime is compiled for it.
  if (/@jsxImportSource\s/.test(text)) return '/** @jsxRuntime automatic */';
  const mode = options.jsx?.toLowerCase();
  const hasReact =
    declaredNames(program).has('React') || /@jsx\s/.test(text) || options.jsxFactory !== undefined;
  if (mode === 'react') {
    if (hasReact || options.reactNamespace !== undefined) return undefined;
    const next = 'set "jsx" in tsconfig.json to "react-jsx", or import React, then: offshoot deploy';
    return { at, text: '"jsx" in tsconfig.json is "react", and there is no React in this file', next };
  }
  if (mode !== undefined && mode !== 'preserve') return undefined;
  const wanted = options.jsxImportSource;
  if (wanted !== undefined) return `/** @jsxRuntime automatic @jsxImportSource ${wanted} */`;
  if (hasReact) return '/** @jsxRuntime classic */';
  for (const [name, source] of RUNTIMES) {
    if (findPackage(name, path.dirname(file)))
      return `/** @jsxRuntime automatic @jsxImportSource ${source} */`;
  }
  const next =
    'set "jsx" to "react-jsx" and "jsxImportSource" to your library in tsconfig.json, then: offshoot deploy';
  return { at, text: 'no library for JSX is installed, and tsconfig.json names none', next };
}

function firstElement(program: Program): number | undefined {
  let at: number | undefined;
  walk(program, (node) => {
    if (node.type === 'JSXElement' || node.type === 'JSXFragment') at ??= node.start;
  });
  return at;
}
