/** The function and the call that rehearsal and warm-up play. Both play the same, so that a fork's first call meets known code. */
import type { SandboxInit } from '#contract/wire/channel.ts';
import { encodePayload } from '#contract/wire/payload.ts';

/** `entry`: the module of the sample, a path from the directory of a function's code. */
export function sampleInit(entry: string): SandboxInit {
  return {
    namespace: '',
    name: '',
    version: 1,
    entry,
    env: {},
    memory: 128,
    timeout: 1,
    initTimeout: 1,
    payloadFormat: '2.0',
    concurrency: 1,
  };
}

/** The payload of a request for the sample; a POST has a JSON body. */
export function sampleRequest(method: 'GET' | 'POST'): Buffer {
  const headers: [string, string][] = [['content-type', 'application/json']];
  const body = method === 'POST' ? Buffer.from('{"sample":true}') : Buffer.alloc(0);
  return encodePayload({ kind: 'http', method, url: 'http://localhost/sample?a=1', headers }, body);
}
