/** Reads the variables of the artifact store, which are the same for gateway and worker. */
import { z } from 'zod';

/** Part of the schema of a process's environment. An empty variable counts as unset. */
export const STORE_VARIABLES = {
  /** Store of archives and large bodies: s3://BUCKET or s3://BUCKET/PREFIX. Unset: in OFFSHOOT_STATE. */
  OFFSHOOT_ARTIFACTS: optional(
    z
      .string()
      .regex(
        /^s3:\/\/[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*\/?$/,
        'is not of the form s3://BUCKET or s3://BUCKET/PREFIX; leave it out to keep everything in OFFSHOOT_STATE',
      ),
  ),
  /** 1: the bucket is a part of the path (http://HOST/BUCKET), 0: of the host name. The default is 1 with an endpoint, else 0. */
  OFFSHOOT_S3_PATH_STYLE: optional(z.enum(['0', '1'])),
  /** The server, if it is not Amazon's; the first of the two variables counts. */
  AWS_ENDPOINT_URL_S3: optional(z.url({ protocol: /^https?$/ })),
  AWS_ENDPOINT_URL: optional(z.url({ protocol: /^https?$/ })),
  AWS_REGION: optional(z.string()),
  AWS_DEFAULT_REGION: optional(z.string()),
  AWS_ACCESS_KEY_ID: optional(z.string()),
  AWS_SECRET_ACCESS_KEY: optional(z.string()),
  AWS_SESSION_TOKEN: optional(z.string()),
};

type StoreVariables = z.infer<z.ZodObject<typeof STORE_VARIABLES>>;

export interface S3Settings {
  readonly bucket: string;
  /** Without slashes at its ends; empty for the bucket as a whole. */
  readonly prefix: string;
  readonly region: string;
  readonly endpoint: string | undefined;
  readonly pathStyle: boolean;
  readonly credentials: {
    readonly accessKeyId: string;
    readonly secretAccessKey: string;
    readonly sessionToken?: string;
  };
}

/**
 * Undefined when the store is the directory. Throws an Error that names the missing variable, because a process that starts
 * without credentials would refuse every deploy and every large body later on.
 */
export function s3Settings(env: StoreVariables): S3Settings | undefined {
  const { OFFSHOOT_ARTIFACTS: url } = env;
  // Machines have AWS_ variables for other programs: they mean nothing until S3 is chosen.
  if (url === undefined) return undefined;
  const { hostname: bucket, pathname } = new URL(url);
  const endpoint = env.AWS_ENDPOINT_URL_S3 ?? env.AWS_ENDPOINT_URL;
  const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey } = env;
  const given = env.AWS_REGION ?? env.AWS_DEFAULT_REGION;
  if (accessKeyId === undefined || secretAccessKey === undefined)
    throw new Error('needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: set both to a key of that bucket');
  // Most other servers ignore the region; at Amazon a wrong region fails every request.
  if (given === undefined && endpoint === undefined)
    throw new Error('needs AWS_REGION: set it to the region of that bucket');
  return {
    bucket,
    prefix: pathname.replaceAll(/^\/|\/$/g, ''),
    region: given ?? 'us-east-1',
    endpoint,
    pathStyle:
      env.OFFSHOOT_S3_PATH_STYLE === undefined ? endpoint !== undefined : env.OFFSHOOT_S3_PATH_STYLE === '1',
    credentials: {
      accessKeyId,
      secretAccessKey,
      ...(env.AWS_SESSION_TOKEN !== undefined && { sessionToken: env.AWS_SESSION_TOKEN }),
    },
  };
}

/** For superRefine of the whole environment: checks the variables that OFFSHOOT_ARTIFACTS makes necessary. */
export function checkStore(env: StoreVariables, context: z.RefinementCtx): void {
  try {
    s3Settings(env);
  } catch (error) {
    context.addIssue({
      code: 'custom',
      path: ['OFFSHOOT_ARTIFACTS'],
      message: error instanceof Error ? error.message : String(error),
    });
  }
}

function optional<T extends z.ZodType>(schema: T) {
  return z.preprocess((value) => (value === '' ? undefined : value), schema.optional());
}
