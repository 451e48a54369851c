/** Bodies that are larger than the memory of the function, in both directions. */
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

const MB = 1024 * 1024;

/** Reads a body piece by piece; the sender waits while `each` does. */
async function read(request: Request, each: (chunk: Uint8Array, bytes: number) => unknown): Promise<number> {
  let bytes = 0;
  for await (const chunk of request.body ?? []) {
    bytes += chunk.length;
    if ((await each(chunk, bytes)) === 'enough') break;
  }
  return bytes;
}

/** So many MB, made when the reader asks for them; half-way it may rest for a while. */
function produce(mb: number, restMs: number): ReadableStream<Uint8Array> {
  let left = mb * 16;
  return new ReadableStream({
    async pull(controller) {
      if (left === 0) return controller.close();
      if (left === mb * 8 && restMs > 0) await sleep(restMs);
      controller.enqueue(new Uint8Array(MB / 16).fill(left-- % 251));
    },
  });
}

export default {
  async fetch(request) {
    const { pathname, searchParams } = new URL(request.url);
    const wanted = (name: string): number => Number(searchParams.get(name) ?? 0);
    switch (pathname) {
      case '/hash': {
        const hash = createHash('sha256');
        const bytes = await read(request, (chunk) => hash.update(chunk));
        return Response.json({ bytes, sha256: hash.digest('hex') });
      }
      case '/whole':
        return Response.json({ bytes: (await request.arrayBuffer()).byteLength });
      case '/json':
        return Response.json({ keys: Object.keys((await request.json()) as object) });
      case '/slow':
        return Response.json({ bytes: await read(request, () => sleep(wanted('ms'))) });
      case '/part':
        return Response.json({
          bytes: await read(request, (_, bytes) => (bytes >= wanted('bytes') ? 'enough' : undefined)),
        });
      case '/none':
        await sleep(wanted('ms'));
        return Response.json({ bytes: 0 });
      case '/exit':
        await read(request, () => process.exit(3));
        return Response.json({});
      case '/echo':
        return new Response(request.body, { headers: { 'content-type': 'application/octet-stream' } });
      case '/produce':
        return new Response(produce(wanted('mb'), wanted('rest')), {
          status: wanted('status') || 200,
          headers: { 'content-type': 'application/octet-stream', 'x-made-by': 'upload' },
        });
      default:
        return new Response('use /hash, /whole, /slow, /part, /none, /echo or /produce\n', { status: 404 });
    }
  },
} satisfies OffshootFunction;
