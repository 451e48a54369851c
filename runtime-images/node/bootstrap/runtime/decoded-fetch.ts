/**
 * Takes the headers `content-encoding` and `content-length` from the answers that `fetch` has decoded. A function that passes
 * such an answer on, or copies its headers, would otherwise announce a compressed body of another length. The copies cannot be
 * recognised later, so the headers leave where the body was decoded.
 */
const DECODED: ReadonlySet<string> = new Set(['gzip', 'x-gzip', 'deflate', 'br', 'zstd']);

/** Answers as fetch made them. Undici cancels the body of an answer that was collected as garbage, so each copy holds its own. */
const originals = new WeakMap<Response, Response>();
/** Bodies of answers that came as they are, with the length that their sender has announced. */
const lengths = new WeakMap<object, string>();

/** Replaces `fetch`. To be called once, before any other code wraps it. */
export function installDecodedFetch(): void {
  const original = globalThis.fetch;
  globalThis.fetch = async function fetch(input, init) {
    return asDecoded(await original(input, init));
  };
}

/** Returns `response`, or a copy without these headers if its body was decoded. */
export function asDecoded(response: Response): Response {
  const { headers, body, status } = response;
  if (!body || status < 200 || status > 599) return response;
  const coding = headers.get('content-encoding');
  if (coding === null || !isDecoded(coding)) {
    const length = headers.get('content-length');
    if (length !== null && coding === null) lengths.set(body, length);
    return response;
  }
  const own = new Headers(headers);
  own.delete('content-encoding');
  own.delete('content-length');
  return dressed(new Response(body, { status, statusText: response.statusText, headers: own }), response);
}

/** Length that the sender of this very stream has announced; undefined for all others. */
export function announcedLength(body: object): string | undefined {
  return lengths.get(body);
}

/** Undici decodes a body only if it knows each of the codings: https://fetch.spec.whatwg.org/#handle-content-codings */
export function isDecoded(codings: string): boolean {
  return codings
    .toLowerCase()
    .split(',')
    .every((coding) => DECODED.has(coding.trim()));
}

/** Gives a copy those properties of the original that a Response of one's own cannot have. */
function dressed(copy: Response, original: Response): Response {
  originals.set(copy, original);
  return Object.defineProperties(copy, {
    url: fixed(original.url),
    redirected: fixed(original.redirected),
    type: fixed(original.type),
    clone: fixed(() => dressed(Response.prototype.clone.call(copy), original)),
  });
}

function fixed(value: unknown): PropertyDescriptor {
  return { value, configurable: true };
}
