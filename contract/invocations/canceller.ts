/** Names the canceller of an invocation or batch. The record keeps it; API, CLI, dashboard and `offshoot why` show it. */

/** Each ends a sentence: "It was cancelled …". `KEY` stands for the id of the API key. */
export const CANCELLERS = {
  caller: 'by its caller, who closed the connection',
  key: 'by the API key KEY',
  batch: 'with its batch, by the API key KEY',
  shutdown: 'by the stop of the gateway that waited for it',
} as const satisfies Readonly<Record<string, string>>;

/** Says to a person who it was: "by the API key ab12". */
export function cancelledText({
  by,
  key = '',
}: {
  by: keyof typeof CANCELLERS;
  key?: string | undefined;
}): string {
  return CANCELLERS[by].replace('KEY', key).trimEnd();
}
