/** As CommonJS: the same API, by require(). */
const { context, SpanStatusCode, trace } = require('@opentelemetry/api');

const tracer = trace.getTracer('spans');

exports.handler = async () =>
  await tracer.startActiveSpan('outer', async (outer) => {
    await new Promise((resolve) => setTimeout(resolve, 1));
    const inner = tracer.startSpan('inner', { attributes: { form: 'cjs' } });
    const isActive = trace.getActiveSpan() === outer;
    context.with(trace.setSpan(context.active(), inner), () => trace.getActiveSpan()?.addEvent('within'));
    inner.setStatus({ code: SpanStatusCode.ERROR, message: 'as it should' }).end();
    outer.end();
    return { isActive };
  });
