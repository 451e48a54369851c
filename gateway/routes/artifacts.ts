/** Routes for the archives of functions. An archive is uploaded under its sha256 before the deploy that names it. */
import { OffshootError } from '#contract/api/errors.ts';
import { MAX_ARCHIVE_BYTES } from '#contract/functions/limits.ts';
import { endpoint, OfArtifact } from './endpoint.ts';

export const has = endpoint(
  {
    summary: 'Check whether an archive is stored',
    request: { params: OfArtifact },
    responses: { 200: { description: 'it is stored' }, 404: { description: 'it is not stored' } },
  },
  (deps) => async (context) => {
    const { digest } = context.req.valid('param');
    // A client that gets 200 deploys without an upload, so the archive must not be removed before that.
    const claimed = await deps.unnamedArchives.claim(digest);
    const bytes = claimed ? await deps.artifacts.size(digest) : undefined;
    return context.body(null, bytes === undefined ? 404 : 200);
  },
);

export const put = endpoint(
  {
    summary: 'Upload an archive',
    description: 'The body is a .tar.gz whose sha256 is the digest in the path.',
    request: {
      params: OfArtifact,
      body: { required: true, content: { 'application/gzip': { schema: {} } } },
    },
    responses: { 200: { description: 'it was stored before' }, 201: { description: 'it has been stored' } },
  },
  (deps) => async (context) => {
    const { digest } = context.req.valid('param');
    const announced = Number(context.req.header('content-length') ?? 0);
    if (announced > MAX_ARCHIVE_BYTES) {
      throw new OffshootError(
        'archive_too_large',
        `the archive has ${announced} bytes; at most ${MAX_ARCHIVE_BYTES} are accepted`,
        { details: { limit: MAX_ARCHIVE_BYTES, size: announced } },
      );
    }
    if (!(await deps.unnamedArchives.claim(digest))) {
      throw new OffshootError(
        'conflict',
        `the archive ${digest}, which no version names, is being removed just now; upload it again in a minute`,
      );
    }
    const known = await deps.artifacts.has(digest);
    // Stored again even when it is known: the upload must be read anyway, and this repairs a damaged copy.
    await deps.artifacts.put(digest, uploaded(context.req.raw.body), MAX_ARCHIVE_BYTES);
    return context.body(null, known ? 200 : 201);
  },
  { readsBody: true },
);

async function* uploaded(body: ReadableStream<Uint8Array> | null): AsyncGenerator<Uint8Array> {
  if (!body) return;
  try {
    yield* body;
  } catch (error) {
    throw new OffshootError('bad_request', 'the upload broke off', { cause: error });
  }
}
