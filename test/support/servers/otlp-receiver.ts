/** A receiver of OTLP over HTTP that parses the bytes of exporters, protobuf and JSON, without any of their code. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import { SLOWNESS } from '../faults/slowness.ts';

export interface ReceivedSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly name: string;
  /** SpanKind of the protocol: 1 internal, 2 server, 3 client, 4 producer, 5 consumer. */
  readonly kind: number;
  readonly start: bigint;
  readonly end: bigint;
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly links: readonly string[];
  /** Links of the span, each with the trace that it leads to. */
  readonly linked: readonly {
    traceId: string;
    spanId: string;
    attributes: Readonly<Record<string, unknown>>;
  }[];
  readonly events: readonly { name: string; time: bigint; attributes: Readonly<Record<string, unknown>> }[];
  /** Number of attributes, events and links that the sender reports as left out. */
  readonly dropped: readonly [attributes: number, events: number, links: number];
  readonly tracestate: string;
  /** 2 is an error. */
  readonly status: number;
  readonly message: string;
  readonly service: unknown;
}

export interface ReceivedLog {
  readonly traceId: string;
  readonly spanId: string;
  readonly severity: number;
  readonly level: string;
  readonly body: string;
  readonly attributes: Readonly<Record<string, unknown>>;
}

export class OtlpReceiver {
  readonly url: string;
  readonly logs: ReceivedLog[] = [];
  readonly spans: ReceivedSpan[] = [];
  readonly #server: Server;

  private constructor(url: string, server: Server) {
    this.url = url;
    this.#server = server;
  }

  static async start(): Promise<OtlpReceiver> {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const receiver = new OtlpReceiver(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, server);
    server.on('request', (request, response) => {
      void request.toArray().then((chunks: Buffer[]) => {
        const sent = Buffer.concat(chunks);
        const body = request.headers['content-encoding'] === 'gzip' ? gunzipSync(sent) : sent;
        if (request.url === '/v1/traces' && request.headers['content-type'] === 'application/x-protobuf')
          receiver.spans.push(...readTraces(body));
        if (request.url === '/v1/logs' && request.headers['content-type'] === 'application/x-protobuf')
          receiver.logs.push(...readLogs(body));
        response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
      });
    });
    return receiver;
  }

  /** Spans of a trace, once `count` of them match. */
  async of(traceId: string, enough: (spans: readonly ReceivedSpan[]) => boolean): Promise<ReceivedSpan[]> {
    const end = Date.now() + 15_000 * SLOWNESS;
    for (;;) {
      const spans = this.spans.filter((span) => span.traceId === traceId);
      if (enough(spans)) return spans;
      if (Date.now() > end)
        throw new Error(`of trace ${traceId} there came only: ${spans.map(({ name }) => name).join(', ')}`);
      await sleep(50);
    }
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

type Field = bigint | Buffer;

/** The wire format (https://protobuf.dev/programming-guides/encoding/): fields by their number, each as often as it comes. */
function fields(bytes: Buffer): Map<number, Field[]> {
  const found = new Map<number, Field[]>();
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++];
      if (byte === undefined) throw new Error('a varint is cut off');
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < bytes.length) {
    const tag = Number(varint());
    const take = (length: number): Buffer => {
      if (at + length > bytes.length) throw new Error('a field is cut off');
      at += length;
      return bytes.subarray(at - length, at);
    };
    let value: Field;
    if ((tag & 7) === 0) value = varint();
    else if ((tag & 7) === 1) value = take(8);
    else if ((tag & 7) === 2) value = take(Number(varint()));
    else if ((tag & 7) === 5) value = take(4);
    else throw new Error(`wire type ${tag & 7}`);
    found.set(tag >> 3, [...(found.get(tag >> 3) ?? []), value]);
  }
  return found;
}

const all = (message: Map<number, Field[]>, field: number): Buffer[] =>
  (message.get(field) ?? []).filter((one): one is Buffer => Buffer.isBuffer(one));
const first = (message: Map<number, Field[]>, field: number): Buffer =>
  all(message, field)[0] ?? Buffer.alloc(0);
const number = (message: Map<number, Field[]>, field: number): number => Number(message.get(field)?.[0] ?? 0);

function readTraces(body: Buffer): ReceivedSpan[] {
  return all(fields(body), 1).flatMap((resourceSpans) => {
    const { 'service.name': service } = attributesOf(fields(first(fields(resourceSpans), 1)), 1);
    return all(fields(resourceSpans), 2).flatMap((scope) =>
      all(fields(scope), 2).map((bytes): ReceivedSpan => {
        const span = fields(bytes);
        const status = fields(first(span, 15));
        return {
          traceId: first(span, 1).toString('hex'),
          spanId: first(span, 2).toString('hex'),
          parentSpanId: first(span, 4).toString('hex'),
          name: first(span, 5).toString(),
          kind: number(span, 6),
          start: first(span, 7).readBigUInt64LE(),
          end: first(span, 8).readBigUInt64LE(),
          attributes: attributesOf(span, 9),
          links: all(span, 13).map((link) => first(fields(link), 2).toString('hex')),
          linked: all(span, 13).map((part) => {
            const link = fields(part);
            return {
              traceId: first(link, 1).toString('hex'),
              spanId: first(link, 2).toString('hex'),
              attributes: attributesOf(link, 4),
            };
          }),
          events: all(span, 11).map((part) => {
            const event = fields(part);
            return {
              time: first(event, 1).readBigUInt64LE(),
              name: first(event, 2).toString(),
              attributes: attributesOf(event, 3),
            };
          }),
          dropped: [number(span, 10), number(span, 12), number(span, 14)],
          tracestate: first(span, 3).toString(),
          status: number(status, 3),
          message: first(status, 2).toString(),
          service,
        };
      }),
    );
  });
}

function readLogs(body: Buffer): ReceivedLog[] {
  return all(fields(body), 1).flatMap((resourceLogs) =>
    all(fields(resourceLogs), 2).flatMap((scope) =>
      all(fields(scope), 2).map((bytes): ReceivedLog => {
        const line = fields(bytes);
        return {
          traceId: first(line, 9).toString('hex'),
          spanId: first(line, 10).toString('hex'),
          severity: number(line, 2),
          level: first(line, 3).toString(),
          body: first(fields(first(line, 5)), 1).toString(),
          attributes: attributesOf(line, 6),
        };
      }),
    ),
  );
}

function attributesOf(message: Map<number, Field[]>, field: number): Record<string, unknown> {
  return Object.fromEntries(
    all(message, field).map((pair) => {
      const value = fields(first(fields(pair), 2));
      const known = value.has(1)
        ? first(value, 1).toString()
        : value.has(2)
          ? number(value, 2) === 1
          : value.has(3)
            ? number(value, 3)
            : value.has(4)
              ? first(value, 4).readDoubleLE()
              : undefined;
      return [first(fields(pair), 1).toString(), known];
    }),
  );
}
