/** Two ways of answering bit by bit: plain text as it is made, and server-sent events. */
import { setTimeout as sleep } from 'node:timers/promises';

const encoder = new TextEncoder();

/** Counts, with a pause before each number but the first. */
async function* count(to: number, pause: number): AsyncGenerator<number> {
  for (let number = 1; number <= to; number++) {
    if (number > 1) await sleep(pause);
    yield number;
  }
}

/** A body that takes the next number only when the caller has read what came before it. */
function body(
  numbers: AsyncGenerator<number>,
  format: (number: number) => string,
): ReadableStream<Uint8Array> {
  return new ReadableStream({
    async pull(controller) {
      const { value, done } = await numbers.next();
      if (done) controller.close();
      else controller.enqueue(encoder.encode(format(value)));
    },
    async cancel() {
      await numbers.return(undefined);
    },
  });
}

function toEvent(number: number): string {
  return `id: ${number}\ndata: ${JSON.stringify({ number })}\n\n`;
}

export default {
  fetch(request) {
    const { pathname, searchParams } = new URL(request.url);
    const numbers = count(Number(searchParams.get('count') ?? 5), Number(searchParams.get('pause') ?? 100));
    if (pathname === '/events') {
      return new Response(body(numbers, toEvent), {
        headers: { 'content-type': 'text/event-stream', 'cache-control': 'no-store' },
      });
    }
    if (pathname === '/echo') return new Response(request.body);
    return new Response(
      body(numbers, (number) => `${number}\n`),
      {
        headers: { 'content-type': 'text/plain; charset=utf-8' },
      },
    );
  },
} satisfies OffshootFunction;
