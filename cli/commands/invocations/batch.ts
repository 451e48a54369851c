/** offshoot batch FILE: runs a function for each item of a file, and shows how far it has come. */
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Batch } from '#contract/invocations/batch.ts';
import { bodyPieces } from '../../show/body.ts';
import { parseFunctionName, type Client } from '../../api/client.ts';
import { connect } from '../../api/connect.ts';
import type { Context } from '../../terminal/context.ts';
import { CliError } from '../../terminal/errors.ts';
import { openItems, type ItemSource } from './items.ts';
import { OutputFile } from '../../terminal/output-file.ts';
import { Progress, renderBar } from '../../terminal/progress.ts';
import { MANIFEST_FILE, readProject } from '../../bundle/project.ts';
import type { Terminal } from '../../terminal/terminal.ts';
import { bytes, milliseconds, shellWord } from '../../terminal/text.ts';

interface BatchOptions {
  readonly function?: string;
  readonly output?: string;
  readonly detach?: boolean;
}

const LOOK_MS = 200;

export async function batch(
  context: Context,
  [file = '']: string[],
  options: BatchOptions,
): Promise<number | undefined> {
  const { terminal } = context;
  const client = connect(context);
  const wanted = options.function ?? (await functionHere());
  const { namespace, name } = parseFunctionName(wanted, client.target.namespace);
  const source = await openItems(file);
  let output: OutputFile | undefined;
  try {
    if (options.output !== undefined) {
      output = await OutputFile.open(options.output, 'offshoot batch FILE --output FILE');
    }
    const { id } = await client.openBatch(namespace, name);
    await send(client, id, new Watch(client, id, terminal, source), source, options);
    const end = await client.batch(id);
    if (output) {
      const response = await client.batchResults(id, { order: 'input', wait: true });
      await output.write(bodyPieces(response, `offshoot batches results ${id}`));
    }
    terminal.document(end);
    show(terminal, end, options);
    return end.failed > 0 || end.state === 'cancelled' ? 1 : 0;
  } finally {
    source.close();
    await output?.close();
  }
}

/** Sends all items, and waits until they have ended unless told not to. */
async function send(
  client: Client,
  id: string,
  watch: Watch,
  source: ItemSource,
  options: BatchOptions,
): Promise<void> {
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

/** Draws how far a batch has come while it is sent and run. */
class Watch {
  readonly #client: Client;
  readonly #id: string;
  readonly #progress: Progress;
  readonly #source: ItemSource;
  readonly #watching: Promise<void>;
  #stopped = false;

  constructor(client: Client, id: string, terminal: Terminal, source: ItemSource) {
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
