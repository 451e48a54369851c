/** Loads the function's module and finds out which form of the contract it has. */
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import type { SandboxInit } from '#contract/channel.ts';
import type { ScheduledEvent } from '#contract/payload.ts';
import { answerHttp } from './http.ts';
import type { Answer, FunctionContext } from './invocation.ts';
import { answerLambda, type LambdaHandler } from './lambda.ts';

const TASK = '/var/task/';

export interface LoadedFunction {
  readonly form: 'fetch' | 'handler';
  readonly answer: Answer;
}

type FetchHandler = (request: Request, env: object, context: FunctionContext) => unknown;

type ScheduledHandler = (event: ScheduledEvent, env: object, context: FunctionContext) => unknown;

/** Rejects with what the module threw, or with an Error that says what it should export. */
export async function loadFunction(init: SandboxInit): Promise<LoadedFunction> {
  const module = await loadModule(TASK + init.entry);
  const exported = module['default'];
  // A CommonJS bundle's exports arrive as the default export.
  const inner = isRecord(exported) && isRecord(exported['default']) ? exported['default'] : exported;

  const fetchOwner = [inner, exported].find(
    (owner): owner is { fetch: FetchHandler } => isRecord(owner) && typeof owner['fetch'] === 'function',
  );
  if (fetchOwner) {
    const env = Object.freeze({ ...init.env });
    const { scheduled } = fetchOwner as { scheduled?: ScheduledHandler };
    const onSchedule = typeof scheduled === 'function' ? scheduled.bind(fetchOwner) : undefined;
    return {
      form: 'fetch',
      answer: (invocation, payload, context) =>
        answerHttp(
          invocation,
          payload,
          (request) => fetchOwner.fetch(request, env, context),
          onSchedule && ((event) => onSchedule(event, env, context)),
        ),
    };
  }
  const handler = [module['handler'], isRecord(exported) ? exported['handler'] : undefined].find(
    (candidate): candidate is LambdaHandler => typeof candidate === 'function',
  );
  if (handler) {
    return {
      form: 'handler',
      answer: (invocation, payload, context) => answerLambda(invocation, payload, context, handler, init),
    };
  }
  const names = Object.keys(module).join(', ') || 'nothing';
  throw new Error(
    `the module exports neither a default object with fetch(request, env, ctx) nor a function handler(event, context); it exports ${names}`,
  );
}

async function loadModule(path: string): Promise<Record<string, unknown>> {
  try {
    // Synchronous, and so a few turns of the event loop quicker than import().
    return createRequire(TASK)(path) as Record<string, unknown>;
  } catch (error) {
    // Top-level await needs the asynchronous way; nothing of the module has run yet.
    if (!isRecord(error) || error['code'] !== 'ERR_REQUIRE_ASYNC_MODULE') throw error;
    return (await import(pathToFileURL(path).href)) as Record<string, unknown>;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return (typeof value === 'object' && value !== null) || typeof value === 'function';
}
