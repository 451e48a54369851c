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
  /** Runs at the times of `schedule` in offshoot.json; without it, fetch gets a POST with the event as its body. */
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
  getRemainingTimeInMillis(): number;
  waitUntil(promise: Promise<unknown>): void;
}

/** What a Lambda-style handler gets for an HTTP request (payload format 2.0). */
interface OffshootHttpEvent {
  readonly version: '2.0';
  readonly rawPath: string;
  readonly rawQueryString: string;
  readonly cookies: readonly string[];
  readonly headers: Readonly<Record<string, string>>;
  readonly queryStringParameters: Readonly<Record<string, string>>;
  readonly requestContext: { readonly http: { readonly method: string; readonly path: string } };
  readonly body?: string;
  readonly isBase64Encoded: boolean;
}

/** What a Lambda-style handler may return for an HTTP request; any other value is sent as JSON. */
interface OffshootHttpResult {
  statusCode: number;
  headers?: Record<string, string | number | boolean>;
  cookies?: string[];
  body?: string;
  isBase64Encoded?: boolean;
}

/** `export const handler: OffshootHandler = async (event, context) => …`. */
type OffshootHandler<Event = OffshootHttpEvent, Result = unknown> = (
  event: Event,
  context: OffshootLambdaContext,
) => Result | Promise<Result>;

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
