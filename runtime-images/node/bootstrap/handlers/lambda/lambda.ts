/**
 * Runs Lambda-style functions, `handler(event, context, callback)`. An HTTP request becomes an event of one of the payload
 * formats of AWS (lambda/event.ts); a JSON event is passed on unchanged.
 */
import type { SandboxInit } from '#contract/wire/channel.ts';
import { decodePayload, type RequestMeta } from '#contract/wire/payload.ts';
import { wholeBody } from '../body-stream.ts';
import { sendBody, sendWhole } from '../body.ts';
import { isResponseLike, sendForeign } from '../foreign.ts';
import { sendResponse, showOwnContext } from '../http.ts';
import type { FunctionContext, Invocation } from '../invocation.ts';
import { callLambda, type CallbackContext, type LambdaHandler } from './call.ts';
import { eventOf } from './event.ts';
import { httpAnswer, jsonAnswer } from './result.ts';
import { answerStreaming, isStreaming, type StreamingHandler } from './stream.ts';

export type { LambdaHandler };

export async function answerLambda(
  invocation: Invocation,
  payload: Buffer,
  context: FunctionContext,
  handler: LambdaHandler,
  init: SandboxInit,
): Promise<void> {
  const decoded = decodePayload(payload) as { meta: RequestMeta; body: Buffer<ArrayBuffer> };
  const { meta } = decoded;
  showOwnContext(meta, invocation.context);
  const body = await wholeBody(invocation.body, decoded.body);
  const isHttp = meta.kind === 'http';
  const event = isHttp
    ? eventOf(init.payloadFormat, meta, body, { requestId: context.invocationId, now: new Date() })
    : parseEvent(body);
  const lambdaContext = toLambdaContext(context, init);
  if (isStreaming(handler)) {
    const call = handler as unknown as StreamingHandler;
    return await answerStreaming(invocation, (stream) => call(event, stream, lambdaContext));
  }
  const { result, leftover } = await callLambda(handler, event, lambdaContext);
  if (leftover) context.waitUntil(leftover);
  const isHead = isHttp && meta.method === 'HEAD';
  if (result instanceof Response) return await sendResponse(invocation, result, isHead);
  if (isForeignResponse(result)) return await sendForeign(invocation, result, isHead);
  const answer = isHttp ? httpAnswer(result) : jsonAnswer(result);
  if ('reader' in answer) await sendBody(invocation, answer.meta, answer.reader, answer.stream);
  else await sendWhole(invocation, answer.meta, answer.body);
}

/** A plain object with a status is a JSON value here, which many handlers return; a Response of another class is none. */
function isForeignResponse(value: unknown): boolean {
  return (
    isResponseLike(value) &&
    Object.getPrototypeOf(value) !== Object.prototype &&
    typeof (value as { headers?: { get?: unknown } }).headers?.get === 'function'
  );
}

function parseEvent(body: Buffer): unknown {
  return body.length === 0 ? {} : JSON.parse(body.toString('utf8'));
}

function toLambdaContext(context: FunctionContext, init: SandboxInit): CallbackContext {
  return {
    callbackWaitsForEmptyEventLoop: true,
    functionName: init.name,
    functionVersion: String(init.version),
    invokedFunctionArn: `arn:offshoot:lambda:local:${init.namespace}:function:${init.name}`,
    memoryLimitInMB: String(init.memory),
    awsRequestId: context.invocationId,
    logGroupName: `/offshoot/${init.namespace}/${init.name}`,
    logStreamName: context.invocationId,
    getRemainingTimeInMillis: () => context.remainingMs(),
    waitUntil: (promise: Promise<unknown>) => context.waitUntil(promise),
    traceparent: context.traceparent,
  } as CallbackContext;
}
