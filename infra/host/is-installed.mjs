// Exits 0 when node_modules holds the packages of package-lock.json, by npm's own record of its installation.
// Plain JavaScript: it runs on any Node that the machine has, before the pinned one is there.
import { readFileSync } from 'node:fs';

function packages(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8')).packages;
  } catch {
    return {};
  }
}

const wanted = packages('package-lock.json');
const present = packages('node_modules/.package-lock.json');
const missing = Object.entries(wanted).filter(([path, entry]) => {
  const found = present[path];
  // Optional packages are for other processors and systems when they are absent.
  if (found === undefined) return path !== '' && entry.optional !== true;
  return found.version !== entry.version || found.integrity !== entry.integrity;
});
process.exitCode = missing.length === 0 && Object.keys(wanted).length > 0 ? 0 : 1;
