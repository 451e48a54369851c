/**
 * Runs Lambda-style functions, `handler(event, context)`. An HTTP request becomes an event of the payload format 2.0 of AWS
 * Lambda function URLs (docs.aws.amazon.com, "Invoking Lambda function URLs"); a JSON event is passed on unchanged.
 */
import { ChannelKind, MAX_PIECE_BYTES, type SandboxInit } from '#contract/wire/channel.ts';
import { decodePayload, encodePayload, type RequestMeta, type ResponseMeta } from '#contract/wire/payload.ts';
import { wholeBody } from './body-stream.ts';
import { sendResponse, showOwnContext } from './http.ts';
import { BadResponseError, type FunctionContext, type Invocation } from './invocation.ts';

export type LambdaHandler = (event: unknown, context: object) => unknown;

const TEXT_TYPES =
  /^(?:text\/|application\/(?:json|javascript|xml|x-www-form-urlencoded|[^;]*\+(?:json|xml)))/i;

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
  const event = meta.kind !== 'http' ? parseEvent(body) : toEvent(meta, body, context);
  const result = await handler(event, toLambdaContext(context, init));
  if (result instanceof Response) return await sendResponse(invocation, result);
  const answer = meta.kind !== 'http' ? toJson(result) : fromResult(result);
  await sendWhole(invocation, answer.meta, answer.body);
}

function parseEvent(body: Buffer): unknown {
  return body.length === 0 ? {} : JSON.parse(body.toString('utf8'));
}

function toEvent(meta: RequestMeta, body: Buffer, context: FunctionContext): object {
  const url = new URL(meta.url);
  const headers: Record<string, string> = {};
  for (const [name, value] of meta.headers)
    headers[name] = name in headers ? `${headers[name]},${value}` : value;
  const isText = TEXT_TYPES.test(headers['content-type'] ?? 'text/plain');
  const now = new Date();
  return {
    version: '2.0',
    routeKey: '$default',
    rawPath: url.pathname,
    rawQueryString: url.search.slice(1),
    cookies: headers['cookie']?.split('; ') ?? [],
    headers,
    queryStringParameters: Object.fromEntries(url.searchParams),
    requestContext: {
      accountId: 'anonymous',
      apiId: 'offshoot',
      domainName: url.host,
      http: {
        method: meta.method,
        path: url.pathname,
        protocol: 'HTTP/1.1',
        sourceIp: headers['x-forwarded-for'] ?? '',
        userAgent: headers['user-agent'] ?? '',
      },
      requestId: context.invocationId,
      routeKey: '$default',
      stage: '$default',
      time: now.toISOString(),
      timeEpoch: now.getTime(),
    },
    ...(body.length > 0 && { body: body.toString(isText ? 'utf8' : 'base64') }),
    isBase64Encoded: body.length > 0 && !isText,
  };
}

function toLambdaContext(context: FunctionContext, init: SandboxInit): object {
  return {
    callbackWaitsForEmptyEventLoop: false,
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
  };
}

interface WholeAnswer {
  readonly meta: ResponseMeta;
  readonly body: Uint8Array;
}

function toJson(value: unknown): WholeAnswer {
  const json = JSON.stringify(value === undefined ? null : value);
  if (json === undefined)
    throw new BadResponseError(`handler() returned a ${typeof value}, which is not JSON`);
  return { meta: { status: 200, headers: [['content-type', 'application/json']] }, body: Buffer.from(json) };
}

interface LambdaResult {
  statusCode: number;
  headers?: Record<string, string | number | boolean>;
  cookies?: string[];
  body?: string;
  isBase64Encoded?: boolean;
}

/** A result with a statusCode is a response; any other value becomes the JSON body of one. */
function fromResult(value: unknown): WholeAnswer {
  if (typeof value !== 'object' || value === null || !('statusCode' in value)) return toJson(value);
  const result = value as LambdaResult;
  if (!Number.isInteger(result.statusCode) || result.statusCode < 200 || result.statusCode > 599) {
    throw new BadResponseError(`handler() returned statusCode ${String(result.statusCode)}; use 200 to 599`);
  }
  const headers: [string, string][] = [];
  for (const [name, content] of Object.entries(result.headers ?? {}))
    headers.push([name.toLowerCase(), String(content)]);
  for (const cookie of result.cookies ?? []) headers.push(['set-cookie', cookie]);
  if (!headers.some(([name]) => name === 'content-type')) headers.push(['content-type', 'application/json']);
  const body = result.body ?? '';
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return {
    meta: { status: result.statusCode, headers },
    body: Buffer.from(text, result.isBase64Encoded ? 'base64' : 'utf8'),
  };
}

/** Sends a response whose body is complete, in pieces if it is large. */
export async function sendWhole(invocation: Invocation, meta: ResponseMeta, body: Uint8Array): Promise<void> {
  if (body.length <= MAX_PIECE_BYTES) {
    invocation.send(ChannelKind.RESULT, encodePayload(meta, body));
    return;
  }
  await invocation.sendAndWait(ChannelKind.HEAD, encodePayload(meta, body.subarray(0, MAX_PIECE_BYTES)));
  for (let at = MAX_PIECE_BYTES; at < body.length; at += MAX_PIECE_BYTES) {
    await invocation.sendAndWait(ChannelKind.CHUNK, body.subarray(at, at + MAX_PIECE_BYTES));
  }
  invocation.send(ChannelKind.END);
}
