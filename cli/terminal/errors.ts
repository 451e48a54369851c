/**
 * How the command fails: one class of error, with the exit code that a script sees and the command that a person types
 * next. The codes are part of the interface; `offshoot help exit-codes` prints them from this table.
 */
import type { ErrorBody } from '#contract/api/errors.ts';

export const EXIT_CODES = {
  ok: { code: 0, meaning: 'done' },
  failed: { code: 1, meaning: 'the command failed: the server refused it, or the function failed' },
  usage: {
    code: 2,
    meaning: 'wrong usage or configuration: a bad flag, a bad offshoot.json, a bundle error',
  },
  unreachable: { code: 3, meaning: 'no gateway answers at the URL' },
  forbidden: { code: 4, meaning: 'not signed in, or the key does not carry the right' },
  answered: { code: 5, meaning: 'the function answered with a status of 400 or more' },
  interrupted: { code: 130, meaning: 'ended by Ctrl-C' },
} as const;
export type ExitKind = keyof typeof EXIT_CODES;

export interface CliErrorOptions {
  /** The command to type next; always the last line that is shown. */
  readonly next: string;
  /** Stable identifier for programs; the server's own code when it came from there. */
  readonly code?: string | undefined;
  /** Lines shown between message and next: an excerpt, a list of problems. */
  readonly lines?: readonly string[] | undefined;
  /** For `--json`, as the server or the bundler gave it. */
  readonly details?: Record<string, unknown> | undefined;
  readonly cause?: unknown;
}

/** An error that a person can act on. Anything else that reaches cli/main.ts is a bug and is shown with its stack. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly kind: ExitKind;
  readonly code: string;
  readonly next: string;
  readonly lines: readonly string[];
  readonly details: Record<string, unknown> | undefined;

  constructor(kind: ExitKind, message: string, options: CliErrorOptions) {
    super(message, { cause: options.cause });
    this.kind = kind;
    this.code = options.code ?? kind;
    this.next = options.next;
    this.lines = options.lines ?? [];
    this.details = options.details;
  }

  get exitCode(): number {
    return EXIT_CODES[this.kind].code;
  }

  /** The form that `--json` prints: the same that the API answers. */
  toBody(): ErrorBody {
    const { code, message, next, details } = this;
    return { error: { code, message, next, ...(details && { details }) } };
  }
}

/** The message of a caught value, of any type. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
