/** Fails while the module is being loaded, in a file other than the entry: the test expects line 8 to be shown. */
interface Settings {
  readonly url: string;
}

export function readSettings(text: string | undefined): Settings {
  console.log('reading settings');
  if (text === undefined) throw new Error('the variable SETTINGS is not set');
  return { url: text };
}
