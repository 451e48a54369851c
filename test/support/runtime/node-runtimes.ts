import { languageOf, RUNTIMES } from '#contract/functions/runtimes.ts';

/** The runtimes whose functions are JavaScript. */
export const NODE_RUNTIMES = RUNTIMES.filter((name) => languageOf(name) === 'node');
