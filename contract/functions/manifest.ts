/**
 * offshoot.json, the settings of a function. The CLI reads it, the gateway checks it again, the worker obeys it. Editors show
 * the descriptions, through the JSON Schema that infra/generate/schema.ts writes.
 */
import { z } from 'zod';
import { DEFAULT_GROUP_ITEMS, MAX_GROUP_ITEMS } from './limits.ts';
import { IsolationMode, IsolationRequirement } from './isolation.ts';
import { Name, nearestName } from './names.ts';
import { Network } from './network.ts';
import { MaxConcurrency, RateLimit } from './quota.ts';
import { DEFAULT_RUNTIME, kindOf, RUNTIMES } from './runtimes.ts';
import { refusedVariable } from './start-variables.ts';

export const Runtime = z.enum(RUNTIMES);
export type Runtime = z.infer<typeof Runtime>;

/** Upper bound on the size of all environment variables together, so that one function cannot fill Redis or its own start. */
export const MAX_ENV_BYTES = 256 * 1024;

/** Upper bound on the patterns in `files`, and in `packages`. */
const MAX_PATTERNS = 500;
const Pattern = z.string().min(1).max(500);

export const EnvName = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'use letters, digits and underscores, not starting with a digit')
  .refine((name) => !name.startsWith('OFFSHOOT_'), 'names that start with OFFSHOOT_ belong to the platform');

export const Retries = z.strictObject({
  attempts: z.int().min(1).max(100).default(3).describe('Tries altogether; 1 is no retry.'),
  minDelay: z
    .number()
    .min(0)
    .max(3600)
    .default(1)
    .describe(
      'Upper bound in seconds on the wait before the second try; doubled for each further one. The wait is drawn at random from 0 up.',
    ),
  maxDelay: z
    .number()
    .min(0)
    .max(86_400)
    .default(300)
    .describe('Upper bound in seconds on the wait between two tries.'),
});
export type Retries = z.infer<typeof Retries>;

export const DEFAULT_RETRIES: Retries = { attempts: 3, minDelay: 1, maxDelay: 300 };
export const DEFAULT_QUEUE_TIME_S = 6 * 3600;
export const DEFAULT_REQUEST_MB = 100;
export const DEFAULT_STREAM_IDLE_S = 60;

export const Schedule = z.strictObject({
  cron: z
    .string()
    .max(100)
    .refine(
      (text) => /^\S+( \S+){4,5}$/.test(text),
      'use five fields, or six with seconds first: "0 9 * * 1-5"',
    )
    .describe(
      'Times of the runs as a cron expression: minute hour day month weekday, with seconds first if there are six.',
    ),
  timezone: z
    .string()
    .refine(
      (name) => Intl.supportedValuesOf('timeZone').includes(name) || name === 'UTC',
      'not a time zone, such as "Europe/Berlin"',
    )
    .default('UTC')
    .describe('Time zone of the expression.'),
  overlap: z
    .boolean()
    .default(false)
    .describe('May a run start while the previous one still runs? Otherwise that time is skipped.'),
  missed: z
    .enum(['run', 'skip'])
    .default('run')
    .describe('Effect of a time at which no worker ran: one run as soon as a worker runs, or none.'),
  input: z.unknown().optional().describe('The event for the function.'),
});
export type Schedule = z.infer<typeof Schedule>;

export const Manifest = z
  .strictObject({
    $schema: z.string().optional(),
    name: Name.describe('Name of the function, part of its URL.'),
    runtime: Runtime.default(DEFAULT_RUNTIME).describe('Runtime image.'),
    entry: z
      .string()
      .min(1)
      .default(kindOf(DEFAULT_RUNTIME).entry.source)
      .describe('Path of the module, relative to offshoot.json.'),
    files: z
      .array(Pattern)
      .max(MAX_PATTERNS)
      .default([])
      .describe(
        'Files to pack beside the code, as patterns relative to offshoot.json: "locales/**". One that begins with "!" leaves out, also from a package: "!node_modules/a/docs".',
      ),
    packages: z
      .array(Pattern)
      .max(MAX_PATTERNS)
      .default([])
      .describe(
        'Packages to pack as files although no import names them: "pino-pretty", "@acme/*". One that begins with "!" is never packed.',
      ),
    access: z
      .enum(['key', 'public'])
      .default('key')
      .describe(
        'Callers of the function: "key" needs an API key of scope invoke, "public" allows every client that reaches the gateway.',
      ),
    // A Node process needs at least 32 MB for useful work.
    memory: z.int().min(32).max(32_768).default(128).describe('Memory limit in MB.'),
    cpu: z
      .number()
      .min(0.05)
      .max(64)
      .default(1)
      .describe('Processor limit in cores; 0.5 is half of one core.'),
    timeout: z
      .number()
      .min(0.1)
      .max(86_400)
      .default(30)
      .describe('Seconds of wall time that one run may take.'),
    initTimeout: z
      .number()
      .min(0.1)
      .max(600)
      .default(10)
      .describe('Seconds of wall time in which the module must have loaded.'),
    payloadFormat: z
      .enum(['1.0', '2.0'])
      .default('2.0')
      .describe(
        'Format of the events that a Lambda-style handler gets for HTTP requests: "2.0" as function URLs of AWS, "1.0" as API Gateway.',
      ),
    streamIdleTimeout: z
      .number()
      .min(0.1)
      .max(86_400)
      .default(DEFAULT_STREAM_IDLE_S)
      .describe(
        'Seconds that a streamed response may go without a byte while its reader is ready for more. Bounded by timeout as well.',
      ),
    cpuTime: z
      .number()
      .min(0.05)
      .max(86_400)
      .optional()
      .describe(
        'Seconds of processor time that one run may use, all processes of its sandbox together. Without it, timeout times cpu is the bound.',
      ),
    // 16 leaves a Node process with its threads and a few children.
    pids: z
      .int()
      .min(16)
      .max(4_096)
      .default(128)
      .describe('Processes and threads that a sandbox may have at the same time.'),
    openFiles: z
      .int()
      .min(64)
      .max(16_384)
      .default(1_024)
      .describe('File descriptors that each process may have open.'),
    tmpSize: z
      .int()
      .min(1)
      .max(32_768)
      .default(64)
      .describe('Size of /tmp in MB. Its content counts as memory as well.'),
    tmpFiles: z
      .int()
      .min(64)
      .max(1_048_576)
      .default(16_384)
      .describe('Files and directories (inodes) that fit in /tmp.'),
    tmpPrograms: z
      .boolean()
      .default(false)
      .describe('May programs that lie in /tmp be run? Otherwise running one fails with EACCES.'),
    requestSize: z
      .int()
      .min(1)
      .max(65_536)
      .default(DEFAULT_REQUEST_MB)
      .describe('MB that the body of one request may have.'),
    responseSize: z
      .int()
      .min(1)
      .max(65_536)
      .default(100)
      .describe('MB that one response may have, streamed or not.'),
    logSize: z
      .int()
      .min(1)
      .max(1_024)
      .default(256)
      .describe('KB of output kept for one invocation; the rest is counted and cut.'),
    concurrency: z
      .int()
      .min(1)
      .max(1_000)
      .default(1)
      .describe('Invocations that one sandbox may run at the same time.'),
    maxConcurrency: MaxConcurrency.optional().describe(
      'Invocations of the function that may run at the same time on the whole platform; no limit without it.',
    ),
    rateLimit: RateLimit.optional(),
    isolation: z
      .strictObject({
        mode: IsolationMode.default('sandbox').describe(
          '"sandbox": later invocations of the same version run in the same sandbox. "request": each runs in a sandbox of its own, and leaves nothing for the next.',
        ),
        require: z
          .array(IsolationRequirement)
          .default([])
          .describe('Properties that a host must have; otherwise the function does not run on it.'),
      })
      .default({ mode: 'sandbox', require: [] })
      .describe('Requirements of the function on its isolation.'),
    retries: Retries.default(DEFAULT_RETRIES).describe(
      'Number of tries of an invocation of the queued lane, and the waits between them.',
    ),
    queueTime: z
      .number()
      .min(1)
      .max(14 * 86_400)
      .default(DEFAULT_QUEUE_TIME_S)
      .describe('Seconds after which an invocation of the queued lane does not start any more.'),
    batch: z
      .strictObject({
        size: z
          .int()
          .min(1)
          .max(MAX_GROUP_ITEMS)
          .default(DEFAULT_GROUP_ITEMS)
          .describe('Upper bound on the items of a batch in one call of queue().'),
      })
      .optional()
      .describe('Settings for batches.'),
    schedule: Schedule.optional().describe('Times at which the platform invokes the function.'),
    env: z
      .record(EnvName, z.string())
      .default({})
      .superRefine((env, context) => {
        for (const [name, value] of Object.entries(env)) {
          const message = refusedVariable(name, value);
          if (message !== undefined) context.addIssue({ code: 'custom', path: [name], message });
        }
      })
      .refine(
        (env) => Buffer.byteLength(JSON.stringify(env)) <= MAX_ENV_BYTES,
        `all variables together may take ${MAX_ENV_BYTES} bytes`,
      )
      .describe('Environment variables of the function.'),
    tracing: z
      .boolean()
      .default(true)
      .describe(
        'Spans of `fetch` and of `@opentelemetry/api` in the record of each invocation. An SDK that the function registers works either way.',
      ),
    network: Network.optional().describe('Network destinations of the function; none by default.'),
  })
  .refine(({ isolation, concurrency }) => isolation.mode === 'sandbox' || concurrency === 1, {
    path: ['concurrency'],
    message: 'must be 1 where isolation.mode is "request"',
  });
export type Manifest = z.infer<typeof Manifest>;

/**
 * Upper bounds on the number and length of problems in one answer: a hostile value could have a hundred thousand, or one that
 * is very long.
 */
const MAX_PROBLEMS = 20;
const MAX_PROBLEM_LENGTH = 300;

/** The first reasons why a value is not a manifest, one line each: `memory: Too small: expected number to be >=32`. */
export function manifestProblems(error: z.ZodError): string[] {
  const problems = error.issues.slice(0, MAX_PROBLEMS).flatMap((issue) => {
    const path = issue.path.join('.') || '(whole file)';
    if (issue.code === 'unrecognized_keys') return issue.keys.slice(0, MAX_PROBLEMS).map(unknownField);
    // The problem with the key of a record is one level further down.
    if (issue.code === 'invalid_key') return issue.issues.map(({ message }) => `${path}: ${message}`);
    return `${path}: ${issue.message}`;
  });
  return problems.slice(0, MAX_PROBLEMS).map((problem) => problem.slice(0, MAX_PROBLEM_LENGTH));
}

function unknownField(key: string): string {
  const field = key.slice(0, 100);
  const near = nearestName(field, Object.keys(Manifest.shape));
  return `${field}: there is no such field${near === undefined ? '' : `; did you mean "${near}"?`}`;
}
