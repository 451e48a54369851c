/** Events and results of Lambda-style functions, in both directions, as AWS documents and records them. */
import { Readable } from 'node:stream';
import { describe, expect, test } from 'vitest';
import type { HeaderList, RequestMeta } from '#contract/wire/payload.ts';
import { commonLogTime, eventOf } from '../../../runtime-images/node/bootstrap/handlers/lambda/event.ts';
import { httpAnswer, jsonAnswer } from '../../../runtime-images/node/bootstrap/handlers/lambda/result.ts';

const NOW = new Date(Date.UTC(2020, 2, 12, 19, 3, 58, 638));

interface Asked {
  readonly method?: string;
  readonly target?: string;
  readonly headers?: HeaderList;
  readonly body?: string | Buffer;
  readonly format?: '1.0' | '2.0';
}

function event({
  method = 'GET',
  target = '/',
  headers = [],
  body = '',
  format = '2.0',
}: Asked): Record<string, unknown> {
  const all: HeaderList = [['host', 'id.lambda-url.local'], ['x-forwarded-for', '192.0.2.1'], ...headers];
  const meta: RequestMeta = {
    kind: 'http',
    method,
    url: `http://id.lambda-url.local${target}`,
    headers: all,
  };
  const bytes = typeof body === 'string' ? Buffer.from(body) : body;
  const made = eventOf(format, meta, bytes, { requestId: 'id', now: NOW });
  // As the function would see it as JSON: nothing of it may get lost.
  expect(JSON.parse(JSON.stringify(made))).toEqual(made);
  return made as Record<string, unknown>;
}

describe('format 2.0', () => {
  test('Lambda A7 X8 the whole event, member by member, as function URLs send it [FN7]', () => {
    const headers: HeaderList = [
      ['user-agent', 'agent'],
      ['content-type', 'text/plain'],
      ['header2', 'value1'],
      ['header2', 'value2'],
      ['cookie', 'cookie1; cookie2'],
    ];
    const made = event({
      method: 'POST',
      target: '/my/path?parameter1=value1&parameter1=value2&parameter2=value',
      headers,
      body: 'Hello from client!',
    });
    expect(JSON.stringify(made)).toBe(
      JSON.stringify({
        version: '2.0',
        routeKey: '$default',
        rawPath: '/my/path',
        rawQueryString: 'parameter1=value1&parameter1=value2&parameter2=value',
        cookies: ['cookie1', 'cookie2'],
        headers: {
          host: 'id.lambda-url.local',
          'x-forwarded-for': '192.0.2.1',
          'user-agent': 'agent',
          'content-type': 'text/plain',
          header2: 'value1,value2',
          cookie: 'cookie1; cookie2',
        },
        queryStringParameters: { parameter1: 'value1,value2', parameter2: 'value' },
        requestContext: {
          accountId: 'anonymous',
          apiId: 'offshoot',
          domainName: 'id.lambda-url.local',
          domainPrefix: 'id',
          http: {
            method: 'POST',
            path: '/my/path',
            protocol: 'HTTP/1.1',
            sourceIp: '192.0.2.1',
            userAgent: 'agent',
          },
          requestId: 'id',
          routeKey: '$default',
          stage: '$default',
          time: '12/Mar/2020:19:03:58 +0000',
          timeEpoch: 1584039838638,
        },
        body: 'Hello from client!',
        isBase64Encoded: false,
      }),
    );
  });

  test.each([
    ['?tag=a&tag=b&x=%2C', { tag: 'a,b', x: ',' }],
    ['', undefined],
    ['?', undefined],
    ['?a+b=c+d&e;f', { 'a b': 'c d', 'e;f': '' }],
    ['?bad=%zz', { bad: '%zz' }],
  ])('Lambda A7 B12 the query %s', (query, wanted) => {
    const made = event({ target: `/a${query}` });
    expect(made['queryStringParameters']).toEqual(wanted);
    expect('queryStringParameters' in made).toBe(wanted !== undefined);
    expect(made['rawQueryString']).toBe(query.slice(1));
  });

  test('Lambda A7 B12 names of the prototype are names like others', () => {
    const made = event({
      target: '/?__proto__=1&constructor=2&constructor=3&toString=4',
      headers: [
        ['__proto__', 'a'],
        ['constructor', 'b'],
        ['constructor', 'c'],
        ['tostring', 'd'],
      ],
    });
    expect(Object.entries(made['queryStringParameters'] as object)).toEqual([
      ['__proto__', '1'],
      ['constructor', '2,3'],
      ['toString', '4'],
    ]);
    expect(Object.entries(made['headers'] as object).slice(2)).toEqual([
      ['__proto__', 'a'],
      ['constructor', 'b,c'],
      ['tostring', 'd'],
    ]);
  });

  test.each(['/a/../b', '/a/%2e%2e/b', '/a\\b', '/a"b', '/a%2Fb', '//x', '/%zz', '/%41'])(
    'Lambda A7 the path %s stays as it was sent',
    (path) => {
      const made = event({ target: `${path}?q='` });
      expect([made['rawPath'], made['rawQueryString']]).toEqual([path, "q='"]);
    },
  );

  test.each([
    ['octet-stream', [['content-type', 'application/octet-stream']], Buffer.from('text'), true],
    ['text', [['content-type', 'text/plain']], Buffer.from('café'), false],
    ['no type, text', [], Buffer.from('{"a":1}'), false],
    ['no type, bytes', [], Buffer.from([0xff, 0xfe, 0]), true],
    ['a form', [['content-type', 'application/x-www-form-urlencoded']], Buffer.from('a=1'), false],
    [
      'a form that is bytes',
      [['content-type', 'application/x-www-form-urlencoded']],
      Buffer.from([0x80]),
      true,
    ],
    ['JSON', [['content-type', 'application/json; charset=utf-8']], Buffer.from('{}'), false],
    ['+json', [['content-type', 'application/ld+json']], Buffer.from('{}'), false],
    [
      'compressed JSON',
      [
        ['content-type', 'application/json'],
        ['content-encoding', 'gzip'],
      ],
      Buffer.from('{}'),
      true,
    ],
    [
      'identity',
      [
        ['content-type', 'application/json'],
        ['content-encoding', 'identity'],
      ],
      Buffer.from('{}'),
      false,
    ],
    [
      'ISO-8859-1',
      [['content-type', 'text/plain; charset=iso-8859-1']],
      Buffer.from('caf\xe9', 'latin1'),
      true,
    ],
    ['a lone surrogate', [['content-type', 'text/plain']], Buffer.from([0xed, 0xa0, 0x80]), true],
    ['XML that is none', [['content-type', 'application/xml']], Buffer.from([0x00, 0xff]), true],
    ['svg', [['content-type', 'image/svg+xml']], Buffer.from('<svg/>'), true],
    ['multipart', [['content-type', 'multipart/form-data; boundary=x']], Buffer.from('--x'), true],
  ] satisfies [string, HeaderList, Buffer, boolean][])(
    'Lambda A7 B13 a body of %s keeps its bytes',
    (_what, headers, body, isBase64) => {
      const made = event({ method: 'POST', headers, body });
      expect(made['isBase64Encoded']).toBe(isBase64);
      expect(Buffer.from(made['body'] as string, isBase64 ? 'base64' : 'utf8')).toEqual(body);
    },
  );

  test('Lambda A7 an absent body is absent', () => {
    expect('body' in event({})).toBe(false);
  });

  test.each([
    [
      [
        ['cookie', 'a=1; b=2'],
        ['cookie', 'c=3'],
      ],
      ['a=1', 'b=2', 'c=3'],
      'a=1; b=2; c=3',
    ],
    [[['cookie', 'a=1;b=2']], ['a=1', 'b=2'], 'a=1;b=2'],
    [[['cookie', 'a=1,2']], ['a=1,2'], 'a=1,2'],
    [[['cookie', '']], undefined, ''],
    [[], undefined, undefined],
  ] satisfies [HeaderList, string[] | undefined, string | undefined][])(
    'Lambda A7 B19 cookies %j',
    (headers, cookies, header) => {
      const made = event({ headers });
      expect(made['cookies']).toEqual(cookies);
      expect('cookies' in made).toBe(cookies !== undefined);
      expect((made['headers'] as Record<string, string>)['cookie']).toBe(header);
    },
  );

  test('Lambda A7 one address: the first that trusted proxies name', () => {
    const meta: RequestMeta = {
      kind: 'http',
      method: 'GET',
      url: 'http://h/',
      headers: [['x-forwarded-for', '198.51.100.7, 10.0.0.1, 127.0.0.1']],
    };
    const made = eventOf('2.0', meta, Buffer.alloc(0), { requestId: 'id', now: NOW }) as {
      requestContext: { http: { sourceIp: string } };
    };
    expect(made.requestContext.http.sourceIp).toBe('198.51.100.7');
  });

  test('Lambda A7 X8 the time in the common log format', () => {
    expect(commonLogTime(new Date(Date.UTC(2026, 0, 1, 0, 0, 0)))).toBe('01/Jan/2026:00:00:00 +0000');
  });
});

test('Lambda A7 format 1.0: the whole event, as API Gateway documents it [FN7]', () => {
  const made = event({
    format: '1.0',
    method: 'POST',
    target: '/my/path?parameter1=value1&parameter1=value2&parameter2=value',
    headers: [
      ['header1', 'value1'],
      ['header1', 'value2'],
      ['user-agent', 'user-agent'],
    ],
    body: 'Hello from Lambda!',
  });
  expect(made).toEqual({
    version: '1.0',
    resource: '/my/path',
    path: '/my/path',
    httpMethod: 'POST',
    headers: {
      host: 'id.lambda-url.local',
      'x-forwarded-for': '192.0.2.1',
      header1: 'value2',
      'user-agent': 'user-agent',
    },
    multiValueHeaders: {
      host: ['id.lambda-url.local'],
      'x-forwarded-for': ['192.0.2.1'],
      header1: ['value1', 'value2'],
      'user-agent': ['user-agent'],
    },
    queryStringParameters: { parameter1: 'value2', parameter2: 'value' },
    multiValueQueryStringParameters: { parameter1: ['value1', 'value2'], parameter2: ['value'] },
    requestContext: {
      accountId: 'anonymous',
      apiId: 'offshoot',
      authorizer: { claims: null, scopes: null },
      domainName: 'id.lambda-url.local',
      domainPrefix: 'id',
      extendedRequestId: 'id',
      httpMethod: 'POST',
      identity: {
        accessKey: null,
        accountId: null,
        caller: null,
        cognitoAuthenticationProvider: null,
        cognitoAuthenticationType: null,
        cognitoIdentityId: null,
        cognitoIdentityPoolId: null,
        principalOrgId: null,
        sourceIp: '192.0.2.1',
        user: null,
        userAgent: 'user-agent',
        userArn: null,
        clientCert: null,
      },
      path: '/my/path',
      protocol: 'HTTP/1.1',
      requestId: 'id',
      requestTime: '12/Mar/2020:19:03:58 +0000',
      requestTimeEpoch: 1584039838638,
      resourceId: null,
      resourcePath: '/my/path',
      stage: '$default',
    },
    pathParameters: null,
    stageVariables: null,
    body: 'Hello from Lambda!',
    isBase64Encoded: false,
  });
  expect(event({ format: '1.0' })).toMatchObject({
    queryStringParameters: null,
    multiValueQueryStringParameters: null,
    body: null,
  });
});

type Sent = [status: number, headers: HeaderList, body: string];

function sent(value: unknown): Sent {
  const answer = httpAnswer(value);
  return [
    answer.meta.status,
    answer.meta.headers,
    'body' in answer ? Buffer.from(answer.body).toString() : 'a stream',
  ];
}

const JSON_TYPE: [string, string] = ['content-type', 'application/json'];

describe('results', () => {
  test.each([
    ['a text', 'Hello, world!', [200, [JSON_TYPE], 'Hello, world!']],
    ['a value', { message: 'Hello, world!' }, [200, [JSON_TYPE], '{"message":"Hello, world!"}']],
    ['nothing', undefined, [200, [JSON_TYPE], 'null']],
    ['a number', 5, [200, [JSON_TYPE], '5']],
    [
      'headers and body without a statusCode',
      { headers: { a: 'b' }, body: 'x' },
      [200, [JSON_TYPE], '{"headers":{"a":"b"},"body":"x"}'],
    ],
    ['a statusCode alone', { statusCode: 204 }, [204, [JSON_TYPE], '']],
    ['a statusCode as text', { statusCode: '201', body: 'x' }, [201, [JSON_TYPE], 'x']],
    ['a body that is null', { statusCode: 200, body: null }, [200, [JSON_TYPE], '']],
    ['a body that is a number', { statusCode: 200, body: 7 }, [200, [JSON_TYPE], '7']],
    ['a body that is false', { statusCode: 200, body: false }, [200, [JSON_TYPE], 'false']],
    ['a body that is an object', { statusCode: 200, body: { a: 1 } }, [200, [JSON_TYPE], '{"a":1}']],
    ['a body that is a Buffer', { statusCode: 200, body: Buffer.from('hi') }, [200, [JSON_TYPE], 'hi']],
    ['a body that is a view', { statusCode: 200, body: new Uint16Array([0x6968]) }, [200, [JSON_TYPE], 'hi']],
    ['base64', { statusCode: 200, body: 'aGk=', isBase64Encoded: true }, [200, [JSON_TYPE], 'hi']],
    ['base64 as text', { statusCode: 200, body: 'aGk=', isBase64Encoded: 'true' }, [200, [JSON_TYPE], 'hi']],
    [
      'no base64 as text',
      { statusCode: 200, body: 'aGk=', isBase64Encoded: 'false' },
      [200, [JSON_TYPE], 'aGk='],
    ],
  ] satisfies [string, unknown, Sent][])('Lambda A7 B18 X7 %s', (_what, result, wanted) => {
    expect(sent(result)).toEqual(wanted);
  });

  test('Lambda A7 B18 headers: nothing is dropped, arrays are repeated, other kinds are text', () => {
    const result = {
      statusCode: 200,
      headers: {
        'X-A': undefined,
        'X-B': null,
        'X-C': [1, 2],
        'X-D': 5,
        'X-E': true,
        'Set-Cookie': ['a=1', 'b=2'],
        'X-F': '',
      },
    };
    expect(sent(result)[1]).toEqual([
      ['x-c', '1'],
      ['x-c', '2'],
      ['x-d', '5'],
      ['x-e', 'true'],
      ['set-cookie', 'a=1'],
      ['set-cookie', 'b=2'],
      ['x-f', ''],
      JSON_TYPE,
    ]);
  });

  test.each([
    [
      'a Headers',
      new Headers([
        ['x-a', '1'],
        ['set-cookie', 'a=1'],
        ['set-cookie', 'b=2'],
      ]),
    ],
    [
      'a Map',
      new Map<string, unknown>([
        ['X-A', 1],
        ['set-cookie', ['a=1', 'b=2']],
      ]),
    ],
    [
      'pairs',
      [
        ['x-a', '1'],
        ['set-cookie', 'a=1'],
        ['set-cookie', 'b=2'],
      ],
    ],
  ])('Lambda A7 X7 headers as %s', (_what, headers) => {
    expect(sent({ statusCode: 200, headers })[1]).toEqual([
      ['x-a', '1'],
      ['set-cookie', 'a=1'],
      ['set-cookie', 'b=2'],
      JSON_TYPE,
    ]);
  });

  test('Lambda A7 B18 X7 multiValueHeaders, cookies, and one content type', () => {
    expect(
      sent({
        statusCode: 200,
        headers: { 'Content-Type': 'text/html', 'content-type': 'text/plain', 'x-a': '1' },
        multiValueHeaders: { 'X-A': ['1', '2'], 'Set-Cookie': ['a=1'] },
        cookies: ['b=2', 'c=3'],
      })[1],
    ).toEqual([
      ['content-type', 'text/plain'],
      ['x-a', '1'],
      ['x-a', '2'],
      ['set-cookie', 'a=1'],
      ['set-cookie', 'b=2'],
      ['set-cookie', 'c=3'],
    ]);
    expect(sent({ statusCode: 200, multiValueHeaders: { 'Content-Type': ['text/html'] } })[1]).toEqual([
      ['content-type', 'text/html'],
    ]);
    expect(sent({ statusCode: 200, cookies: 'a=1' })[1]).toEqual([['set-cookie', 'a=1'], JSON_TYPE]);
  });

  test('Lambda A7 X7 streams of each kind are read', () => {
    for (const body of [Readable.from(['hi']), new ReadableStream(), new Blob(['hi'])])
      expect(sent({ statusCode: 200, body })[2]).toBe('a stream');
  });

  test.each([
    ['a status that is none', { statusCode: 'abc' }, 'statusCode "abc"'],
    ['a status out of range', { statusCode: 99 }, 'statusCode 99'],
    ['a status that is missing', { statusCode: null }, 'statusCode null'],
    [
      'a header that is an object',
      { statusCode: 200, headers: { 'x-a': { b: 1 } } },
      'the header x-a of the response is a plain object',
    ],
    [
      'a header that is a Date',
      { statusCode: 200, headers: { 'x-a': new Date() } },
      'an object of class Date',
    ],
    [
      'headers that are a text',
      { statusCode: 200, headers: 'x' },
      'the headers of the response are a string',
    ],
    [
      'cookies that are a number',
      { statusCode: 200, cookies: 5 },
      'cookies of the result of handler() is a number',
    ],
    ['a body that is a function', { statusCode: 200, body: () => 1 }, 'a function'],
    ['a symbol', Symbol('x'), 'a symbol'],
  ])('Lambda A7 B18 %s is refused by name', (_what, result, part) => {
    expect(() => httpAnswer(result)).toThrow(part);
  });

  test('Lambda A7 an event is answered by JSON alone', () => {
    expect(Buffer.from(jsonAnswer({ statusCode: 200, body: 'x' }).body).toString()).toBe(
      '{"statusCode":200,"body":"x"}',
    );
    expect(Buffer.from(jsonAnswer('x').body).toString()).toBe('"x"');
  });
});
