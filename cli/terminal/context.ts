/** The surroundings of every verb: the terminal, the options that all verbs share, and the help of other verbs. */
import type { Terminal } from './terminal.ts';

/** Options of every verb. */
export interface GlobalFlags {
  readonly url?: string | undefined;
  readonly key?: string | undefined;
  readonly namespace?: string | undefined;
  readonly json?: boolean | undefined;
}

export interface Context {
  readonly terminal: Terminal;
  readonly flags: GlobalFlags;
  /** Shows the help of the verb that the words name, or that of the program. */
  readonly help: (words: readonly string[]) => void;
}
