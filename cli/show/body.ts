/** The body of a response as it arrives: printed as it is into a pipe or file, made safe on a terminal. */
import { CliError, messageOf } from '../terminal/errors.ts';
import { INVOCATION_HEADER } from '#contract/api/headers.ts';
import type { Terminal } from '../terminal/terminal.ts';
import { defuse } from '../terminal/text.ts';

const TEXT_TYPE = /^text\/|[/+](?:json|xml|javascript|x-www-form-urlencoded|x-ndjson)\b/;

/**
 * The pieces of a body. One that breaks off, because its function ended or a connection did, is an error that names the
 * invocation or leads to `next`.
 */
export async function* bodyPieces(response: Response, next?: string): AsyncGenerator<Uint8Array> {
  try {
    if (response.body) yield* response.body;
  } catch (error) {
    const id = response.headers.get(INVOCATION_HEADER) ?? undefined;
    throw new CliError('failed', `the answer broke off before its end: ${messageOf(error)}`, {
      code: 'broken_off',
      details: id === undefined ? undefined : { id },
      next: next ?? (id === undefined ? 'offshoot invocations' : `offshoot trace ${id}`),
      cause: error,
    });
  }
}

/** All of a body. */
export async function wholeBody(response: Response): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(bodyPieces(response)));
}

/** Prints a body; `next` is the command to type where it breaks off. */
export async function printBody(response: Response, terminal: Terminal, next?: string): Promise<void> {
  const pieces = bodyPieces(response, next);
  if (!process.stdout.isTTY) {
    for await (const piece of pieces) terminal.write(piece);
    return;
  }
  const type = response.headers.get('content-type') ?? 'text/plain';
  if (!TEXT_TYPE.test(type)) {
    let length = 0;
    for await (const piece of pieces) length += piece.length;
    if (length > 0) terminal.note(`${length} bytes of ${defuse(type)}; to keep them, add: > FILE`);
    return;
  }
  const decoder = new TextDecoder();
  let last = '\n';
  try {
    for await (const piece of pieces) {
      const part = decoder.decode(piece, { stream: true }).split('\n').map(defuse).join('\n');
      process.stdout.write(part);
      last = part.at(-1) ?? last;
    }
  } finally {
    // The next prompt of the shell, or the error, belongs on its own line.
    if (last !== '\n') process.stdout.write('\n');
  }
}
