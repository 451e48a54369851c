/** POST a JPEG or PNG, get a JPEG of at most `?size=` pixels on its longer side. */
import { decode, resize, toJpeg } from './codecs.ts';

const DEFAULT_SIZE = 128;
const MAX_SIZE = 1_024;

export default {
  async fetch(request) {
    if (request.method !== 'POST') return problem(405, 'POST a JPEG or PNG image');
    const size = Number(new URL(request.url).searchParams.get('size') ?? DEFAULT_SIZE);
    if (!Number.isInteger(size) || size < 1 || size > MAX_SIZE) {
      return problem(400, `size must be a whole number from 1 to ${MAX_SIZE}`);
    }
    const image = await decode(await request.arrayBuffer()).catch(() => undefined);
    if (!image) return problem(415, 'this is neither a JPEG nor a PNG image');

    const ratio = Math.min(1, size / Math.max(image.width, image.height));
    const width = Math.max(1, Math.round(image.width * ratio));
    const height = Math.max(1, Math.round(image.height * ratio));
    const small = ratio === 1 ? image : await resize(image, width, height);
    console.log(`${image.width}x${image.height} to ${width}x${height}`);
    return new Response(await toJpeg(small, 80), {
      headers: { 'content-type': 'image/jpeg', 'x-image-size': `${width}x${height}` },
    });
  },
} satisfies OffshootFunction;

function problem(status: number, error: string): Response {
  return Response.json({ error }, { status });
}
