/** OpenTelemetry that a function brings: its SDK exports to a receiver in the sandbox, on the sandbox's own loopback. */
import path from 'node:path';
import { build } from 'esbuild';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { RealBench } from '../../support/real/project.ts';

let bench: RealBench;
beforeAll(async () => {
  bench = await RealBench.open();
});
afterAll(async () => {
  await bench.close();
});

const TRACE = 'ab'.repeat(16);
const RUN = 'cd'.repeat(8);
const traceparent = `00-${TRACE}-${RUN}-01`;
const SDK = [
  '@opentelemetry/api@1.9.1',
  '@opentelemetry/sdk-node@0.223.0',
  '@opentelemetry/sdk-trace-node@2.12.0',
  '@opentelemetry/exporter-trace-otlp-http@0.223.0',
];

const NEWEST = [
  '@opentelemetry/api@1.10.0',
  '@opentelemetry/sdk-node@0.301.0',
  '@opentelemetry/exporter-trace-otlp-http@0.301.0',
  '@opentelemetry/auto-instrumentations-node@0.82.0',
  '@opentelemetry/instrumentation-undici@0.34.0',
];

/** A receiver that keeps the names of exported spans, and the headers of other requests. */
const RECEIVER = `
  import { createServer } from 'node:http';
  export const exported = [];
  export const requests = [];
  export const server = createServer((request, response) => {
    let text = '';
    request.on('data', (chunk) => { text += chunk; });
    request.on('end', () => {
      if (request.url === '/v1/traces') {
        for (const resource of JSON.parse(text).resourceSpans)
          for (const scope of resource.scopeSpans) exported.push(...scope.spans);
      } else requests.push(request.rawHeaders.filter((_, at, all) => /^traceparent$/i.test(all[at - 1] ?? '')));
      response.end('{}');
    });
  });
  export const listening = new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  export const url = async (path) => { await listening; return 'http://127.0.0.1:' + server.address().port + path; };
`;

/** \`register\`: code that makes and registers a provider with the processor \`own\`, and leaves it as \`sdk\`. */
const source = (register: string, more = ''): string => `
  import { trace } from '@opentelemetry/api';
  import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
  import { exported, requests, url } from './receiver.js';
  import { early } from './early.js';
  ${more}
  const traceExporter = new OTLPTraceExporter({ url: await url('/v1/traces') });
  ${register}
  export default {
    async fetch() {
      await trace.getTracer('late').startActiveSpan('outer', async (outer) => {
        early.startSpan('early').end();
        await (await fetch(await url('/other'))).text();
        outer.end();
      });
      await flush();
      return Response.json({
        spans: exported.map(({ name, spanId, parentSpanId, traceId }) => ({ name, spanId, parentSpanId, traceId })),
        requests,
      });
    },
  };
`;

/** A library asks for its tracer when it is loaded, before the SDK has started. */
const EARLY = `import { trace } from '@opentelemetry/api'; export const early = trace.getTracer('early');`;

const NODE_SDK = `
  const sdk = new NodeSDK({ traceExporter, instrumentations });
  sdk.start();
  const flush = () => trace.getTracerProvider().getDelegate().forceFlush();
`;
const IMPORT_SDK = `import { NodeSDK } from '@opentelemetry/sdk-node';`;
const PROVIDER = `
  const sdk = new NodeTracerProvider({ spanProcessors: [new BatchSpanProcessor(traceExporter)] });
  sdk.register();
  const flush = () => trace.getTracerProvider().getDelegate().forceFlush();
`;
const IMPORT_PROVIDER = `import { BatchSpanProcessor, NodeTracerProvider } from '@opentelemetry/sdk-trace-node';`;
const UNDICI = `import { UndiciInstrumentation } from '@opentelemetry/instrumentation-undici'; const instrumentations = [new UndiciInstrumentation()];`;

const FOR_NODE = {
  platform: 'node',
  format: 'esm',
  banner: { js: "import { createRequire } from 'node:module'; const require = createRequire('/');" },
} as const;

const AUTO = `import { getNodeAutoInstrumentations } from '@opentelemetry/auto-instrumentations-node'; const instrumentations = [getNodeAutoInstrumentations()];`;

interface Seen {
  readonly spans: readonly { name: string; spanId: string; parentSpanId?: string; traceId: string }[];
  readonly requests: readonly (readonly string[])[];
}

async function run(
  register: string,
  imports: string,
  {
    env = {},
    tracing = true,
    minify = false,
    packages = SDK,
  }: { env?: Record<string, string>; tracing?: boolean; minify?: boolean; packages?: readonly string[] } = {},
): Promise<Seen & { platform: readonly string[]; log: string }> {
  const project = await bench.project(
    {
      'src/index.js': source(register, imports),
      'src/receiver.js': RECEIVER,
      'src/early.js': EARLY,
      'offshoot.json': '{"name":"sample","entry":"src/index.js"}',
    },
    packages,
  );
  if (minify) {
    const file = path.join(project.folder, 'src/index.js');
    await build({
      entryPoints: [file],
      outfile: file,
      allowOverwrite: true,
      bundle: true,
      minify: true,
      ...FOR_NODE,
    });
  }
  const sandbox = await bench.start(await project.build(), { env, tracing });
  const { text } = await sandbox.call('/', { traceparent });
  const said = sandbox.said();
  const platform = [
    ...said.matchAll(/\{"name":"([^"]*)","spanId":"[0-9a-f]{16}","parentSpanId":"[0-9a-f]{16}","kind"/g),
  ].map(([, name]) => name ?? '');
  return { ...(JSON.parse(text) as Seen), platform, log: said };
}

const names = ({ spans }: Seen): string[] => spans.map(({ name }) => name).toSorted();

test('OpenTelemetry: a NodeSDK of the function registers and exports, also for tracers that are older than it [OB44]', async () => {
  const seen = await run(NODE_SDK, `${IMPORT_SDK} const instrumentations = [];`);
  expect(names(seen)).toEqual(['early', 'outer']);
  const outer = seen.spans.find(({ name }) => name === 'outer');
  expect(seen.spans.find(({ name }) => name === 'early')).toMatchObject({
    traceId: outer?.traceId,
    parentSpanId: outer?.spanId,
  });
  expect(seen.platform).toContain('GET');
  expect(seen.platform).not.toContain('outer');
  expect(seen.log).not.toContain('duplicate registration');
});

test('OpenTelemetry: NodeTracerProvider.register() wins, and getDelegate() is the function’s own provider [OB44]', async () => {
  const seen = await run(PROVIDER, IMPORT_PROVIDER);
  expect(names(seen)).toEqual(['early', 'outer']);
  expect(seen.platform).toContain('GET');
});

for (const [kind, instrumentations] of Object.entries({ 'of fetch': UNDICI, 'of everything': AUTO })) {
  test(`OpenTelemetry: with instrumentation ${kind}, one traceparent goes along, and it is the SDK’s [OB44]`, async () => {
    const seen = await run(NODE_SDK, `${IMPORT_SDK} ${instrumentations}`, { packages: NEWEST });
    expect(names(seen)).toEqual(['GET', 'early', 'outer']);
    const request = seen.spans.find(({ name }) => name === 'GET');
    expect(seen.requests).toEqual([[`00-${request?.traceId}-${request?.spanId}-01`]]);
    expect(seen.platform).toContain('GET');
    expect(seen.log).not.toContain('duplicate registration');
  });
}

test('OpenTelemetry: exports of the SDK are no spans of the platform [OB44]', async () => {
  const seen = await run(NODE_SDK, `${IMPORT_SDK} const instrumentations = [];`);
  expect(seen.log).not.toContain('/v1/traces');
});

test('OpenTelemetry: OTEL_SDK_DISABLED switches the SDK off, and the platform’s spans stay [OB44]', async () => {
  const seen = await run(NODE_SDK, `${IMPORT_SDK} const instrumentations = [];`, {
    env: { OTEL_SDK_DISABLED: 'true' },
  });
  expect(seen.spans).toEqual([]);
  expect(seen.platform).toEqual(expect.arrayContaining(['outer', 'early', 'GET']));
});

test('OpenTelemetry: "tracing": false switches the platform’s spans off, and the SDK works [OB44]', async () => {
  const seen = await run(NODE_SDK, `${IMPORT_SDK} const instrumentations = [];`, { tracing: false });
  expect(names(seen)).toEqual(['early', 'outer']);
  expect(seen.platform).toEqual([]);
});

test('OpenTelemetry: an SDK in code that was minified before it came registers too [OB44]', async () => {
  const seen = await run(PROVIDER, IMPORT_PROVIDER, { minify: true });
  expect(names(seen)).toEqual(['early', 'outer']);
});

test('OpenTelemetry: version 1.10 of the API registers too [OB44]', async () => {
  const project = await bench.project(
    {
      'src/index.js': `
        import { context, trace } from '@opentelemetry/api';
        const before = trace.getTracer('before');
        const spans = [];
        const own = { startSpan: (name) => { spans.push(name); return { end() {} }; } };
        const registered = trace.setGlobalTracerProvider({ getTracer: () => own });
        before.startSpan('a').end();
        trace.getTracer('after').startSpan('b').end();
        const again = trace.setGlobalTracerProvider({ getTracer: () => own });
        trace.disable();
        const last = trace.setGlobalTracerProvider({ getTracer: () => own });
        export default { fetch: () => Response.json({ registered, again, last, spans, active: typeof context.active().getValue }) };`,
      'offshoot.json': '{"name":"sample","entry":"src/index.js"}',
    },
    ['@opentelemetry/api@1.10.0'],
  );
  const { text } = await bench.fromArchive(project);
  expect(JSON.parse(text)).toEqual({
    registered: true,
    again: false,
    last: true,
    spans: ['a', 'b'],
    active: 'function',
  });
});
