/** What every verb is given: the terminal, and the flags that all verbs share. */
import { Terminal } from './terminal.ts';

/** Flags of every verb. */
export interface GlobalFlags {
  readonly url?: string;
  readonly key?: string;
  readonly namespace?: string;
  readonly json?: boolean;
}

export interface Context {
  readonly terminal: Terminal;
  readonly flags: GlobalFlags;
}

export function makeContext(flags: GlobalFlags): Context {
  return { terminal: new Terminal(flags.json === true), flags };
}
