/** offshoot batch run FILE: runs a function for each item of a file, and shows how far it has come. */
import { existsSync } from 'node:fs';
import type { Batch } from '#contract/invocations/batch.ts';
import { parseFunctionName, type Client } from '../../api/client.ts';
import { connect } from '../../api/connect.ts';
import { MANIFEST_FILE, readProject } from '../../bundle/project.ts';
import { bodyPieces } from '../../show/body.ts';
import type { Context } from '../../terminal/context.ts';
import { CliError } from '../../terminal/errors.ts';
import { OutputFile } from '../../terminal/output-file.ts';
import type { Terminal } from '../../terminal/terminal.ts';
import { milliseconds, shellWord } from '../../terminal/text.ts';
import type { Given } from '../../verbs/definition.ts';
import type * as verbs from './definitions.ts';
import { openItems, type ItemSource } from './items.ts';
import { Watch } from './watch.ts';

type Options = Given<typeof verbs.run>;

export async function run(context: Context, options: Options): Promise<number> {
  const { terminal } = context;
  const client = connect(context);
  const wanted = options.ofFunction ?? (await functionHere());
  const { namespace, name } = parseFunctionName(wanted, client.target.namespace);
  const source = await openItems(options.file);
  let output: OutputFile | undefined;
  try {
    if (options.output !== undefined) {
      output = await OutputFile.open(options.output, 'offshoot batch run FILE --output FILE');
    }
    const { id } = await client.openBatch(namespace, name);
    await send(client, id, new Watch(client, id, terminal, source), source, options);
    const end = await client.batch(id);
    if (output) {
      const response = await client.batchResults(id, { order: 'input', wait: true });
      await output.write(bodyPieces(response, `offshoot batch results ${id}`));
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
  { detach }: Options,
): Promise<void> {
  try {
    await client.sendItems(id, source.body(), source.type);
    source.whole = true;
    await client.sealBatch(id);
    if (!detach) await watch.ended();
  } catch (error) {
    throw interrupted(error, id);
  } finally {
    watch.stop();
  }
}

function show(terminal: Terminal, end: Batch, options: Options): void {
  const { items, succeeded, failed, createdAt, endedAt } = end;
  const took = endedAt === undefined ? '' : ` in ${milliseconds(endedAt - createdAt)}`;
  const mark = failed > 0 ? terminal.style('red', '✗') : terminal.style('green', '✓');
  const told = options.detach
    ? `${items} items are queued`
    : `${succeeded} of ${items} items done${took}${failed > 0 ? `, ${failed} failed` : ''}`;
  terminal.print(`${mark} ${told}`);
  const next = nextOf(end, options);
  if (next !== undefined) terminal.note(`${terminal.noteStyle('cyan', 'next:')} ${next}`);
}

function nextOf({ id, failed }: Batch, { detach, output }: Options): string | undefined {
  if (detach) return `offshoot batch show ${id}`;
  if (failed > 0) return 'offshoot dlq list';
  return output === undefined ? `offshoot batch results ${id}` : undefined;
}

/** The name in the offshoot.json of this folder. */
async function functionHere(): Promise<string> {
  if (existsSync(MANIFEST_FILE)) return (await readProject('.')).manifest.name;
  throw new CliError('usage', 'which function is to run the items?', {
    code: 'bad_usage',
    next: 'offshoot batch run FILE --function NAME',
  });
}

/** The batch has the items that were sent, so it can be gone on with. */
function interrupted(error: unknown, id: string): unknown {
  if (!(error instanceof CliError)) return error;
  return new CliError('failed', error.message, {
    code: error.code,
    details: { ...error.details, batch: id },
    lines: [...error.lines, `batch ${shellWord(id)} has what came before; it is still open`],
    next: `offshoot batch show ${id}`,
    cause: error,
  });
}
