/** Spans of its own, by the plain OpenTelemetry API; and a fetch, whose span needs no code. */
import { propagation, SpanStatusCode, trace, context } from '@opentelemetry/api';

const tracer = trace.getTracer('traced');
let runs = 0;

export default {
  async fetch(request: Request): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url);
    const to = searchParams.get('to');
    runs++;
    return await tracer.startActiveSpan('work', { attributes: { path: pathname } }, async (work) => {
      const inner = tracer.startSpan('inner');
      await new Promise((resolve) => setTimeout(resolve, 5));
      inner.setStatus({ code: SpanStatusCode.ERROR, message: 'on purpose' }).end();
      console.warn('within \u001b[31mwork');
      const carrier: Record<string, string> = {};
      propagation.inject(context.active(), carrier);
      if (pathname === '/fetch') await fetch('http://127.0.0.1:9/place?token=secret').catch(() => undefined);
      if (to !== null) await (await fetch(to)).text();
      work.end();
      if (pathname === '/hang') await new Promise((resolve) => setTimeout(resolve, 60_000));
      if (pathname === '/many')
        for (let index = 0; index < 1_000; index++) tracer.startSpan(`s${index}`).end();
      if (request.method === 'POST' && runs === 1) throw new Error('the first one fails');
      if (pathname === '/headers') return Response.json(Object.fromEntries(request.headers));
      return Response.json(carrier);
    });
  },
};
