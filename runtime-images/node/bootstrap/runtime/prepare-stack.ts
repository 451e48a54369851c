/**
 * Formats each stack that code looks at: with positions in the source, and without the frames of the platform. V8 calls this when
 * `stack` is read for the first time, so an error whose stack is never read costs nothing.
 */
import { mapPositions } from './source-positions.ts';

const PLATFORM = '/opt/offshoot/';

/** Installs the format; a function may replace it by its own, as in Node. */
export function prepareStacks(): void {
  // Node's own format, which also knows the codes of its own errors.
  const format = Error.prepareStackTrace?.bind(Error);
  if (!format) throw new Error('Node has no format of stacks');
  Error.prepareStackTrace = (error, sites) => mapPositions(String(format(error, ownSites(sites))));
}

/** Leaves out the platform's frames, and those of Node below them: they called the platform and not the function. */
function ownSites(sites: NodeJS.CallSite[]): NodeJS.CallSite[] {
  const files = sites.map((site) => site.getFileName() ?? '');
  if (!files.some((file) => file.startsWith(PLATFORM))) return sites;
  const lastOwn = files.findLastIndex(
    (file) => file !== '' && !file.startsWith('node:') && !file.startsWith(PLATFORM),
  );
  const end = files.findIndex((file, at) => at > lastOwn && file.startsWith(PLATFORM));
  return sites.filter((_, at) => (end === -1 || at < end) && !files[at]?.startsWith(PLATFORM));
}
