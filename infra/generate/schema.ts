/**
 * Writes the two files that follow from the manifest, `node infra/generate/schema.ts`: contract/offshoot.schema.json, the JSON
 * Schema of offshoot.json for editors, and docs/offshoot-json.md, its reference for people.
 */
import { writeFileSync } from 'node:fs';
import { z } from 'zod';
import { Manifest } from '#contract/functions/manifest.ts';
import { manifestReferenceText } from './manifest-reference.ts';

/** The text of the JSON Schema; a test compares it with the one that is committed. */
export function manifestSchemaText(): string {
  // `input`: fields with a default may be left out.
  const schema = z.toJSONSchema(Manifest, { io: 'input', target: 'draft-7' });
  return `${JSON.stringify({ title: 'offshoot.json', ...schema }, undefined, 2)}\n`;
}

if (import.meta.main) {
  const schema = manifestSchemaText();
  writeFileSync(new URL('../../contract/offshoot.schema.json', import.meta.url), schema);
  writeFileSync(new URL('../../docs/offshoot-json.md', import.meta.url), manifestReferenceText(schema));
}
