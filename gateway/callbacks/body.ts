/** Writes the body of a delivery (contract/invocations/callback.ts), from the record and the result of an invocation. */
import { isUtf8 } from 'node:buffer';
import { MAX_INLINE_RESULT_BYTES, type CallbackBody } from '#contract/invocations/callback.ts';
import { whyNotJson } from '#contract/api/json-scanner.ts';
import type { InvocationRecord } from '#contract/invocations/invocation.ts';
import { checkResponse } from '../call/response-meta.ts';

/** Size above which the body of a payload is too large to be sent along, even with the longest headers. */
export const ALWAYS_LARGE_BYTES = MAX_INLINE_RESULT_BYTES + 512 * 1024;

/** `payload`: the stored response of the function, or `large` if it is stored but too large to be sent along. */
export function callbackBody(record: InvocationRecord, payload: Buffer | 'large' | undefined): Buffer {
  const {
    id,
    namespace,
    name,
    version,
    outcome,
    cancelledBy,
    status,
    duration,
    attempts = [],
    dead,
  } = record;
  const facts: CallbackBody = {
    type: 'invocation.ended',
    timestamp: new Date(record.startedAt + duration).toISOString(),
    id,
    namespace,
    name,
    version,
    outcome,
    ...(cancelledBy && { cancelledBy: cancelledBy.by }),
    status,
    duration,
    attempts: attempts.length,
    ...(dead !== undefined && { dead }),
  };
  const reference = { ...facts, resultUrl: `/api/v1/invocations/${id}/result` };
  if (payload === 'large') return Buffer.from(JSON.stringify(reference));
  const checked = payload && checkResponse(payload);
  if (!checked || 'problem' in checked) return Buffer.from(JSON.stringify(facts));
  const { headers, body } = checked;
  if (body.length > MAX_INLINE_RESULT_BYTES) return Buffer.from(JSON.stringify(reference));
  const at = headers.findIndex((header, index) => index % 2 === 0 && header.toLowerCase() === 'content-type');
  const contentType = at === -1 ? undefined : headers[at + 1];
  const json = /^application\/(?:[\w.-]+\+)?json\b/i.test(contentType ?? '') ? jsonText(body) : undefined;
  const result = [
    ...(contentType === undefined ? [] : [`"contentType":${JSON.stringify(contentType)}`]),
    `"encoding":"${json === undefined ? 'base64' : 'json'}"`,
    `"body":${json ?? JSON.stringify(body.toString('base64'))}`,
  ];
  return Buffer.from(`${JSON.stringify(facts).slice(0, -1)},"result":{${result.join(',')}}}`);
}

/**
 * The bytes as text when they are JSON. The text goes into the body unchanged, because parsing would change large numbers,
 * and writing a very deeply nested value would fail.
 */
function jsonText(body: Buffer): string | undefined {
  return isUtf8(body) && whyNotJson(body) === undefined ? body.toString('utf8') : undefined;
}
