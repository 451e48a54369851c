/** Packages of command lines, logs, files, processes and threads. */
import { once } from 'node:events';
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { format } from 'node:util';

export const tools = {
  commander: {
    use: async () => {
      const { Command } = await import('commander');
      const program = new Command().option('-n, --number <n>', 'a number', Number).argument('<file>');
      program.parse(['-n', '3', 'a.txt'], { from: 'user' });
      return [program.opts(), program.args];
    },
    gives: [{ number: 3 }, ['a.txt']],
  },
  yargs: {
    use: async () => {
      const { default: yargs } = await import('yargs');
      const { number, list } = await yargs(['--number=3', '--list', 'a', 'b'])
        .array('list')
        .exitProcess(false)
        .parse();
      return [number, list];
    },
    gives: [3, ['a', 'b']],
  },
  chalk: {
    use: async () => {
      const { Chalk } = await import('chalk');
      return new Chalk({ level: 1 }).red('x');
    },
    gives: '\u001b[31mx\u001b[39m',
  },
  debug: {
    use: async () => {
      const { default: debug } = await import('debug');
      debug.enable('basket:*');
      const log = debug('basket:a');
      const lines = [];
      log.useColors = false;
      log.log = (...line) => lines.push(format(...line).endsWith(' basket:a said 1'));
      log('said %d', 1);
      debug.disable();
      return [log.enabled, lines];
    },
    gives: [false, [true]],
  },
  pino: {
    use: async () => {
      const { default: pino } = await import('pino');
      const directory = await mkdtemp('/tmp/pino-');
      const target = pino.destination({ dest: join(directory, 'log'), sync: false });
      await once(target, 'ready');
      pino({ base: undefined, timestamp: false }, target).info({ a: 1 }, 'hello');
      target.end();
      await once(target, 'close');
      return await readFile(join(directory, 'log'), 'utf8');
    },
    gives: '{"level":30,"a":1,"msg":"hello"}\n',
  },
  winston: {
    use: async () => {
      const { default: winston } = await import('winston');
      const stream = new PassThrough();
      const logger = winston.createLogger({
        format: winston.format.json(),
        transports: [new winston.transports.Stream({ stream })],
      });
      logger.warn('hello', { a: 1 });
      logger.end();
      await once(logger, 'finish');
      stream.end();
      return JSON.parse(await text(stream));
    },
    gives: { a: 1, level: 'warn', message: 'hello' },
  },
  glob: {
    use: async () => {
      const { glob } = await import('glob');
      const cwd = await mkdtemp('/tmp/glob-');
      await Promise.all(['a.js', 'b.ts', 'c.js'].map((name) => writeFile(join(cwd, name), '')));
      return (await glob('**/*.js', { cwd })).toSorted();
    },
    gives: ['a.js', 'c.js'],
  },
  'fs-extra': {
    use: async () => {
      const { default: fs } = await import('fs-extra');
      const root = await mkdtemp('/tmp/fs-extra-');
      await fs.outputJson(join(root, 'a/b/c.json'), { n: 1 });
      await fs.copy(join(root, 'a'), join(root, 'd'), { preserveTimestamps: true });
      await fs.move(join(root, 'd'), join(root, 'e'));
      await fs.ensureSymlink(join(root, 'e'), join(root, 'link'));
      await fs.ensureLink(join(root, 'e/b/c.json'), join(root, 'hard.json'));
      await fs.remove(join(root, 'a'));
      return [await fs.readJson(join(root, 'link/b/c.json')), await fs.pathExists(join(root, 'a'))];
    },
    gives: [{ n: 1 }, false],
  },
  execa: {
    use: async () => {
      const { execa } = await import('execa');
      const piped = await execa({ input: 'b\na\n' })`sort`.pipe`tail -n 1`;
      const failed = await execa('/bin/sh', ['-c', 'echo no >&2; exit 3'], { reject: false });
      const stopped = await execa('/bin/sleep', ['60'], { reject: false, timeout: 50 });
      return [piped.stdout, failed.exitCode, failed.stderr, stopped.timedOut];
    },
    gives: ['b', 3, 'no', true],
  },
  piscina: {
    use: async () => {
      const { Piscina } = await import('piscina');
      const directory = await mkdtemp('/tmp/piscina-');
      await writeFile(join(directory, 'add.mjs'), 'export default ({ a, b }) => a + b;');
      const pool = new Piscina({ filename: join(directory, 'add.mjs'), maxThreads: 2 });
      const sums = await Promise.all([1, 2, 3].map((a) => pool.run({ a, b: 10 })));
      await pool.destroy();
      return sums;
    },
    gives: [11, 12, 13],
  },
};
