/** Types of the Offshoot function contract. They are global: nothing has to be imported. */

/** What a function is given beside the request. */
interface OffshootContext {
  /** Id of this invocation: `offshoot trace ID` shows where its time went. */
  readonly invocationId: string;
  /** W3C trace context, to be sent with requests to other services. */
  readonly traceparent: string;
  /** Lets work go on after the response has been sent, within the function's time limit. */
  waitUntil(promise: Promise<unknown>): void;
  /** Milliseconds until this invocation is ended. */
  remainingMs(): number;
}

/** The variables in `env` of offshoot.json. */
type OffshootEnv = Readonly<Record<string, string | undefined>>;

/** `export default { fetch } satisfies OffshootFunction`. */
interface OffshootFunction<Env = OffshootEnv> {
  fetch(request: Request, env: Env, ctx: OffshootContext): Response | Promise<Response>;
  /** Runs at the times of `schedule` in offshoot.json. */
  scheduled?(event: OffshootScheduledEvent, env: Env, ctx: OffshootContext): void | Promise<void>;
}

/** What a function gets at a time of its schedule. */
interface OffshootScheduledEvent {
  readonly type: 'schedule';
  readonly cron: string;
  /** Unix time in milliseconds for which it was planned. */
  readonly scheduledTime: number;
  /** `schedule.input` of offshoot.json, or null. */
  readonly input: unknown;
}

/** Second argument of a Lambda-style handler. */
interface OffshootLambdaContext {
  readonly functionName: string;
  readonly functionVersion: string;
  readonly memoryLimitInMB: string;
  readonly awsRequestId: string;
  readonly traceparent: string;
  /** False: the next invocation need not wait until the event loop is empty, after an answer by callback. */
  callbackWaitsForEmptyEventLoop: boolean;
  /** Whole milliseconds. */
  getRemainingTimeInMillis(): number;
  waitUntil(promise: Promise<unknown>): void;
  succeed(result?: unknown): void;
  fail(error?: unknown): void;
  done(error?: unknown, result?: unknown): void;
}

/** What a Lambda-style handler gets for an HTTP request (payload format 2.0). */
interface OffshootHttpEvent {
  readonly version: '2.0';
  readonly rawPath: string;
  readonly rawQueryString: string;
  /** Absent without a Cookie header. */
  readonly cookies?: readonly string[];
  /** Names in lower case, values of repeated ones joined by commas. */
  readonly headers: Readonly<Record<string, string | undefined>>;
  /** Absent without a query; values of repeated names joined by commas. */
  readonly queryStringParameters?: Readonly<Record<string, string | undefined>>;
  readonly requestContext: {
    readonly requestId: string;
    readonly domainName: string;
    readonly time: string;
    readonly timeEpoch: number;
    readonly http: {
      readonly method: string;
      readonly path: string;
      readonly protocol: string;
      readonly sourceIp: string;
      readonly userAgent: string;
    };
  };
  readonly body?: string;
  readonly isBase64Encoded: boolean;
}

type OffshootHeader = string | number | boolean | undefined | null;

/** What a Lambda-style handler may return for an HTTP request; any other value is sent as JSON, a string as it is. */
interface OffshootHttpResult {
  statusCode: number | string;
  headers?: Record<string, OffshootHeader | readonly OffshootHeader[]> | Headers;
  multiValueHeaders?: Record<string, readonly OffshootHeader[]>;
  cookies?: readonly string[];
  body?: string | Uint8Array | AsyncIterable<Uint8Array | string> | ReadableStream;
  isBase64Encoded?: boolean;
}

/** `export const handler: OffshootHandler = async (event, context) => …`, or with a callback. */
type OffshootHandler<Event = OffshootHttpEvent, Result = unknown> = (
  event: Event,
  context: OffshootLambdaContext,
  callback: (error?: unknown, result?: Result) => void,
) => Result | Promise<Result> | void;

/** The stream of a handler made by awslambda.streamifyResponse(). */
interface OffshootResponseStream {
  write(chunk: Uint8Array | string): boolean;
  end(chunk?: Uint8Array | string): unknown;
  setContentType(type: string): void;
}

/** As in the managed runtime of AWS Lambda. */
declare const awslambda: {
  streamifyResponse(
    handler: (
      event: OffshootHttpEvent,
      stream: OffshootResponseStream,
      context: OffshootLambdaContext,
    ) => Promise<unknown> | void,
  ): (...given: unknown[]) => unknown;
  readonly HttpResponseStream: {
    from(
      stream: OffshootResponseStream,
      prelude: Pick<OffshootHttpResult, 'statusCode' | 'headers' | 'cookies'>,
    ): OffshootResponseStream;
  };
};

/** A stream whose length is known before its bytes: its response keeps its content-length. As in Workers. */
declare class FixedLengthStream extends TransformStream<Uint8Array, Uint8Array> {
  constructor(length: number | bigint);
}

// Files that `offshoot deploy` puts into the bundle as bytes or text.
declare module '*.wasm' {
  const bytes: Uint8Array<ArrayBuffer>;
  export default bytes;
}
declare module '*.bin' {
  const bytes: Uint8Array<ArrayBuffer>;
  export default bytes;
}
declare module '*.txt' {
  const text: string;
  export default text;
}
declare module '*.html' {
  const text: string;
  export default text;
}
declare module '*.css' {
  const text: string;
  export default text;
}
declare module '*.svg' {
  const text: string;
  export default text;
}
declare module '*.md' {
  const text: string;
  export default text;
}
declare module '*.sql' {
  const text: string;
  export default text;
}
