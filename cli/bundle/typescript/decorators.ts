/** Metadata of decorators, which needs types: the author's own compiler writes it, since the bundler reads none. */
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Program } from 'oxc-parser';
import { findPackage } from '../packages/packages.ts';
import { walk } from '../reading/syntax.ts';
import type { CompilerOptions } from './tsconfig.ts';

/** The parts of TypeScript's API that are used. Version 7 has none of them. */
interface TypeScript {
  readonly version: string;
  readonly transpileModule?: (
    text: string,
    options: { compilerOptions: object; fileName: string },
  ) => { outputText: string; sourceMapText?: string };
  readonly convertCompilerOptionsFromJson?: (options: object, base: string) => { options: object };
}

/** The part of swc's API that is used. */
interface Swc {
  readonly transformSync: (text: string, options: object) => { code: string; map?: string };
}

export interface Compiled {
  readonly code: string;
  /** Source map, as JSON. */
  readonly map: string | undefined;
}

/** Offset of the first decorator of a source that wants metadata; undefined where there is none. */
export function wantsMetadata(program: Program, options: CompilerOptions): number | undefined {
  if (options.emitDecoratorMetadata !== true) return undefined;
  let at: number | undefined;
  walk(program, (node) => {
    if (node.type === 'Decorator') at ??= node.start;
  });
  return at;
}

/** Compiles by the TypeScript or swc that is installed beside the source; undefined where neither is. JSX is kept. */
export function withMetadata(text: string, file: string, options: CompilerOptions): Compiled | undefined {
  const typescript = load('typescript', file) as TypeScript | undefined;
  if (typescript?.transpileModule && typescript.convertCompilerOptionsFromJson) {
    const wanted = {
      ...options,
      // The bundler brings modules, targets and JSX into the form that is needed.
      module: 'esnext',
      moduleResolution: 'bundler',
      target: 'es2022',
      jsx: 'preserve',
      sourceMap: true,
      inlineSourceMap: false,
      inlineSources: false,
      isolatedModules: true,
      declaration: false,
      composite: false,
      incremental: false,
      noEmit: false,
      emitDeclarationOnly: false,
      importHelpers: false,
      useDefineForClassFields: definesFields(options),
    };
    const { options: compilerOptions } = typescript.convertCompilerOptionsFromJson(
      wanted,
      path.dirname(file),
    );
    const { outputText, sourceMapText } = typescript.transpileModule(text, {
      compilerOptions,
      fileName: file,
    });
    return { code: withoutMapComment(outputText), map: sourceMapText };
  }
  const swc = load('@swc/core', file) as Swc | undefined;
  if (!swc) return undefined;
  const tsx = file.endsWith('x');
  const { code, map } = swc.transformSync(text, {
    filename: file,
    swcrc: false,
    configFile: false,
    sourceMaps: true,
    jsc: {
      parser: { syntax: 'typescript', decorators: true, tsx },
      transform: {
        legacyDecorator: true,
        decoratorMetadata: true,
        useDefineForClassFields: definesFields(options),
        react: { runtime: 'preserve' },
      },
      target: 'es2022',
      keepClassNames: true,
    },
  });
  return { code, map };
}

/** Says which compiler is installed and cannot do it. */
export function compilerNote(file: string): string {
  const typescript = findPackage('typescript', path.dirname(file));
  return typescript === undefined
    ? 'neither typescript nor @swc/core is installed'
    : `typescript ${typescript.version} cannot be used for it, and @swc/core is not installed`;
}

/** TypeScript's default follows the target: fields are defined from ES2022 on. */
function definesFields({ useDefineForClassFields, target }: CompilerOptions): boolean {
  return useDefineForClassFields ?? /^es(?:next|20(?:2[2-9]|[3-9]\d))$/i.test(target ?? '');
}

function load(name: string, file: string): unknown {
  if (!findPackage(name, path.dirname(file))) return undefined;
  return createRequire(pathToFileURL(file))(name);
}

function withoutMapComment(code: string): string {
  return code.replace(/\n?\/\/# sourceMappingURL=.*\s*$/, '\n');
}
