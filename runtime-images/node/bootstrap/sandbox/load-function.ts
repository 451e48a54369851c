/**
 * Loads the function's module and finds the handlers that it exports. The rest of the runtime then calls any form of function
 * alike.
 */
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import type { HandlerName, SandboxInit } from '#contract/wire/channel.ts';
import { decodePayload, type ScheduledEvent } from '#contract/wire/payload.ts';
import { answerBatch, refuseBatch, type QueueHandler } from '../handlers/batch.ts';
import { answerByApp, appOfServer, type App } from '../handlers/app/node-app.ts';
import { answerHttp } from '../handlers/http.ts';
import { NoHandlerError, type Answer, type FunctionContext } from '../handlers/invocation.ts';
import { answerLambda, type LambdaHandler } from '../handlers/lambda/lambda.ts';
import { collectServers, firstServer, stopCollecting } from './listening.ts';
import { isEventHandler, isMembers, methodsOf, refusal, shapeOf, type FetchHandler } from './shapes.ts';

const TASK = '/var/task/';
/** First bytes of a batch's meta part, as the worker writes it. */
const BATCH_META = Buffer.from('{"kind":"batch"');

/** Milliseconds of each second of `initTimeout` in which a server must listen, so that there is time to say that none does. */
const SERVER_PATIENCE = 900;

type Exports = Readonly<Record<string, unknown>>;

export interface LoadedFunction {
  readonly handlers: readonly HandlerName[];
  readonly answer: Answer;
}

type ScheduledHandler = (event: ScheduledEvent, env: object, context: FunctionContext) => unknown;

/** Handlers of a default export; one of them is enough. */
interface Handlers {
  readonly fetch?: FetchHandler;
  readonly scheduled?: ScheduledHandler;
  readonly queue?: QueueHandler;
}
const HANDLERS = ['fetch', 'scheduled', 'queue'] as const;

/** Rejects with the error that the module threw, or with an Error that says what the module exports and how to make it run. */
export async function loadFunction(init: SandboxInit): Promise<LoadedFunction> {
  collectServers();
  try {
    const module = await loadModule(TASK + init.entry);
    return (await handlersOf(module, init)) ?? (await loadServer(module, init));
  } finally {
    stopCollecting();
  }
}

async function handlersOf(module: Exports, init: SandboxInit): Promise<LoadedFunction | undefined> {
  const exported = module['default'];
  // The exports of a CommonJS bundle arrive as the default export.
  const inner = isMembers(exported) && isMembers(exported['default']) ? exported['default'] : exported;

  const owner = [inner, exported].find(isOwner);
  if (owner) return answerByHandlers(owner, init);
  // Beside a `handler`, other exports are its helpers.
  const handler = module['handler'];
  if (isLambda(handler)) return answerByLambda(handler, init);
  const methods = methodsOf(module) ?? (isMembers(exported) ? methodsOf(exported) : undefined);
  if (methods) return answerByHandlers({ fetch: methods }, init);
  // It may be the promise of a router or an app.
  const settled: unknown = await inner;
  if (isOwner(settled)) return answerByHandlers(settled, init);
  const shape = await shapeOf(settled);
  if (shape?.kind === 'fetch') return answerByHandlers({ fetch: shape.fetch }, init);
  if (shape?.kind === 'lambda') return answerByLambda(shape.handler, init);
  if (shape) return answerBy(shape.app);
  // An app may have a member of this name as well, so it comes first.
  const ofDefault = isMembers(exported) ? exported['handler'] : undefined;
  if (isLambda(ofDefault)) return answerByLambda(ofDefault, init);
  return isOwner(module) ? answerByHandlers(module, init) : undefined;
}

function isLambda(candidate: unknown): candidate is LambdaHandler {
  return typeof candidate === 'function' && !isEventHandler(candidate);
}

/** Waits for a server that the module starts; rejects if there will be none. */
async function loadServer(module: Exports, init: SandboxInit): Promise<LoadedFunction> {
  const server = await firstServer(init.initTimeout * SERVER_PATIENCE);
  if (!server) throw new Error(refusal(module, module['default']));
  return answerBy(appOfServer(server));
}

function isOwner(candidate: unknown): candidate is Handlers {
  return isMembers(candidate) && HANDLERS.some((name) => typeof candidate[name] === 'function');
}

function answerBy(app: App): LoadedFunction {
  const answer = answerByApp(app);
  return {
    handlers: ['fetch'],
    answer: async (invocation, payload, context) => {
      if (kindOf(payload) === 'batch') refuseBatch(invocation);
      else await answer(invocation, payload, context);
    },
  };
}

function answerByLambda(handler: LambdaHandler, init: SandboxInit): LoadedFunction {
  return {
    handlers: ['handler'],
    answer: async (invocation, payload, context) => {
      if (kindOf(payload) === 'batch') refuseBatch(invocation);
      else await answerLambda(invocation, payload, context, handler, init);
    },
  };
}

function answerByHandlers(owner: Handlers, init: SandboxInit): LoadedFunction {
  const env = Object.freeze({ ...init.env });
  const handlers = HANDLERS.filter((name) => typeof owner[name] === 'function');
  const answer: Answer = async (invocation, payload, context) => {
    if (kindOf(payload) === 'batch') {
      if (typeof owner.queue !== 'function') {
        if (typeof owner.fetch !== 'function') throw noHandler(handlers, 'queue() for a batch');
        return refuseBatch(invocation);
      }
      const { body } = decodePayload(payload);
      return await answerBatch(invocation, body, (batch) => owner.queue?.(batch, env, context));
    }
    await answerHttp(
      invocation,
      payload,
      (request) => {
        if (typeof owner.fetch === 'function') return owner.fetch(request, env, context);
        throw noHandler(handlers, 'fetch() for requests and events');
      },
      typeof owner.scheduled === 'function' ? (event) => owner.scheduled?.(event, env, context) : undefined,
    );
  };
  return { handlers, answer };
}

function noHandler(handlers: readonly string[], missing: string): NoHandlerError {
  const has = handlers.map((name) => `${name}()`).join(' and ');
  return new NoHandlerError(`the function has only ${has}; it needs ${missing}`);
}

/**
 * Tells a batch by its first bytes. The kind is in the meta part only, which the handler parses anyway; so do not parse it twice.
 */
function kindOf(payload: Buffer): 'batch' | 'other' {
  return payload.subarray(4, 4 + BATCH_META.length).equals(BATCH_META) ? 'batch' : 'other';
}

async function loadModule(path: string): Promise<Exports> {
  try {
    // Synchronous, and therefore a few turns of the event loop faster than import().
    return createRequire(TASK)(path) as Exports;
  } catch (error) {
    // Top-level await needs import(); none of the module's code has run yet.
    if (!isMembers(error) || error['code'] !== 'ERR_REQUIRE_ASYNC_MODULE') throw error;
    return (await import(pathToFileURL(path).href)) as Exports;
  }
}
