/** Builds functions of the runtime `echo`: its one file goes into the archive as it is. */
import { readFile } from 'node:fs/promises';
import type { BuilderKind } from '../../../cli/bundle/terms/build.ts';

const FILE = 'echo.txt';

export const echo: BuilderKind = {
  requireReady: () => undefined,
  open: async ({ entry }) => ({
    run: async () => ({
      files: new Map([[FILE, await readFile(entry)]]),
      entryFile: FILE,
      sources: new Map([[FILE, entry]]),
      warnings: [['echo.txt: an echo has no code']],
      copies: new Map(),
      packages: [],
    }),
    dispose: async () => undefined,
  }),
  framesOf: () => [],
};
