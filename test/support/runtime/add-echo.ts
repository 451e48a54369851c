/**
 * Loaded before a process of the platform (`node --import`): adds the runtime `echo` to the two tables in which CONTRIBUTING.md has a
 * new runtime added, as an edit of their source would.
 */
import { registerHooks } from 'node:module';

const BUILDER = new URL('echo-builder.ts', import.meta.url).href;

/** End of the module's path → text, and the text in its place. */
const EDITS: Readonly<Record<string, readonly [string, string][]>> = {
  '/contract/functions/runtimes.ts': [
    [
      'export const RUNTIME_KINDS = {',
      `export const RUNTIME_KINDS = {
        echo: {
          title: 'Echo',
          program: ['/opt/offshoot/echo'],
          native: [],
          entry: { source: 'echo.txt', built: 'echo.txt' },
          next: { badResponse: 'answer with an echo', exited: 'do not end the echo' },
          refusedProcess: /no process/,
        },`,
    ],
    // Behind the others, since the first is the default.
    ["  node24: 'node',\n", "  node24: 'node',\n  echo: 'echo',\n"],
  ],
  '/cli/bundle/builder.ts': [
    ['BuilderKind>> = {', `BuilderKind>> = {\n  echo: (await import('${BUILDER}')).echo,`],
  ],
};

registerHooks({
  load(url, context, nextLoad) {
    const loaded = nextLoad(url, context);
    const edits = Object.entries(EDITS).find(([path]) => url.endsWith(path))?.[1];
    if (!edits) return loaded;
    let source = Buffer.from(loaded.source as Uint8Array).toString('utf8');
    for (const [old, fresh] of edits) {
      const parts = source.split(old);
      if (parts.length !== 2) throw new Error(`${url} has "${old}" ${parts.length - 1} times, not once`);
      source = parts.join(fresh);
    }
    return { ...loaded, source };
  },
});
