/** Requests to the gateway. Changes go through the management API, as the changes of other clients do. */
import { PAGE_HEADER } from '#contract/api/headers.ts';
import { state } from './session.ts';

export interface Refusal {
  readonly code: string;
  readonly message: string;
  readonly next: string;
}

export class Refused extends Error {
  override readonly name = 'Refused';
  readonly refusal: Refusal;

  constructor(refusal: Refusal) {
    super(refusal.message);
    this.refusal = refusal;
  }
}

export function pageHeaders(): Record<string, string> {
  return { [PAGE_HEADER]: state.session?.page ?? '' };
}

/** Returns the gateway's answer, also a refusal. Throws Refused if the gateway cannot be reached. */
export async function send(method: string, path: string, body?: unknown): Promise<Response> {
  return await fetch(path, {
    method,
    headers: { ...pageHeaders(), ...(body !== undefined && { 'content-type': 'application/json' }) },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  }).catch(() => {
    throw new Refused(AWAY);
  });
}

/** As send(), but throws Refused with the gateway's message unless the answer is 2xx. */
export async function ask(method: string, path: string, body?: unknown): Promise<Response> {
  const response = await send(method, path, body);
  if (response.ok) return response;
  throw new Refused(await refusalOf(response));
}

export async function api<T>(method: string, path: string, body?: unknown): Promise<T> {
  const response = await ask(method, `/dashboard/api/v1${path}`, body);
  return (await response.json()) as T;
}

export const AWAY: Refusal = {
  code: 'away',
  message: 'the gateway cannot be reached',
  next: 'check that it runs: offshoot doctor',
};

export async function refusalOf(response: Response): Promise<Refusal> {
  const body: unknown = await response.json().catch(() => undefined);
  const error = (body as { error?: Refusal } | undefined)?.error;
  return (
    error ?? {
      code: String(response.status),
      message: `the gateway answered ${response.status}`,
      next: AWAY.next,
    }
  );
}
