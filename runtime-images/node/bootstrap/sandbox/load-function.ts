/**
 * Loads the function's module and finds the handlers that it exports. The rest of the runtime then calls any form of function
 * alike.
 */
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import type { SandboxInit } from '#contract/wire/channel.ts';
import { decodePayload, type ScheduledEvent } from '#contract/wire/payload.ts';
import { answerBatch, refuseBatch, type QueueHandler } from '../handlers/batch.ts';
import { answerHttp } from '../handlers/http.ts';
import type { Answer, FunctionContext } from '../handlers/invocation.ts';
import { answerLambda, type LambdaHandler } from '../handlers/lambda.ts';

const TASK = '/var/task/';
/** First bytes of a batch's meta part, as the worker writes it. */
const BATCH_META = Buffer.from('{"kind":"batch"');

export interface LoadedFunction {
  readonly form: 'fetch' | 'handler';
  readonly answer: Answer;
}

type FetchHandler = (request: Request, env: object, context: FunctionContext) => unknown;

type ScheduledHandler = (event: ScheduledEvent, env: object, context: FunctionContext) => unknown;

/** Handlers of a default export; one of them is enough. */
interface Handlers {
  readonly fetch?: FetchHandler;
  readonly scheduled?: ScheduledHandler;
  readonly queue?: QueueHandler;
}
const HANDLERS = ['fetch', 'scheduled', 'queue'] as const;

/** Rejects with the error that the module threw, or with an Error that names the exports it should have. */
export async function loadFunction(init: SandboxInit): Promise<LoadedFunction> {
  const module = await loadModule(TASK + init.entry);
  const exported = module['default'];
  // The exports of a CommonJS bundle arrive as the default export.
  const inner = isRecord(exported) && isRecord(exported['default']) ? exported['default'] : exported;

  const owner = [inner, exported].find(
    (candidate): candidate is Handlers =>
      isRecord(candidate) && HANDLERS.some((name) => typeof candidate[name] === 'function'),
  );
  if (owner) return { form: 'fetch', answer: answerByHandlers(owner, Object.freeze({ ...init.env })) };
  const handler = [module['handler'], isRecord(exported) ? exported['handler'] : undefined].find(
    (candidate): candidate is LambdaHandler => typeof candidate === 'function',
  );
  if (handler) {
    return {
      form: 'handler',
      answer: (invocation, payload, context) =>
        kindOf(payload) === 'batch'
          ? Promise.resolve(refuseBatch(invocation))
          : answerLambda(invocation, payload, context, handler, init),
    };
  }
  const names = Object.keys(module).join(', ') || 'nothing';
  throw new Error(
    `the module exports neither a default object with fetch(request, env, ctx), queue(batch, env, ctx) or scheduled(event, env, ctx) nor a function handler(event, context); it exports ${names}`,
  );
}

function answerByHandlers(owner: Handlers, env: object): Answer {
  return async (invocation, payload, context) => {
    if (kindOf(payload) === 'batch') {
      if (typeof owner.queue !== 'function') return refuseBatch(invocation);
      const { body } = decodePayload(payload);
      return await answerBatch(invocation, body, (batch) => owner.queue?.(batch, env, context));
    }
    await answerHttp(
      invocation,
      payload,
      (request) => (typeof owner.fetch === 'function' ? owner.fetch(request, env, context) : noFetch()),
      typeof owner.scheduled === 'function' ? (event) => owner.scheduled?.(event, env, context) : undefined,
    );
  };
}

/**
 * Tells a batch by its first bytes. The kind is in the meta part only, which the handler parses anyway; so do not parse it twice.
 */
function kindOf(payload: Buffer): 'batch' | 'other' {
  return payload.subarray(4, 4 + BATCH_META.length).equals(BATCH_META) ? 'batch' : 'other';
}

function noFetch(): Response {
  return new Response('this function has no fetch(): it takes batches and schedules\n', { status: 501 });
}

async function loadModule(path: string): Promise<Record<string, unknown>> {
  try {
    // Synchronous, and therefore a few turns of the event loop faster than import().
    return createRequire(TASK)(path) as Record<string, unknown>;
  } catch (error) {
    // Top-level await needs import(); none of the module's code has run yet.
    if (!isRecord(error) || error['code'] !== 'ERR_REQUIRE_ASYNC_MODULE') throw error;
    return (await import(pathToFileURL(path).href)) as Record<string, unknown>;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return (typeof value === 'object' && value !== null) || typeof value === 'function';
}
