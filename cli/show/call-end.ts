/** How a call ended, out of its response. */
import { ERRORS, ErrorBody } from '#contract/api/errors.ts';
import { FunctionError } from '#contract/invocations/invocation.ts';
import { OUTCOMES, type Outcome } from '#contract/invocations/outcome.ts';
import { CliError } from '../terminal/errors.ts';
import { defuseLines } from '../terminal/text.ts';

/** The gateway may fail after it has numbered the call, and then answers from its catalogue of errors. */
export async function isRefusal(response: Response): Promise<boolean> {
  if (response.ok || !response.headers.get('content-type')?.startsWith('application/json')) return false;
  const body: unknown = await response
    .clone()
    .json()
    .catch(() => undefined);
  const code = ErrorBody.safeParse(body).data?.error.code;
  return Object.entries(ERRORS).some(([known, { status }]) => known === code && status === response.status);
}

/** The error of a call whose function failed. `wanted`: the function as the user named it. */
export async function functionFailure(
  response: Response,
  outcome: Outcome,
  id: string | undefined,
  wanted: string,
): Promise<CliError> {
  const { meaning, next } = OUTCOMES[outcome];
  const body = ErrorBody.safeParse(await response.json().catch(() => undefined));
  const message = body.data?.error.message ?? meaning;
  const thrown = FunctionError.safeParse(body.data?.error.details?.['error']).data;
  const lines = thrown ? defuseLines(thrown.stack ?? `${thrown.name}: ${thrown.message}`) : [];
  if (id === undefined) lines.push(next);
  return new CliError('failed', message, {
    code: outcome,
    lines,
    details: { ...body.data?.error.details, id, outcome, status: response.status },
    next: id === undefined ? `offshoot logs ${wanted}` : `offshoot trace ${id}`,
  });
}

export interface Timing {
  readonly name: string;
  readonly duration: number;
  readonly description: string | undefined;
}

/** The entries of a Server-Timing header that have a duration. */
export function parseServerTiming(header: string): Timing[] {
  return header.split(/,\s*(?=[\w-]+(?:;|$))/).flatMap((entry) => {
    const name = /^\s*([\w-]+)/.exec(entry)?.[1];
    const duration = /;dur=([\d.]+)/.exec(entry)?.[1];
    if (name === undefined || duration === undefined) return [];
    return { name, duration: Number(duration), description: /;desc="([^"]*)"/.exec(entry)?.[1] };
  });
}

/** JSON as a value, other text as a string, anything else in base64. */
export function bodyForJson(body: Buffer): Record<string, unknown> {
  let decoded: string;
  try {
    decoded = new TextDecoder('utf-8', { fatal: true }).decode(body);
  } catch {
    return { body: body.toString('base64'), encoding: 'base64' };
  }
  try {
    return { body: JSON.parse(decoded) };
  } catch {
    return { body: decoded };
  }
}
