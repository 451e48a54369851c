/**
 * The global of `@opentelemetry/api`, by which a function's OpenTelemetry SDK takes the place of the platform's implementation.
 *
 * All copies of the API share one object under a well-known symbol. A copy refuses to register where the object holds something
 * already, or has not exactly the copy's own version. So the symbol is an accessor here: a registration sees only the function's
 * own object and makes it where there is none. Other readers see the platform's parts wherever the function has none of its own.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** Accepted by each 1.x version of the API, which requires a minor version at least as high as its own. */
const API_VERSION = '1.99.0';
const API_KEY = Symbol.for('opentelemetry.js.api.1');

const PARTS = ['trace', 'context', 'propagation'] as const;
export type Part = (typeof PARTS)[number];

/** Number of characters before a read of the global that show whether its value is stored at once. */
const LOOK_BACK = 80;

/** The object that a copy of the API has made to register in; undefined while the function has registered nothing. */
let own: Record<PropertyKey, unknown> | undefined;

/** Places of code that read the global, with the answer of isRegistration(). */
const places = new Map<string, boolean>();

/** Returns what the function has registered for a part of the API. */
export function ownPart(part: Part): unknown {
  return own?.[part];
}

/** Makes the platform's implementation known to all copies of the API. */
export function installApi(platform: Readonly<Record<Part, unknown>>): void {
  const parts: Record<PropertyKey, unknown> = { version: API_VERSION, ...platform };
  const merged = new Proxy(parts, {
    get: (_, key) => (key === 'version' ? undefined : own?.[key]) ?? parts[key],
    // trace.disable() and the like; the platform's part is in force again.
    deleteProperty: (_, key) => own === undefined || Reflect.deleteProperty(own, key),
  });
  const read = (): unknown => {
    // Nothing of the platform's would be seen, so it does not matter who reads.
    if (own && PARTS.every((part) => own?.[part] !== undefined)) return own;
    return isRegistration(callerOf(read)) ? own : merged;
  };
  const write = (value: unknown): void => {
    if (value === merged) return warn();
    own = typeof value === 'object' && value !== null ? (value as Record<PropertyKey, unknown>) : undefined;
  };
  Object.defineProperty(globalThis, API_KEY, { get: read, set: write, configurable: true });
}

/** Leaves the global to the function alone. */
export function removeApi(): void {
  Reflect.deleteProperty(globalThis, API_KEY);
}

/** Returns the call site of the function that called `callee`. */
function callerOf(callee: () => unknown): NodeJS.CallSite | undefined {
  const { stackTraceLimit } = Error;
  const prepare: unknown = Reflect.get(Error, 'prepareStackTrace');
  try {
    Error.prepareStackTrace = (_, sites) => sites;
    Error.stackTraceLimit = 1;
    const holder: { stack?: NodeJS.CallSite[] } = {};
    Error.captureStackTrace(holder, callee);
    return holder.stack?.[0];
  } catch {
    // The function has frozen Error.
    return undefined;
  } finally {
    Reflect.set(Error, 'prepareStackTrace', prepare);
    Reflect.set(Error, 'stackTraceLimit', stackTraceLimit);
  }
}

/**
 * Does this place read the global in order to register? Its function tells by its name. A minifier renames that, but keeps the
 * form: only a registration stores the value that it has read in the global again.
 */
function isRegistration(site: NodeJS.CallSite | undefined): boolean {
  if (!site) return false;
  const name = site.getFunctionName() ?? '';
  if (/^registerGlobal\d*$/.test(name)) return true;
  if (/^(unregister|get)Global\d*$/.test(name)) return false;
  const place = `${site.getFileName()}:${site.getLineNumber()}:${site.getColumnNumber()}`;
  let known = places.get(place);
  if (known === undefined) places.set(place, (known = storesAgain(site)));
  return known;
}

function storesAgain(site: NodeJS.CallSite): boolean {
  try {
    const file = site.getFileName() ?? '';
    const text = readFileSync(file.startsWith('file:') ? fileURLToPath(file) : file, 'utf8');
    const line = text.split('\n', site.getLineNumber() ?? 0).at(-1) ?? '';
    const column = (site.getColumnNumber() ?? 1) - 1;
    // The position is the bracket or the name before it. So take off the name, to see what it is assigned to.
    const before = line.slice(Math.max(0, column - LOOK_BACK), column).replace(/[\w$.]*$/, '');
    return /\]\s*=\s*\(*\s*(?:[\w$]+\s*=\s*)?$/.test(before);
  } catch {
    return false;
  }
}

function warn(): void {
  console.warn(
    'OpenTelemetry: the SDK of this function could not register beside the platform\'s. Set "tracing": false in offshoot.json.',
  );
}
