/** Prints the body of a response as it arrives: as it is into a pipe or file, made safe on a terminal. */
import type { Terminal } from './terminal.ts';
import { defuse } from './text.ts';

const TEXT_TYPE = /^text\/|[/+](?:json|xml|javascript|x-www-form-urlencoded|x-ndjson)\b/;

export async function printBody(response: Response, terminal: Terminal): Promise<void> {
  if (!response.body) return;
  if (!process.stdout.isTTY) {
    for await (const chunk of response.body) terminal.write(chunk);
    return;
  }
  const type = response.headers.get('content-type') ?? 'text/plain';
  if (!TEXT_TYPE.test(type)) {
    const { byteLength } = await response.arrayBuffer();
    terminal.note(`${byteLength} bytes of ${defuse(type)}; to keep them, add: > FILE`);
    return;
  }
  const decoder = new TextDecoder();
  let last = '\n';
  for await (const chunk of response.body) {
    const part = decoder.decode(chunk, { stream: true }).split('\n').map(defuse).join('\n');
    process.stdout.write(part);
    last = part.at(-1) ?? last;
  }
  // The next prompt of the shell belongs on its own line.
  if (last !== '\n') process.stdout.write('\n');
}
