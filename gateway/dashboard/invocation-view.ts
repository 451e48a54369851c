/** The view of one invocation: its record, spans, logs, input and result. */
import type { Readable } from 'node:stream';
import { isUtf8 } from 'node:buffer';
import { z } from 'zod';
import type { InvocationPage, Preview } from '#contract/api/dashboard.ts';
import type { AnyInvocation, InvocationRecord } from '#contract/invocations/invocation.ts';
import { OUTCOMES } from '#contract/invocations/outcome.ts';
import { decodePayload } from '#contract/wire/payload.ts';
import { spansOf } from '#contract/invocations/trace.ts';
import { checkResponse } from '../call/response-meta.ts';
import type { AppDeps } from '../routes/endpoint.ts';
import { ownInvocation } from '../routes/invocations.ts';
import type { Viewer } from './viewer.ts';

/** Upper bounds on the bytes of a body and the lines of a log that the page shows; the command line shows all. */
const PREVIEW_BYTES = 32 * 1024;
const LINES_SHOWN = 1_000;

const WithHeaders = z.object({ headers: z.array(z.tuple([z.string(), z.string()])) });

export const invocationView = {
  params: z.object({ id: z.string().max(64) }),
  everyMs: 500,
  async look({ deps, holder }: Viewer, { id }: { id: string }): Promise<InvocationPage> {
    const record = await ownInvocation(deps, id, holder);
    const [logs, input, version] = await Promise.all([
      deps.invocations.logsOf(record),
      inputOf(deps, record),
      deps.functions.version(record.namespace, record.name, record.version),
    ]);
    const memory = version?.settings.memory;
    const common = {
      record,
      spans: [],
      logs: logs.slice(0, LINES_SHOWN),
      logsCut: Math.max(0, logs.length - LINES_SHOWN),
      ...(input && { input }),
      ...(memory !== undefined && { memoryLimit: memory * 1024 * 1024 }),
    };
    if (record.state !== 'done') return common;
    const [whole, isolation, result] = await Promise.all([
      deps.invocations.withLateSpans(record),
      deps.invocations.isolation(record),
      resultOf(deps, record),
    ]);
    const { meaning, next, fault } = OUTCOMES[record.outcome];
    return {
      ...common,
      outcome: { meaning, next, fault },
      spans: spansOf(whole).map(({ parentSpanId, ...span }) => {
        return { ...span, ...(parentSpanId !== undefined && { parentSpanId }) };
      }),
      ...(result && { result }),
      ...(isolation && { isolation }),
    };
  },
};

async function inputOf(deps: AppDeps, record: AnyInvocation): Promise<Preview | undefined> {
  if (record.lane !== 'queued' || record.batch) return undefined;
  const kept = await deps.queued.input(record.id);
  if (!kept) return undefined;
  const { meta, body } = decodePayload(kept);
  // The page gets only this header, because others may hold credentials.
  const headers = WithHeaders.safeParse(meta).data?.headers ?? [];
  const type = headers.find(([name]) => name === 'content-type')?.[1] ?? '';
  if (record.inputBlob !== undefined) return { type, bytes: record.requestBytes, cut: true };
  return preview(type, body, body.length);
}

async function resultOf(deps: AppDeps, record: InvocationRecord): Promise<InvocationPage['result']> {
  if (record.lane !== 'queued') return undefined;
  const found = await deps.queued.result(record);
  const checked = found && checkResponse(found.payload);
  if (!checked || 'problem' in checked) {
    found?.body?.destroy();
    return undefined;
  }
  const at = checked.headers.findIndex((text, index) => index % 2 === 0 && /^content-type$/i.test(text));
  const type = at === -1 ? '' : (checked.headers[at + 1] ?? '');
  const body = found?.body ? await beginning(found.body) : checked.body;
  // For a result in Redis, responseBytes of the record includes the headers.
  const bytes = found?.body ? record.responseBytes : body.length;
  return { ...preview(type, body, bytes), status: checked.status };
}

async function beginning(stream: Readable): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of stream) {
    pieces.push(piece as Buffer);
    bytes += (piece as Buffer).length;
    if (bytes >= PREVIEW_BYTES) break;
  }
  return Buffer.concat(pieces);
}

function preview(type: string, body: Buffer, bytes: number): Preview {
  const cut = body.length > PREVIEW_BYTES || bytes > body.length;
  let shown = body.subarray(0, PREVIEW_BYTES);
  // The cut may have split a character, which has four bytes at most.
  const whole = [0, 1, 2, 3].find((back) => isUtf8(shown.subarray(0, shown.length - back)));
  if (cut && whole !== undefined) shown = shown.subarray(0, shown.length - whole);
  return { type, bytes, cut, ...(isUtf8(shown) && !shown.includes(0) && { text: shown.toString() }) };
}
