/**
 * The catalogues (errors.ts, outcome.ts) say `ID` where a command takes the id of an invocation or batch. Fills it in; without an id
 * the word stays.
 */
export function nextWith(next: string, id: string | undefined): string {
  return id === undefined ? next : next.replaceAll(/\bID\b/g, id);
}
