/** offshoot top: functions and sandboxes, live. One plain table where stdout is no terminal. */
import { connect } from '../../api/connect.ts';
import type { Context } from '../../terminal/context.ts';
import { interruptSignal } from '../../terminal/interrupt.ts';
import { functionRows, topLines } from '../../show/top-view.ts';
import type { Given } from '../../verbs/definition.ts';
import type * as verbs from './definitions.ts';

const WINDOW_MS = 60_000;
/** Newest first, as many as the gateway lists. */
const LIMIT = 1_000;
const HOME_AND_CLEAR = '\x1b[H\x1b[J';
const ALTERNATE = '\x1b[?1049h\x1b[?25l';
const BACK = '\x1b[?25h\x1b[?1049l';

export async function top(context: Context, { interval, once }: Given<typeof verbs.top>): Promise<void> {
  const { terminal, flags } = context;
  const client = connect(context);
  const look = async () => {
    const now = Date.now();
    const [workers, records] = await Promise.all([
      client.workers(),
      client.invocations({
        limit: String(LIMIT),
        since: String(now - WINDOW_MS),
        ...(flags.namespace !== undefined && { namespace: flags.namespace }),
      }),
    ]);
    return { workers, functions: functionRows(records, WINDOW_MS, now), truncated: records.length === LIMIT };
  };
  if (!terminal.interactive || !process.stdout.isTTY || once) {
    const seen = await look();
    terminal.document(seen);
    for (const line of topLines(seen.workers, seen.functions, Number.POSITIVE_INFINITY)) terminal.print(line);
    return;
  }
  await live(look, interval, client.target.url);
}

type Look = () => Promise<{
  workers: Parameters<typeof topLines>[0];
  functions: Parameters<typeof topLines>[1];
  truncated: boolean;
}>;

async function live(look: Look, seconds: number, url: string): Promise<void> {
  const quit = Promise.withResolvers<'quit'>();
  interruptSignal().addEventListener('abort', () => quit.resolve('quit'));
  // Raw mode takes Ctrl-C from the terminal, so it is read here.
  const onKey = (key: Buffer): void => {
    if (['q', 'Q', '\u0003', '\u001b'].includes(key.toString())) quit.resolve('quit');
  };
  process.stdin.setRawMode(true).resume().on('data', onKey);
  process.stdout.write(ALTERNATE);
  try {
    for (;;) {
      const screen = await Promise.race([
        quit.promise,
        look().then(
          ({ workers, functions, truncated }) => {
            const note = truncated ? `, the latest ${LIMIT} only` : '';
            const head = `${url}  ${new Date().toLocaleTimeString()}  calls of the last minute${note}  q quits`;
            return [head, '', ...topLines(workers, functions, process.stdout.rows - 3)];
          },
          (error: unknown) => [
            `${url} does not answer: ${error instanceof Error ? error.message : String(error)}`,
          ],
        ),
      ]);
      if (screen === 'quit') return;
      const { columns } = process.stdout;
      process.stdout.write(HOME_AND_CLEAR + screen.map((line) => line.slice(0, columns)).join('\r\n'));
      const pause = Promise.withResolvers<'again'>();
      const timer = setTimeout(() => pause.resolve('again'), seconds * 1_000);
      const next = await Promise.race([quit.promise, pause.promise]);
      clearTimeout(timer);
      if (next === 'quit') return;
    }
  } finally {
    process.stdout.write(BACK);
    process.stdin.setRawMode(false).pause().off('data', onKey);
  }
}
