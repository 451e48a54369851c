/**
 * The runtimes, and all that the platform must know of each: this table, and no other list. A runtime is one version of a language,
 * with an image of its name. docs/runtime-protocol.md says what a language has to bring. No schema library here: `offshoot doctor`
 * runs before the set-up.
 */

/** One language. */
export interface RuntimeKind {
  /** Name for people. */
  readonly title: string;
  /** Program and arguments of the zygote, inside the image. The image names them to the worker, in its image.json. */
  readonly program: readonly [path: string, ...arguments: string[]];
  /** Files of worker/native/build/runtimes that the image contains. */
  readonly native: readonly string[];
  /** Module of a function. `source`: its usual path in the function's folder. `built`: its path in the archive. */
  readonly entry: { readonly source: string; readonly built: string };
  /** Next steps of two outcomes, in the words of the language. */
  readonly next: { readonly badResponse: string; readonly exited: string };
  /** Matches the error of a function whose thread has reached its memory limit. */
  readonly threadExhausted: RegExp;
  /** Matches the error of a function to which the kernel refused a process or a thread. */
  readonly refusedProcess: RegExp;
}

export const RUNTIME_KINDS = {
  node: {
    title: 'Node',
    // Without concurrent threads, it has nothing in flight while it waits; the inspector's signal stays off. The heap may grow to
    // the largest `memory` of a function, because a sandbox can only lower it (worker/native/runtime/node/heap.c). A larger young
    // generation than three times 16 MB made no function quicker that we measured.
    program: [
      '/usr/bin/node',
      '--single-threaded',
      '--v8-pool-size=1',
      '--max-old-space-size=32768',
      '--max-semi-space-size=16',
      '--disable-sigusr1',
      '--no-warnings',
      '/opt/offshoot/bootstrap.cjs',
    ],
    native: ['zygote.node'],
    entry: { source: 'src/index.ts', built: 'index.mjs' },
    next: {
      badResponse:
        'return a Response from fetch(), or a JSON value or {statusCode, headers, body} from handler()',
      exited: 'do not call process.exit() in a function; return a response instead',
    },
    threadExhausted: /ERR_WORKER_OUT_OF_MEMORY/,
    // Messages of Node and libuv.
    refusedProcess: /EAGAIN|ERR_WORKER_INIT_FAILED|Resource temporarily unavailable/,
  },
} as const satisfies Record<string, RuntimeKind>;
export type Language = keyof typeof RUNTIME_KINDS;

/** Language of each runtime that a function can choose, the default first. */
const LANGUAGES = {
  node26: 'node',
  node24: 'node',
} as const satisfies Record<string, Language>;
export type Runtime = keyof typeof LANGUAGES;

export const RUNTIMES = Object.keys(LANGUAGES) as [Runtime, ...Runtime[]];

/** Runtime of a function whose manifest names none. */
export const DEFAULT_RUNTIME = RUNTIMES[0];

export function languageOf(runtime: Runtime): Language {
  return LANGUAGES[runtime];
}

export function kindOf(runtime: Runtime): RuntimeKind {
  return RUNTIME_KINDS[languageOf(runtime)];
}

/** A next step for a reader whose function may be in any of the languages. */
export function inEachLanguage(step: keyof RuntimeKind['next']): string {
  const kinds: readonly RuntimeKind[] = Object.values(RUNTIME_KINDS);
  return kinds
    .map(({ title, next }) => (kinds.length === 1 ? next[step] : `in ${title}: ${next[step]}`))
    .join('; ');
}

/** Version of Node's binary interface (`process.versions.modules`) in each image: addons without N-API are built for one. */
export const RUNTIME_ABIS: Readonly<Record<(typeof RUNTIMES)[number], number>> = { node26: 147, node24: 137 };
