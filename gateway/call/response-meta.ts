/**
 * Checks status and headers of a function's response. They come from tenant code and must not break the HTTP of the gateway:
 * no header may smuggle in another, and no length may disagree with the body. Written by hand and not with zod, because it
 * runs for each call.
 */
import { INVOCATION_HEADER, OUTCOME_HEADER } from '#contract/api/headers.ts';
import { MAX_RESPONSE_META_BYTES } from '#contract/functions/limits.ts';
import { decodePayload } from '#contract/wire/payload.ts';
import { connectionHeaders, HOP_BY_HOP } from './request.ts';

const MAX_HEADERS = 256;
const MAX_HEADER_BYTES = 64 * 1024;

/** https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2 */
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** https://www.rfc-editor.org/rfc/rfc9110#section-5.5, obs-text included. */
// oxlint-disable-next-line no-control-regex -- it looks for control characters, of which only the tab is legal
const ILLEGAL_VALUE = /[^\t\x20-\x7e\x80-\xff]/;

/** Headers of the response that only the platform sets, or that would reach past the function's own paths. */
const OWN: ReadonlySet<string> = new Set([
  'content-length',
  INVOCATION_HEADER,
  OUTCOME_HEADER,
  // With it a page of a function could open the dashboard, which has the same origin, and read it; see dashboard/sessions.ts.
  'cross-origin-opener-policy',
  // With it a function's service worker could stand in for the dashboard, or for another function.
  'service-worker-allowed',
]);

export interface CheckedResponse {
  readonly status: number;
  /** Name, value, name, value: the form in which node:http writes repeated headers as they are. */
  readonly headers: string[];
  /** The length of the body that the function announced, if that is a number. */
  readonly contentLength: number | undefined;
  readonly body: Buffer;
}

/** The response in a payload, or the reason why it is invalid. */
export function checkResponse(payload: Buffer): CheckedResponse | { readonly problem: string } {
  if (payload.length < 4 || payload.readUInt32LE(0) > MAX_RESPONSE_META_BYTES) {
    return { problem: `status and headers of the response take more than ${MAX_RESPONSE_META_BYTES} bytes` };
  }
  let meta: unknown;
  let body: Buffer;
  try {
    ({ meta, body } = decodePayload(payload));
  } catch {
    return { problem: 'the response could not be read' };
  }
  if (!isObject(meta)) return { problem: 'the response has no status' };
  const { status, headers: given } = meta;
  if (typeof status !== 'number' || !Number.isInteger(status) || status < 200 || status > 599) {
    return {
      problem: `the status of the response is ${JSON.stringify(status)}; it must be a number from 200 to 599`,
    };
  }
  if (!Array.isArray(given) || given.length > MAX_HEADERS) {
    return { problem: `the response has more than ${MAX_HEADERS} headers` };
  }
  const checked = checkHeaders(given);
  if (typeof checked === 'string') return { problem: checked };
  return { status, body, ...checked };
}

/** The headers in node:http's flat form, or the reason why they are refused. */
function checkHeaders(
  given: readonly unknown[],
): Pick<CheckedResponse, 'headers' | 'contentLength'> | string {
  const headers: string[] = [];
  let contentLength: number | undefined;
  let ofConnection: Set<string> | undefined;
  let bytes = 0;
  for (const pair of given) {
    if (!Array.isArray(pair)) return 'a header of the response is not a pair of name and value';
    const name: unknown = pair[0];
    const value: unknown = pair[1];
    if (typeof name !== 'string' || typeof value !== 'string' || !TOKEN.test(name)) {
      return `the response has a header with an illegal name: ${shown(name)}`;
    }
    if (ILLEGAL_VALUE.test(value))
      return `the header ${shown(name)} of the response has an illegal character`;
    bytes += name.length + value.length;
    if (bytes > MAX_HEADER_BYTES)
      return `the headers of the response take more than ${MAX_HEADER_BYTES} bytes`;
    const lower = name.toLowerCase();
    if (lower === 'content-length') contentLength = /^\d{1,15}$/.test(value) ? Number(value) : undefined;
    else if (lower === 'connection') ofConnection = connectionHeaders(value.toLowerCase());
    if (HOP_BY_HOP.has(lower) || OWN.has(lower)) continue;
    headers.push(name, value);
  }
  return { headers: ofConnection ? without(headers, ofConnection) : headers, contentLength };
}

function without(headers: readonly string[], names: ReadonlySet<string>): string[] {
  const kept: string[] = [];
  for (let index = 0; index < headers.length; index += 2) {
    const name = headers[index] ?? '';
    if (!names.has(name.toLowerCase())) kept.push(name, headers[index + 1] ?? '');
  }
  return kept;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function shown(value: unknown): string {
  return (JSON.stringify(value) ?? 'undefined').slice(0, 80);
}
