/** Not an example: a fixture that notices when two invocations of one sandbox overlap. */
import { spawnSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';

let running = 0;

const works: Record<string, (query: URLSearchParams) => unknown> = {
  quick: () => undefined,
  sleep: (query) => sleep(Number(query.get('ms'))),
  spin: (query) => {
    const end = performance.now() + Number(query.get('ms'));
    while (performance.now() < end);
  },
  /** Written by another process to the descriptor, past the runtime. */
  print: (query) => spawnSync('/bin/echo', [query.get('text') ?? ''], { stdio: 'inherit' }),
  exit: () => process.exit(7),
};

export default {
  async fetch(request: Request): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url);
    running++;
    const overlapped = running > 1;
    console.log(`ran ${searchParams.get('n')}`);
    try {
      await works[pathname.slice(1)]?.(searchParams);
      return Response.json({ overlapped: overlapped || running > 1 });
    } finally {
      running--;
    }
  },
};
