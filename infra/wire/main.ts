/**
 * Writes what follows from contract/wire/layouts.ts: `node infra/wire/main.ts`. A further language is one more file beside this one,
 * and a row in `wireFiles`.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { cHeader } from './c.ts';
import { withTables } from './markdown.ts';
import { typescriptModule } from './typescript.ts';

/** The texts of the generated files by their path in the checkout; a test compares them with those that are committed. */
export function wireFiles(): Record<string, string> {
  const protocol = 'docs/runtime-protocol.md';
  return {
    'contract/wire/wire.gen.ts': typescriptModule(),
    'worker/native/protocol.gen.h': cHeader(),
    [protocol]: withTables(readFileSync(pathOf(protocol), 'utf8')),
  };
}

function pathOf(file: string): string {
  return fileURLToPath(new URL(`../../${file}`, import.meta.url));
}

if (import.meta.main) {
  for (const [file, text] of Object.entries(wireFiles())) writeFileSync(pathOf(file), text);
}
