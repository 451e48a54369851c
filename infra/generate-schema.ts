/** Writes offshoot.schema.json, the JSON Schema of offshoot.json for editors: `node infra/generate-schema.ts`. */
import { writeFileSync } from 'node:fs';
import { z } from 'zod';
import { Manifest } from '#contract/functions/manifest.ts';

/** The text of the file; a test compares it with the committed one. */
export function manifestSchemaText(): string {
  // `input`: fields with a default may be left out.
  const schema = z.toJSONSchema(Manifest, { io: 'input', target: 'draft-7' });
  return `${JSON.stringify({ title: 'offshoot.json', ...schema }, undefined, 2)}\n`;
}

if (import.meta.main)
  writeFileSync(new URL('../contract/offshoot.schema.json', import.meta.url), manifestSchemaText());
