import { expect, test } from 'vitest';
import { MAX_RESPONSE_META_BYTES } from '#contract/functions/limits.ts';
import { encodePayload, type ResponseMeta } from '#contract/wire/payload.ts';
import { checkResponse } from '../../../../gateway/call/response-meta.ts';
import { readAnswer } from '../../../../worker/queued/collector.ts';

/** A response whose status and headers take this many bytes of JSON; escapes make them longer than the headers themselves. */
function responseOf(bytes: number): Buffer {
  const meta = (value: string): ResponseMeta => ({ status: 200, headers: [['x-long', value]] });
  const empty = JSON.stringify(meta('')).length;
  return encodePayload(meta('"'.repeat(Math.floor((bytes - empty) / 2))), Buffer.from('body'));
}

test.each([
  ['100 KB', 100 * 1024, true],
  ['over the limit', MAX_RESPONSE_META_BYTES + 1_024, false],
])('status and headers of %s: gateway and worker agree whether that is a response', (_, bytes, accepted) => {
  const payload = responseOf(bytes);
  expect(readAnswer(payload) !== undefined).toBe(accepted);
  expect(!('problem' in checkResponse(payload))).toBe(accepted);
});
