/** Shows warnings of the process, such as deprecations and leaks of listeners, as Node does. The zygote itself runs without. */

interface Warning extends Error {
  readonly code?: string;
  readonly detail?: string;
}

/** Adds the listener that a process of Node has. Like that one, a function may remove it. */
export function showWarnings(): void {
  process.on('warning', (warning: Warning) => {
    if (warning.name === 'DeprecationWarning' && process.noDeprecation === true) return;
    const code = typeof warning.code === 'string' ? `[${warning.code}] ` : '';
    const detail = typeof warning.detail === 'string' ? `\n${warning.detail}` : '';
    console.warn(`(node:${process.pid}) ${code}${headOf(warning)}${detail}`);
  });
}

/** First line of the stack and the place in the function's code that has caused the warning. */
function headOf(warning: Warning): string {
  const [own] = /\n {4}at (?!node:|.*\(node:).*/.exec(String(warning.stack)) ?? [''];
  return `${String(warning)}${own}`;
}
