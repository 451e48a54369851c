/** Data that a user gives to a verb: as text, from a file, or on stdin. */
import { readFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { CliError, messageOf } from './errors.ts';
import { shellWord } from './text.ts';

/** Text, the content of a file after `@`, or of stdin for `-`. */
export async function readData(data: string): Promise<Buffer> {
  if (data === '-') return Buffer.from(await text(process.stdin));
  if (!data.startsWith('@')) return Buffer.from(data);
  try {
    return readFileSync(data.slice(1));
  } catch (error) {
    throw new CliError('usage', `the data cannot be read: ${messageOf(error)}`, {
      next: 'offshoot invoke NAME --data @FILE',
      cause: error,
    });
  }
}

export function checkEvent(name: string, data: Buffer): void {
  try {
    JSON.parse(data.toString());
  } catch (error) {
    throw new CliError('usage', `the event is not JSON: ${messageOf(error)}`, {
      code: 'bad_event',
      next: `to send it as it is, call over HTTP: offshoot invoke ${name} --method POST --data ${shellWord(data.toString().slice(0, 40))}`,
      cause: error,
    });
  }
}
