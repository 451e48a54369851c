/** Fails as the event says, so that the queued lane has something to try again: `{ "fail": "throw", "times": 2 }`. */
interface Order {
  /** `throw`, `exit`, `busy` (answers 503 with Retry-After), or nothing. */
  readonly fail?: string;
  /** Tries that fail; all of them without it. Counted in memory, so not where the sandbox ends. */
  readonly times?: number;
  readonly sleepMs?: number;
  readonly answer?: unknown;
  /** Answers with so many empty objects, which are few bytes and much memory. */
  readonly objects?: number;
}

const failures = new Map<string, number>();

export default {
  async fetch(request: Request, _env: unknown, ctx: { invocationId: string }): Promise<Response> {
    const order = (await request.json()) as Order;
    console.log(`runs ${ctx.invocationId}`);
    if (order.sleepMs !== undefined) await new Promise((resolve) => setTimeout(resolve, order.sleepMs));
    const failed = failures.get(ctx.invocationId) ?? 0;
    if (order.fail !== undefined && failed < (order.times ?? Infinity)) {
      failures.set(ctx.invocationId, failed + 1);
      if (order.fail === 'exit') process.exit(3);
      if (order.fail === 'busy')
        return new Response('later', { status: 503, headers: { 'retry-after': '1' } });
      throw new Error(`failure ${failed + 1}`);
    }
    const answer =
      order.objects === undefined ? order.answer : Array.from({ length: order.objects }, () => ({}));
    return Response.json({ answer: answer ?? null, failed });
  },
};
