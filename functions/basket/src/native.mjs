/** Packages with native code: addons, programs of their own, and WebAssembly. */
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

export const native = {
  '@node-rs/argon2': {
    use: async () => {
      const { hash, verify } = await import('@node-rs/argon2');
      const hashed = await hash('secret', { memoryCost: 4_096, timeCost: 2, parallelism: 2 });
      return [hashed.slice(0, 10), await verify(hashed, 'secret'), await verify(hashed, 'other')];
    },
    gives: ['$argon2id$', true, false],
  },
  bcrypt: {
    use: async () => {
      const { default: bcrypt } = await import('bcrypt');
      const hashed = await bcrypt.hash('secret', 5);
      return [await bcrypt.compare('secret', hashed), bcrypt.compareSync('other', hashed)];
    },
    gives: [true, false],
  },
  'sodium-native': {
    use: async () => {
      const { default: sodium } = await import('sodium-native');
      const key = sodium.sodium_malloc(sodium.crypto_secretbox_KEYBYTES);
      sodium.randombytes_buf(key);
      sodium.sodium_mprotect_readonly(key);
      const nonce = Buffer.alloc(sodium.crypto_secretbox_NONCEBYTES, 1);
      const sealed = Buffer.alloc(5 + sodium.crypto_secretbox_MACBYTES);
      const opened = Buffer.alloc(5);
      sodium.crypto_secretbox_easy(sealed, Buffer.from('hello'), nonce, key);
      const held = sodium.crypto_secretbox_open_easy(opened, sealed, nonce, key);
      return [held, opened.toString()];
    },
    gives: [true, 'hello'],
  },
  sharp: {
    use: async () => {
      const { default: sharp } = await import('sharp');
      const create = { width: 64, height: 32, channels: 3, background: '#f00' };
      const jpeg = await sharp({ create }).resize(16).blur(2).jpeg().toBuffer();
      await sharp(jpeg)
        .webp()
        .toFile(join(await mkdtemp('/tmp/sharp-'), 'a.webp'));
      const { format, width, height } = await sharp(jpeg).metadata();
      return { format, width, height };
    },
    gives: { format: 'jpeg', width: 16, height: 8 },
  },
  '@swc/core': {
    use: async () => {
      const { minifySync, transform } = await import('@swc/core');
      const { code } = await transform('const a: number = 1;', { jsc: { parser: { syntax: 'typescript' } } });
      return [/\ba = 1;/.test(code), code.includes('number'), minifySync('let  a  =  1;').code];
    },
    gives: [true, false, 'let a=1;'],
  },
  esbuild: {
    use: async () => {
      const { build, stop, transform } = await import('esbuild');
      const directory = await mkdtemp('/tmp/esbuild-');
      await writeFile(join(directory, 'a.ts'), 'import { b } from "./b"; console.log(b as number);');
      await writeFile(join(directory, 'b.ts'), 'export const b = 1;');
      await build({
        entryPoints: [join(directory, 'a.ts')],
        bundle: true,
        minify: true,
        outdir: directory,
        format: 'esm',
      });
      const { code } = await transform('let a: number = 1', { loader: 'ts', minify: true });
      await stop();
      return [await readFile(join(directory, 'a.js'), 'utf8'), code];
    },
    gives: ['console.log(1);\n', 'let a=1;\n'],
  },
  typescript: {
    use: async () => {
      const { execFileSync } = await import('node:child_process');
      const { createRequire } = await import('node:module');
      const directory = await mkdtemp('/tmp/typescript-');
      await writeFile(join(directory, 'a.ts'), 'export const a: number = "one";');
      const compiler = createRequire('/var/task/index.mjs').resolve('typescript/package.json');
      try {
        execFileSync(process.execPath, [join(compiler, '../bin/tsc'), '--pretty', 'false', 'a.ts'], {
          cwd: directory,
        });
        return 'no error';
      } catch (error) {
        return String(error.stdout).trim();
      }
    },
    gives: "a.ts(1,14): error TS2322: Type 'string' is not assignable to type 'number'.",
  },
  lightningcss: {
    use: async () => {
      const { transform } = await import('lightningcss');
      return transform({
        filename: 'a.css',
        code: Buffer.from('a { color: #ff0000 }'),
        minify: true,
      }).code.toString();
    },
    gives: 'a{color:red}',
  },
  rollup: {
    use: async () => {
      const { rollup } = await import('rollup');
      const directory = await mkdtemp('/tmp/rollup-');
      await writeFile(join(directory, 'a.js'), 'import { b } from "./b.js"; console.log(b);');
      await writeFile(join(directory, 'b.js'), 'export const b = 1; export const unused = 2;');
      const bundle = await rollup({ input: join(directory, 'a.js') });
      await bundle.write({ dir: join(directory, 'out') });
      await bundle.close();
      return await readFile(join(directory, 'out/a.js'), 'utf8');
    },
    gives: 'const b = 1;\n\nconsole.log(b);\n',
  },
  libsql: {
    use: async () => {
      const { default: Database } = await import('libsql');
      const database = new Database(join(await mkdtemp('/tmp/libsql-'), 'a.db'));
      database.pragma('journal_mode = WAL');
      database.exec('CREATE TABLE t (n INTEGER, s TEXT)');
      const insert = database.prepare('INSERT INTO t VALUES (?, ?)');
      database.transaction(() => [1, 2, 3].forEach((n) => insert.run(n, 'x'.repeat(2_000))))();
      const { total } = database.prepare('SELECT sum(n) AS total FROM t').get();
      database.exec('VACUUM');
      database.close();
      return total;
    },
    gives: 6,
  },
  'sql.js': {
    use: async () => {
      const { default: initialise } = await import('sql.js');
      const { Database } = await initialise();
      const database = new Database();
      database.run('CREATE TABLE t (n); INSERT INTO t VALUES (1), (2)');
      return database.exec('SELECT sum(n) FROM t')[0].values;
    },
    gives: [[3]],
  },
  lmdb: {
    use: async () => {
      const { open } = await import('lmdb');
      const database = open({ path: await mkdtemp('/tmp/lmdb-'), mapSize: 8 * 1024 * 1024 });
      await database.put('a', { n: 1 });
      await database.transaction(() => database.put('b', { n: 2 }));
      const values = [database.get('a'), [...database.getKeys()]];
      await database.close();
      return values;
    },
    gives: [{ n: 1 }, ['a', 'b']],
  },
  'classic-level': {
    use: async () => {
      const { ClassicLevel } = await import('classic-level');
      const database = new ClassicLevel(await mkdtemp('/tmp/level-'), { valueEncoding: 'json' });
      await database.batch([
        { type: 'put', key: 'a', value: { n: 1 } },
        { type: 'put', key: 'b', value: { n: 2 } },
      ]);
      const keys = await database.keys({ reverse: true }).all();
      await database.compactRange('a', 'z');
      const value = await database.get('a');
      await database.close();
      return [keys, value];
    },
    gives: [['b', 'a'], { n: 1 }],
  },
  '@parcel/watcher': {
    use: async () => {
      const { default: watcher } = await import('@parcel/watcher');
      const directory = await mkdtemp('/tmp/watcher-');
      // By comparing: there is no inotify.
      const options = { backend: 'brute-force' };
      await watcher.writeSnapshot(directory, `${directory}.snapshot`, options);
      await writeFile(join(directory, 'a'), 'x');
      const events = await watcher.getEventsSince(directory, `${directory}.snapshot`, options);
      return events.map(({ type, path }) => [type, path.slice(directory.length)]);
    },
    gives: [['create', '/a']],
  },
};
