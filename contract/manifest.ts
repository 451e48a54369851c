/**
 * offshoot.json: what a function says of itself. The CLI reads it, the gateway checks it again, the worker obeys it.
 */
import { z } from 'zod';
import { Name } from './names.ts';

export const Runtime = z.enum(['node26', 'node24']);
export type Runtime = z.infer<typeof Runtime>;

/** Largest size of all environment variables together, so that one function cannot fill Redis or its own start. */
export const MAX_ENV_BYTES = 256 * 1024;

const EnvName = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'use letters, digits and underscores, not starting with a digit')
  .refine((name) => !name.startsWith('OFFSHOOT_'), 'names that start with OFFSHOOT_ belong to the platform');

export const Manifest = z.strictObject({
  $schema: z.string().optional(),
  name: Name,
  runtime: Runtime.default('node26'),
  /** Path of the module, relative to offshoot.json. */
  entry: z.string().min(1).default('src/index.ts'),
  access: z.enum(['key', 'public']).default('key'),
  /** MB. 32 is the least in which a Node process does useful work. */
  memory: z.int().min(32).max(32_768).default(128),
  /** Cores; a share of the host, so 0.5 is half of one core. */
  cpu: z.number().min(0.05).max(64).default(1),
  /** Seconds of wall time of one run. */
  timeout: z.number().min(0.1).max(86_400).default(30),
  /** Seconds of wall time in which the module must have loaded. */
  initTimeout: z.number().min(0.1).max(600).default(10),
  /** Invocations that one sandbox may run at the same time. */
  concurrency: z.int().min(1).max(1_000).default(1),
  env: z
    .record(EnvName, z.string())
    .default({})
    .refine(
      (env) => Buffer.byteLength(JSON.stringify(env)) <= MAX_ENV_BYTES,
      `all variables together may take ${MAX_ENV_BYTES} bytes`,
    ),
});
export type Manifest = z.infer<typeof Manifest>;

/** The reasons why a value is not a manifest, one line each: `memory: Too small: expected number to be >=32`. */
export function manifestProblems(error: z.ZodError): string[] {
  return error.issues.map((issue) => `${issue.path.join('.') || '(whole file)'}: ${issue.message}`);
}
