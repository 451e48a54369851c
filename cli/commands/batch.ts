/** offshoot batch FILE: runs a function for each item of a file, and shows how far it has come. */
import {
  createReadStream,
  createWriteStream,
  openSync,
  readSync,
  closeSync,
  existsSync,
  statSync,
} from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Batch } from '#contract/batch.ts';
import { parseFunctionName, type Client } from '../client.ts';
import { connect } from '../connect.ts';
import type { Context } from '../context.ts';
import { CliError, messageOf } from '../errors.ts';
import { Progress, renderBar } from '../progress.ts';
import { MANIFEST_FILE, readProject } from '../project.ts';
import type { Terminal } from '../terminal.ts';
import { bytes, milliseconds, shellWord } from '../text.ts';

interface BatchOptions {
  readonly function?: string;
  readonly output?: string;
  readonly detach?: boolean;
}

const LOOK_MS = 200;
/** Enough to see whether a file begins with an array. */
const PEEK_BYTES = 1_024;

export async function batch(
  context: Context,
  [file = '']: string[],
  options: BatchOptions,
): Promise<number | undefined> {
  const { terminal } = context;
  const client = connect(context);
  const wanted = options.function ?? (await functionHere());
  const { namespace, name } = parseFunctionName(wanted, client.target.namespace);
  const source = openSource(file);
  const { id } = await client.openBatch(namespace, name);
  const watch = new Watch(client, id, terminal, source);
  try {
    await client.sendItems(id, source.body(), source.type);
    source.whole = true;
    await client.sealBatch(id);
    if (options.detach !== true) await watch.ended();
  } catch (error) {
    throw interrupted(error, id);
  } finally {
    watch.stop();
  }
  const end = await client.batch(id);
  if (options.output !== undefined) {
    const response = await client.batchResults(id, { order: 'input', wait: true });
    if (response.body) await pipeline(response.body, createWriteStream(options.output));
  }
  terminal.document(end);
  show(terminal, end, options);
  return end.failed > 0 || end.state === 'cancelled' ? 1 : 0;
}

function show(terminal: Terminal, end: Batch, options: BatchOptions): void {
  const { id, items, succeeded, failed, createdAt, endedAt } = end;
  const took = endedAt === undefined ? '' : ` in ${milliseconds(endedAt - createdAt)}`;
  const mark = failed > 0 ? terminal.style('red', '✗') : terminal.style('green', '✓');
  const told =
    options.detach === true
      ? `${items} items are queued`
      : `${succeeded} of ${items} items done${took}${failed > 0 ? `, ${failed} failed` : ''}`;
  terminal.print(`${mark} ${told}`);
  const next =
    options.detach === true
      ? `offshoot batches show ${id}`
      : failed > 0
        ? 'offshoot dlq list'
        : options.output === undefined
          ? `offshoot batches results ${id}`
          : undefined;
  if (next !== undefined) terminal.note(`${terminal.noteStyle('cyan', 'next:')} ${next}`);
}

/** The name in the offshoot.json of this folder. */
async function functionHere(): Promise<string> {
  if (existsSync(MANIFEST_FILE)) return (await readProject('.')).manifest.name;
  throw new CliError('usage', 'which function is to run the items?', {
    code: 'bad_usage',
    next: 'offshoot batch FILE --function NAME',
  });
}

interface Source {
  readonly type: string;
  /** Undefined where it is not known. */
  readonly size: number | undefined;
  sent: number;
  whole: boolean;
  body(): ReadableStream<Uint8Array>;
}

function openSource(file: string): Source {
  if (file === '-') return counted(undefined, 'application/x-ndjson', () => process.stdin);
  try {
    const { size } = statSync(file);
    return counted(size, typeOf(file), () => createReadStream(file));
  } catch (error) {
    throw new CliError('usage', `${file} cannot be read: ${messageOf(error)}`, {
      code: 'bad_usage',
      next: 'offshoot batch FILE, where FILE has one JSON value a line, or one JSON array',
    });
  }
}

function counted(size: number | undefined, type: string, open: () => Readable): Source {
  const source: Source = {
    type,
    size,
    sent: 0,
    whole: false,
    body: () =>
      Readable.toWeb(
        Readable.from(
          (async function* () {
            for await (const piece of open() as AsyncIterable<Buffer>) {
              source.sent += piece.length;
              yield piece;
            }
          })(),
          { objectMode: false, highWaterMark: PEEK_BYTES * 64 },
        ),
      ) as ReadableStream<Uint8Array>,
  };
  return source;
}

function typeOf(file: string): string {
  const handle = openSync(file, 'r');
  try {
    const start = Buffer.alloc(PEEK_BYTES);
    const read = readSync(handle, start, 0, PEEK_BYTES, 0);
    // A line may be an array too, so a file that is named for lines is one of lines.
    const isLines = /\.(ndjson|jsonl)$/i.test(file);
    const isArray = !isLines && start.toString('utf8', 0, read).trimStart().startsWith('[');
    return isArray ? 'application/json' : 'application/x-ndjson';
  } finally {
    closeSync(handle);
  }
}

/** Draws how far a batch has come while it is sent and run. */
class Watch {
  readonly #client: Client;
  readonly #id: string;
  readonly #progress: Progress;
  readonly #source: Source;
  readonly #watching: Promise<void>;
  #stopped = false;

  constructor(client: Client, id: string, terminal: Terminal, source: Source) {
    this.#client = client;
    this.#id = id;
    this.#progress = new Progress(terminal);
    this.#source = source;
    this.#watching = this.#watch();
  }

  /** Resolves when the batch has ended. */
  ended(): Promise<void> {
    return this.#watching;
  }

  stop(): void {
    this.#stopped = true;
    this.#progress.clear();
  }

  async #watch(): Promise<void> {
    while (!this.#stopped) {
      await sleep(LOOK_MS);
      // A look that fails is one that is not drawn; what ends the command is the sending and the last look.
      const now = await this.#client.batch(this.#id).catch(() => undefined);
      if (!now || this.#stopped) continue;
      if (now.endedAt !== undefined) return;
      this.#draw(now);
    }
  }

  #draw({ items, succeeded, failed }: Batch): void {
    const { sent, size, whole } = this.#source;
    const counts = `${succeeded + failed} of ${items} items${failed > 0 ? `, ${failed} failed` : ''}`;
    if (whole) this.#progress.step(`running ${renderBar(succeeded + failed, items)} ${counts}`);
    else if (size === undefined) this.#progress.step(`sending ${bytes(sent)}, ${counts}`);
    else this.#progress.step(`sending ${renderBar(sent, size)} of ${bytes(size)}, ${counts}`);
  }
}

/** What was sent is in the batch, so it can be gone on with. */
function interrupted(error: unknown, id: string): unknown {
  if (!(error instanceof CliError)) return error;
  return new CliError('failed', error.message, {
    code: error.code,
    details: { ...error.details, batch: id },
    lines: [...error.lines, `batch ${shellWord(id)} has what came before; it is still open`],
    next: `offshoot batches show ${id}`,
    cause: error,
  });
}
