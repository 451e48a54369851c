/** Writes the body of a delivery (contract/callback.ts). */
import { isUtf8 } from 'node:buffer';
import { MAX_INLINE_RESULT_BYTES, type CallbackBody } from '#contract/callback.ts';
import { whyNotJson } from '#contract/json-scanner.ts';
import type { InvocationRecord } from '#contract/invocation.ts';
import { checkResponse } from '../response-meta.ts';

/** A payload of more bytes has a body that is not sent along, whatever its headers take. */
export const ALWAYS_LARGE_BYTES = MAX_INLINE_RESULT_BYTES + 512 * 1024;

/** `payload`: what the function answered, as it is kept, or that it is there and too large to be sent along. */
export function callbackBody(record: InvocationRecord, payload: Buffer | 'large' | undefined): Buffer {
  const { id, namespace, name, version, outcome, status, duration, attempts = [], dead } = record;
  const facts: CallbackBody = {
    type: 'invocation.ended',
    timestamp: new Date(record.startedAt + duration).toISOString(),
    id,
    namespace,
    name,
    version,
    outcome,
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
 * The bytes as text when they are JSON. The text goes into the body as it is: large numbers stay what they are, and writing a
 * value that is nested very deeply would fail.
 */
function jsonText(body: Buffer): string | undefined {
  return isUtf8(body) && whyNotJson(body) === undefined ? body.toString('utf8') : undefined;
}
