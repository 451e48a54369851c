/**
 * Everything that a function's first call would otherwise pay for, done once in the zygote: built-in modules loaded,
 * lazy globals made, the code paths of an invocation compiled. It must end with nothing in flight, and must draw no
 * randomness and open no descriptor: each fork inherits what is left here.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import 'node:assert';
import 'node:crypto';
import 'node:dns';
import 'node:events';
import 'node:fs/promises';
import 'node:http';
import 'node:https';
import 'node:module';
import 'node:net';
import 'node:os';
import 'node:path';
import 'node:perf_hooks';
import 'node:querystring';
import 'node:stream/promises';
import 'node:stream/web';
import 'node:string_decoder';
import 'node:timers/promises';
import 'node:tls';
import 'node:url';
import 'node:util';
import 'node:v8';
import 'node:vm';
import 'node:zlib';
import { encodePayload } from '#contract/payload.ts';
import { answerHttp } from './http.ts';
import type { Invocation } from './invocation.ts';

/** Rounds of a made-up invocation: enough for the interpreter's caches, not worth more of a start. */
const ROUNDS = 20;

export async function warmUp(): Promise<void> {
  const storage = new AsyncLocalStorage<number>();
  const request = encodePayload(
    {
      kind: 'http',
      method: 'POST',
      url: 'http://localhost/warm?a=1',
      headers: [['content-type', 'application/json']],
    },
    Buffer.from('{"warm":true}'),
  );
  const handler = async (incoming: Request): Promise<Response> => {
    const url = new URL(incoming.url);
    const body: unknown = await incoming.json();
    const headers = new Headers({ 'x-warm': url.searchParams.get('a') ?? '' });
    headers.append('set-cookie', 'a=b');
    return Response.json({ body, path: url.pathname }, { headers });
  };
  for (let round = 0; round < ROUNDS; round++) {
    const invocation: Invocation = {
      handle: 0,
      context: { id: '', remainingMs: 1, traceparent: '' },
      send: () => undefined,
      sendAndWait: async () => undefined,
    };
    await storage.run(round, () => answerHttp(invocation, request, handler));
    await new Response(new ReadableStream({ start: (stream) => stream.close() })).text();
  }
  void new AbortController().signal;
  void new Blob(['x']);
  void new FormData();
  void new TextDecoder().decode(new TextEncoder().encode('x'));
  void structuredClone({ a: 1 });
  void globalThis.crypto;
  void globalThis.fetch;
  void globalThis.performance;
  // The loader of modules, which the function's own import uses.
  const sample: string = 'data:text/javascript,export default 1';
  await import(sample);
}
