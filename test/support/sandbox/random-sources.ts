/** The sources of randomness of a sandbox. Forks of one runtime would share them without care. */
import type { SandboxBench } from './sandbox-bench.ts';

const FUNCTION = `
import { createECDH, getRandomValues, randomBytes, randomUUID } from 'node:crypto';
import { mkdtempSync } from 'node:fs';
const values = {
  'Math.random': () => String(Math.random()),
  'crypto.randomUUID': () => randomUUID(),
  'crypto.randomBytes': () => randomBytes(16).toString('hex'),
  'crypto.getRandomValues': () => Buffer.from(getRandomValues(new Uint8Array(16))).toString('hex'),
  'keys of OpenSSL': () => createECDH('prime256v1').generateKeys('hex'),
  'names of temporary directories': () => mkdtempSync('/tmp/x'),
};
export default { fetch: () => Response.json(Object.entries(values).map(([name, draw]) => [name, draw()])) };`;
export const RANDOM_SOURCES = 6;

/** Starts `rounds` sandboxes one after another; returns the number of different values of each source. */
export async function distinctValues(bench: SandboxBench, rounds: number): Promise<Map<string, number>> {
  const code = await bench.addCode(FUNCTION);
  const seen = new Map<string, Set<string>>();
  for (let round = 0; round < rounds; round++) {
    const one = await bench.start(code);
    const { status, text } = await one.call();
    if (status !== 200) throw new Error(`round ${round}: status ${status}`);
    for (const [name, value] of JSON.parse(text) as [string, string][]) {
      const values = seen.get(name) ?? new Set();
      seen.set(name, values.add(value));
    }
    await one.end();
  }
  return new Map([...seen].map(([name, values]) => [name, values.size]));
}
