/**
 * Runs a function from its source by plain Node. The arguments are the path of its module, the path of the request, and the file
 * that gets `{ status, text }` as JSON.
 */
import { writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const [entry, path, output] = process.argv.slice(2);
const loaded = await import(pathToFileURL(entry).href);
// A CommonJS module has its exports below `default`.
const shape = [loaded.default, loaded.default?.default, loaded].find(
  (one) => typeof one?.fetch === 'function',
);
const response = await shape.fetch(new Request(`http://test${path}`), process.env, {
  waitUntil: () => undefined,
});
writeFileSync(output, JSON.stringify({ status: response.status, text: await response.text() }));
process.exit(0);
