/** Turns errors of the S3 client into errors of the catalogue. */
import { OffshootError } from '#contract/api/errors.ts';

/** Names of errors of servers that have no room: not every server answers 507. */
const FULL = /^(XMinioStorageFull|QuotaExceeded|InsufficientStorage)$/;

/** Whether the object, and not the bucket, is missing. An answer to HEAD has no body that would tell the two apart. */
export function isMissing(error: unknown): boolean {
  return error instanceof Error && (error.name === 'NoSuchKey' || error.name === 'NotFound');
}

/** The message never names the server or a key, because any caller of a public function may see it. */
export function s3Error(error: unknown): unknown {
  if (error instanceof OffshootError || !(error instanceof Error)) return error;
  const status = statusOf(error);
  if (status === 507 || FULL.test(error.name))
    return new OffshootError('storage_full', `the artifact store has no more room (${error.name})`, {
      cause: error,
    });
  const why =
    status === undefined ? `does not answer (${reasonOf(error)})` : `answered ${status} ${error.name}`;
  return new OffshootError('storage_unavailable', `the artifact store ${why}`, { cause: error });
}

function statusOf(error: Error): number | undefined {
  const { $metadata: metadata, $response: response } = error as {
    $metadata?: { httpStatusCode?: number };
    $response?: { statusCode?: number };
  };
  return metadata?.httpStatusCode ?? response?.statusCode;
}

function reasonOf(error: Error): string {
  return 'code' in error && typeof error.code === 'string' && error.code !== '' ? error.code : error.name;
}
