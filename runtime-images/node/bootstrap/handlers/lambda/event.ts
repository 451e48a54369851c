/**
 * Makes the event of a Lambda-style function of an HTTP request. Format 2.0 is that of function URLs
 * (docs.aws.amazon.com/lambda, "Invoking Lambda function URLs"). Format 1.0 is that of API Gateway
 * (docs.aws.amazon.com/apigateway, "AWS Lambda proxy integrations for HTTP APIs").
 *
 * Maps made of input are like those of JSON.parse: any name is a property of its own, `__proto__` and `constructor` too.
 */
import { isUtf8 } from 'node:buffer';
import type { HeaderList, RequestMeta } from '#contract/wire/payload.ts';

export type PayloadFormat = '1.0' | '2.0';

const TEXT_TYPES =
  /^(?:text\/|application\/(?:json|javascript|xml|x-www-form-urlencoded|graphql|x-ndjson|[^;]*\+(?:json|xml)))/i;

/** `now`: time of the event. */
export function eventOf(
  format: PayloadFormat,
  meta: RequestMeta,
  body: Buffer,
  { requestId, now }: { requestId: string; now: Date },
): object {
  const facts = factsOf(meta, body, requestId, now);
  return format === '1.0' ? eventV1(facts) : eventV2(facts);
}

interface Facts {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly host: string;
  readonly headers: HeaderList;
  readonly joined: ReadonlyMap<string, string>;
  readonly body: { readonly text: string; readonly isBase64: boolean } | undefined;
  readonly requestId: string;
  readonly now: Date;
}

function factsOf(meta: RequestMeta, body: Buffer, requestId: string, now: Date): Facts {
  const { method, url, headers } = meta;
  // Cut and not parsed, because a signature may cover path and query as they were sent.
  const pathAt = url.indexOf('/', url.indexOf('//') + 2);
  const host = url.slice(url.indexOf('//') + 2, pathAt < 0 ? undefined : pathAt);
  const target = pathAt < 0 ? '/' : url.slice(pathAt);
  const queryAt = target.indexOf('?');
  const joined = new Map<string, string>();
  for (const [name, value] of headers) {
    const before = joined.get(name);
    // The separators that RFC 9110, 5.3 and RFC 9113, 8.2.3 name.
    joined.set(name, before === undefined ? value : `${before}${name === 'cookie' ? '; ' : ','}${value}`);
  }
  return {
    method,
    path: queryAt < 0 ? target : target.slice(0, queryAt),
    query: queryAt < 0 ? '' : target.slice(queryAt + 1),
    host,
    headers,
    joined,
    body: bodyOf(body, joined),
    requestId,
    now,
  };
}

/** Text stays text; a body that is none, or is compressed, would be damaged as such. */
function bodyOf(body: Buffer, headers: ReadonlyMap<string, string>): Facts['body'] {
  if (body.length === 0) return undefined;
  const coding = headers.get('content-encoding')?.trim().toLowerCase() ?? 'identity';
  const isText =
    TEXT_TYPES.test(headers.get('content-type')?.trim() || 'text/plain') &&
    (coding === 'identity' || coding === '') &&
    isUtf8(body);
  return { text: body.toString(isText ? 'utf8' : 'base64'), isBase64: !isText };
}

function eventV2(facts: Facts): object {
  const { method, path, query, host, joined, body, now } = facts;
  const cookies = cookiesOf(joined.get('cookie'));
  const queried = valuesByName(new URLSearchParams(query));
  return {
    version: '2.0',
    routeKey: '$default',
    rawPath: path,
    rawQueryString: query,
    ...(cookies.length > 0 && { cookies }),
    headers: Object.fromEntries(joined),
    ...(queried.size > 0 && { queryStringParameters: mapValues(queried, (values) => values.join(',')) }),
    requestContext: {
      accountId: 'anonymous',
      apiId: 'offshoot',
      domainName: host,
      domainPrefix: host.split('.', 1)[0],
      http: {
        method,
        path,
        protocol: 'HTTP/1.1',
        sourceIp: sourceOf(joined),
        userAgent: joined.get('user-agent') ?? '',
      },
      requestId: facts.requestId,
      routeKey: '$default',
      stage: '$default',
      time: commonLogTime(now),
      timeEpoch: now.getTime(),
    },
    ...(body && { body: body.text }),
    isBase64Encoded: body?.isBase64 ?? false,
  };
}

function eventV1(facts: Facts): object {
  const { method, path, query, host, joined, body, now } = facts;
  const all = new Map<string, string[]>();
  for (const [name, value] of facts.headers) (all.get(name) ?? setNew(all, name)).push(value);
  const queried = valuesByName(new URLSearchParams(query));
  return {
    version: '1.0',
    resource: path,
    path,
    httpMethod: method,
    // The last of several values, as API Gateway has it.
    headers: mapValues(all, last),
    multiValueHeaders: mapValues(all, (values) => values),
    queryStringParameters: queried.size > 0 ? mapValues(queried, last) : null,
    multiValueQueryStringParameters: queried.size > 0 ? mapValues(queried, (values) => values) : null,
    requestContext: {
      accountId: 'anonymous',
      apiId: 'offshoot',
      authorizer: { claims: null, scopes: null },
      domainName: host,
      domainPrefix: host.split('.', 1)[0],
      extendedRequestId: facts.requestId,
      httpMethod: method,
      identity: {
        accessKey: null,
        accountId: null,
        caller: null,
        cognitoAuthenticationProvider: null,
        cognitoAuthenticationType: null,
        cognitoIdentityId: null,
        cognitoIdentityPoolId: null,
        principalOrgId: null,
        sourceIp: sourceOf(joined),
        user: null,
        userAgent: joined.get('user-agent') ?? null,
        userArn: null,
        clientCert: null,
      },
      path,
      protocol: 'HTTP/1.1',
      requestId: facts.requestId,
      requestTime: commonLogTime(now),
      requestTimeEpoch: now.getTime(),
      resourceId: null,
      resourcePath: path,
      stage: '$default',
    },
    pathParameters: null,
    stageVariables: null,
    body: body?.text ?? null,
    isBase64Encoded: body?.isBase64 ?? false,
  };
}

/** Cuts a Cookie header into its pairs; the blank after a semicolon may be missing. */
function cookiesOf(header: string | undefined): string[] {
  return (header ?? '')
    .split(';')
    .map((cookie) => cookie.trim())
    .filter((cookie) => cookie !== '');
}

function valuesByName(pairs: Iterable<[string, string]>): Map<string, string[]> {
  const values = new Map<string, string[]>();
  for (const [name, value] of pairs) (values.get(name) ?? setNew(values, name)).push(value);
  return values;
}

function setNew(map: Map<string, string[]>, name: string): string[] {
  const values: string[] = [];
  map.set(name, values);
  return values;
}

/** Object.fromEntries defines properties and sets none, so `__proto__` is one like the others. */
function mapValues<T>(
  map: ReadonlyMap<string, string[]>,
  change: (values: string[]) => T,
): Record<string, T> {
  return Object.fromEntries([...map].map(([name, values]) => [name, change(values)]));
}

function last(values: string[]): string {
  return values.at(-1) ?? '';
}

/**
 * The address of the client: the first one that trusted proxies have named, and the peer of the gateway where it trusts none.
 */
function sourceOf(headers: ReadonlyMap<string, string>): string {
  return headers.get('x-forwarded-for')?.split(',', 1)[0]?.trim() ?? '';
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'] as const;

function two(part: number): string {
  return String(part).padStart(2, '0');
}

/** The time in the common log format in UTC: `12/Mar/2020:19:03:58 +0000`. */
export function commonLogTime(time: Date): string {
  const day = `${two(time.getUTCDate())}/${MONTHS[time.getUTCMonth()] ?? ''}/${time.getUTCFullYear()}`;
  return `${day}:${two(time.getUTCHours())}:${two(time.getUTCMinutes())}:${two(time.getUTCSeconds())} +0000`;
}
