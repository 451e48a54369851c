/** Not an example: a fixture that says markup and script wherever a function can say something. */
const MARKUP =
  '<img src=x onerror="alert(1)" class="injected"><script>alert(2)</script><svg/onload=alert(3)>"\'`javascript:alert(4)';

export const handler = async (event: { readonly fail?: boolean }): Promise<unknown> => {
  console.log(MARKUP);
  console.error(`\u001b[31m${MARKUP}\u001b[0m\u202e`);
  process.stdout.write(`${MARKUP}\n`);
  if (event.fail) {
    const error = new Error(MARKUP);
    error.name = MARKUP;
    throw error;
  }
  return { [MARKUP]: MARKUP };
};
