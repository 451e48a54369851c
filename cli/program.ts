/**
 * The table of verbs. Each verb's own module is loaded only when it runs, so that the start stays quick whatever the
 * others need.
 */
import { Command, CommanderError, Option } from 'commander';
import packageJson from '../package.json' with { type: 'json' };
import { makeContext, type Context, type GlobalFlags } from './terminal/context.ts';
import { CliError, EXIT_CODES, messageOf } from './terminal/errors.ts';
import { Terminal } from './terminal/terminal.ts';

/** Runs the command line and answers the exit code. */
export async function run(argv: readonly string[]): Promise<number> {
  const json = argv.includes('--json');
  const terminal = new Terminal(json);
  let exitCode: number = EXIT_CODES.ok.code;
  const program = buildProgram(terminal, (code) => (exitCode = code));
  try {
    await program.parseAsync(argv, { from: 'user' });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return commanderExit(error, terminal, program, argv);
    if (error instanceof CliError) {
      terminal.error(error);
      return error.exitCode;
    }
    return bug(error, terminal);
  }
}

/** The program without side effects, for `run` and for tests of its help. */
export function buildProgram(terminal: Terminal, exit: (code: number) => void): Command {
  const program = new Command('offshoot')
    .description('Deploy functions to an Offshoot platform, call them, and see what happened.')
    .version(packageJson.version, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'show help')
    .helpCommand(false)
    .enablePositionalOptions()
    .showSuggestionAfterError(true)
    .exitOverride()
    .configureOutput({
      // What commander would print about an error is printed by commanderExit, in the form that all errors have.
      outputError: () => undefined,
      writeOut: (text) => void (terminal.json ? process.stderr : process.stdout).write(text),
    });
  shared(program);
  program.addHelpText(
    'after',
    `
First steps:
  offshoot init hello && cd hello
  offshoot deploy

More help: offshoot help VERB, offshoot help exit-codes`,
  );

  /** Adds a verb whose action gets a context, its positional arguments and its own options. */
  const verb = (
    usage: string,
    description: string,
    load: () => Promise<
      (context: Context, args: string[], options: never) => Promise<number | undefined | void>
    >,
  ): Command => {
    const command = program.command(usage).description(description).helpOption('-h, --help', 'show help');
    shared(command);
    return command.action(async () => {
      const act = await load();
      const args = command.processedArgs.filter((arg): arg is string => typeof arg === 'string');
      const context = makeContext(command.optsWithGlobals<GlobalFlags>());
      // Each verb declares the type of its own options; `never` is what fits them all.
      const code = await act(context, args, command.optsWithGlobals<never>());
      if (typeof code === 'number') exit(code);
    });
  };

  verb(
    'init <name>',
    'make a folder with a new function',
    async () => (await import('./commands/functions/init.ts')).init,
  )
    .addOption(
      new Option('-t, --template <template>', 'what to start from')
        .choices(['fetch', 'hono', 'lambda'])
        .default('fetch'),
    )
    .option('--no-install', 'do not install the npm packages of the template');
  verb(
    'dev [dir]',
    'deploy at every change and follow the logs; starts the platform when none runs',
    async () => (await import('./commands/functions/dev.ts')).dev,
  );
  verb(
    'deploy [dir]',
    'bundle the function in a folder, upload it, and wait until it has loaded',
    async () => (await import('./commands/functions/deploy.ts')).deploy,
  );
  verb(
    'invoke <name>',
    'call a function',
    async () => (await import('./commands/functions/invoke.ts')).invoke,
  )
    .option('-d, --data <data>', 'the event or body: text, @file, or - for stdin')
    .option('-p, --path <path>', 'call over HTTP with this path and query')
    .option('-X, --method <method>', 'call over HTTP with this method')
    .option('-H, --header <header>', 'call over HTTP with this header (repeatable)', collect)
    .option('-a, --async', 'queue the event and do not wait for it')
    .option('--delay <seconds>', 'with --async: not before')
    .option('--ttl <seconds>', 'with --async: not after')
    .option('--priority <number>', 'with --async: 1 is first')
    .option('--idempotency-key <key>', 'with --async: the same key is the same invocation for 24 hours')
    .option('--callback <url>', 'with --async: tell this URL, by a signed POST, how it has ended');
  verb(
    'list',
    'list the functions of a namespace',
    async () => (await import('./commands/functions/list.ts')).list,
  );
  verb(
    'describe <name>',
    'show a function, its versions and its latest invocations',
    async () => (await import('./commands/functions/describe.ts')).describe,
  );
  verb(
    'logs <name>',
    'show what a function has printed',
    async () => (await import('./commands/functions/logs.ts')).logs,
  )
    .option('-f, --follow', 'wait for more, until Ctrl-C')
    .option('-i, --invocation <id>', 'only the lines of this invocation')
    .option('-g, --grep <text>', 'only lines with this text in them')
    .option('-s, --since <time>', 'only lines from then on: 30s, 10m, 2h, 1d ago, or a date')
    .option('-o, --outcome <outcome>', 'only lines of invocations that ended so, such as error or timeout')
    .option('-l, --level <level>', 'only lines of this level or a graver one: debug, info, warn, error');
  verb(
    'trace <id>',
    'show where the time of an invocation went, and its logs; or, by its id, of a whole trace',
    async () => (await import('./commands/invocations/trace.ts')).trace,
  ).option('--isolation', 'also show all that its sandbox was isolated by');
  verb(
    'why <id>',
    'say in words where the time of an invocation went, and what would change it',
    async () => (await import('./commands/invocations/why.ts')).why,
  );
  verb(
    'top',
    'functions and sandboxes, live; q quits',
    async () => (await import('./commands/functions/top.ts')).top,
  )
    .option('--interval <seconds>', 'look so often; 2')
    .option('--once', 'print one table and end');
  verb(
    'invocations [name]',
    'list the latest invocations',
    async () => (await import('./commands/invocations/invocations.ts')).invocations,
  )
    .option('--state <state>', 'queued, running or done')
    .option('--outcome <outcome>', 'only those that ended so')
    .option('--trace <id>', 'only those of this trace')
    .option('--limit <count>', 'so many at most');
  verb(
    'result <id>',
    'print what an invocation of the queued lane answered',
    async () => (await import('./commands/invocations/result.ts')).result,
  );
  verb(
    'cancel <id>',
    'end an invocation: one that waits is not run, one that runs is killed',
    async () => (await import('./commands/invocations/cancel.ts')).cancel,
  );
  verb(
    'replay <id>',
    'queue the input of an invocation again',
    async () => (await import('./commands/invocations/replay.ts')).replay,
  )
    .option('-d, --data <data>', 'another event: text, @file, or - for stdin')
    .option('--version-number <number>', 'another version of the function');
  verb(
    'batch <file>',
    'run a function for each item of a file: one JSON value a line, or one array; - is stdin',
    async () => (await import('./commands/invocations/batch.ts')).batch,
  )
    .option('-f, --function <name>', 'which; without it, the one of this folder')
    .option('-o, --output <file>', 'write what came of each item here, in order')
    .option('--detach', 'do not wait for the end');
  verb(
    'batches [action] [id]',
    'batches: list, show ID, results ID, cancel ID, seal ID',
    async () => (await import('./commands/invocations/batches.ts')).batches,
  )
    .option('--completed', 'results: as they are completed, not in order')
    .option('--follow', 'results: go on until the batch has ended');
  verb(
    'schedule',
    'show which functions run by themselves, and when next',
    async () => (await import('./commands/functions/schedule.ts')).schedule,
  );
  verb(
    'callbacks [action]',
    'the secret that callbacks are signed with: callbacks secret',
    async () => (await import('./commands/invocations/callbacks.ts')).callbacks,
  ).option('--rotate', 'make a new one; the old one holds for another day');
  verb(
    'dlq [action] [id]',
    'invocations that failed for good: dlq list, dlq show ID, dlq redrive ID, dlq purge ID',
    async () => (await import('./commands/invocations/dlq.ts')).dlq,
  )
    .option('-f, --function <name>', 'only those of this function')
    .option('--all', 'redrive, purge: all of them')
    .option('-y, --yes', 'purge: do not ask');
  verb(
    'limits',
    'show or set what a namespace may take; "none" takes a limit away',
    async () => (await import('./commands/platform/limits.ts')).limits,
  )
    .option('--concurrency <count>', 'invocations at the same time')
    .option('--rate <number>', 'invocations per second that may begin')
    .option('--burst <count>', 'with a rate: so many may begin at once')
    .option('--weight <number>', 'its share of a worker beside other namespaces; 1 by itself')
    .option('--max-queued <count>', 'invocations that may wait in its queue');
  verb(
    'rm <name>',
    'remove a function and all its versions',
    async () => (await import('./commands/functions/rm.ts')).rm,
  ).option('-y, --yes', 'do not ask');
  verb(
    'login [url]',
    'check an API key and keep it for the other verbs',
    async () => (await import('./commands/platform/login.ts')).login,
  );
  verb(
    'keys [action] [id]',
    'API keys: keys list, keys create, keys rm ID',
    async () => (await import('./commands/platform/keys.ts')).keys,
  )
    .option(
      '-s, --scope <scope>',
      'create: what the key may do: deploy, read, invoke, admin (repeatable)',
      collect,
    )
    .option('-y, --yes', 'rm: do not ask');
  verb(
    'doctor',
    'check what this host lacks to run the platform',
    async () => (await import('./commands/platform/doctor.ts')).doctor,
  );
  program
    .command('help [topic]', { hidden: true })
    .action(async (topic: string | undefined) =>
      (await import('./commands/platform/help.ts')).help(program, topic, terminal),
    );
  return program;
}

/** The flags that every verb takes; also before the verb. */
function shared(command: Command): void {
  command
    .option('--url <url>', 'URL of the gateway (OFFSHOOT_URL)')
    .option('--key <key>', 'API key (OFFSHOOT_API_KEY)')
    .option('-n, --namespace <namespace>', 'namespace (OFFSHOOT_NAMESPACE)')
    .option('--json', 'print one JSON document on stdout, for programs');
}

function collect(value: string, previous: string[] | undefined): string[] {
  return [...(previous ?? []), value];
}

function commanderExit(
  error: CommanderError,
  terminal: Terminal,
  program: Command,
  argv: readonly string[],
): number {
  if (error.exitCode === 0) return EXIT_CODES.ok.code;
  // `offshoot` alone shows its help, which commander counts as an error without a message.
  if (error.code === 'commander.help') return EXIT_CODES.usage.code;
  const message = error.message.replace(/^error: /, '').replaceAll('\n', ' ');
  const verb = program.commands.find((command) => argv.includes(command.name()));
  const next = verb ? `offshoot help ${verb.name()}` : 'offshoot help';
  terminal.error(new CliError('usage', message, { code: 'bad_usage', next }));
  return EXIT_CODES.usage.code;
}

function bug(error: unknown, terminal: Terminal): number {
  const stack = error instanceof Error && error.stack ? error.stack.split('\n').slice(1) : [];
  terminal.error(
    new CliError('failed', `offshoot itself failed: ${messageOf(error)}`, {
      code: 'internal',
      lines: stack.map((line) => line.trim()),
      next: 'report this with the lines above; meanwhile see what the host lacks: offshoot doctor',
    }),
  );
  return EXIT_CODES.failed.code;
}
