/** Not packages but what they stand on: Node's own modules, and the programs of the image. */
import { execFile, fork, spawn, spawnSync } from 'node:child_process';
import crypto from 'node:crypto';
import dgram from 'node:dgram';
import { once } from 'node:events';
import fs from 'node:fs';
import fsp from 'node:fs/promises';
import net from 'node:net';
import os from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

/** Sends bytes to and fro between a server and its client; gives how many came back. */
async function echoed(options) {
  const server = net.createServer({ noDelay: true, keepAlive: true }, (socket) => socket.pipe(socket));
  server.listen(options);
  await once(server, 'listening');
  const client = net.connect({ ...options, port: server.address().port });
  client.setNoDelay(true);
  client.setKeepAlive(true, 1_000);
  client.end('x'.repeat(200_000));
  const { length } = await text(client);
  server.close();
  return length;
}

const failure = async (work) => {
  try {
    return await work();
  } catch (error) {
    return error.code;
  }
};

export const node = {
  'node:fs': {
    use: async () => {
      const root = await fsp.mkdtemp('/tmp/fs-');
      const at = (name) => join(root, name);
      const file = await fsp.open(at('a'), 'w+');
      await file.writev([Buffer.from('hello '), Buffer.from('world')]);
      await file.write('H', 0);
      const { buffer } = await file.read(Buffer.alloc(5), 0, 5, 0);
      await file.truncate(8);
      await file.datasync();
      await file.sync();
      await file.chmod(0o640);
      await file.utimes(1, 2);
      const { mtimeMs, mode } = await file.stat();
      await file.close();
      fs.appendFileSync(at('a'), '!');
      fs.copyFileSync(at('a'), at('b'));
      await fsp.cp(root, `${root}-copy`, { recursive: true });
      await fsp.link(at('a'), at('hard'));
      await fsp.symlink('a', at('soft'));
      await fsp.rename(at('b'), at('c'));
      await fsp.chmod(at('c'), 0o600);
      await fsp.lutimes(at('soft'), 1, 2);
      await fsp.access(at('c'), fs.constants.R_OK);
      await fsp.truncate(at('c'), 2);
      await fsp.chown(at('c'), process.getuid(), process.getgid());
      const { bsize } = await fsp.statfs('/tmp');
      const read = await text(fs.createReadStream(at('soft'), { start: 1 }));
      const list = (await fsp.readdir(root)).toSorted();
      const links = [await fsp.readlink(at('soft')), (await fsp.realpath(at('soft'))).slice(root.length)];
      await fsp.unlink(at('hard'));
      await fsp.mkdir(at('d/e'), { recursive: true });
      await fsp.rmdir(at('d/e'));
      await fsp.rm(root, { recursive: true });
      const missing = await failure(() => fsp.stat(at('a')));
      return [buffer.toString(), mtimeMs, mode & 0o777, bsize > 0, read, list, links, missing];
    },
    gives: ['Hello', 2000, 0o640, true, 'ello wo!', ['a', 'c', 'hard', 'soft'], ['a', '/a'], 'ENOENT'],
  },
  'node:fs watch': {
    // There is no inotify; fs.watchFile looks at times.
    use: async () => {
      const root = await fsp.mkdtemp('/tmp/watch-');
      const refused = await failure(() => fs.watch(root));
      await fsp.writeFile(join(root, 'a'), '');
      const changed = new Promise((resolve) => fs.watchFile(join(root, 'a'), { interval: 20 }, resolve));
      await sleep(60);
      await fsp.appendFile(join(root, 'a'), 'x');
      const { size } = await changed;
      fs.unwatchFile(join(root, 'a'));
      return [refused, size];
    },
    gives: ['EMFILE', 1],
  },
  'node:child_process': {
    use: async () => {
      const root = await fsp.mkdtemp('/tmp/child-');
      await fsp.writeFile(
        join(root, 'child.mjs'),
        `process.on('message', (n) => { process.send(n + 1); process.disconnect(); });`,
      );
      const child = fork(join(root, 'child.mjs'));
      child.send(1);
      const [answer] = await once(child, 'message');
      const [left] = await once(child, 'exit');
      const sleeper = spawn('/bin/sleep', ['60'], { detached: true, stdio: 'ignore' });
      await once(sleeper, 'spawn');
      process.kill(-Number(sleeper.pid), 'SIGTERM');
      const [, signal] = await once(sleeper, 'exit');
      const { stdout } = await promisify(execFile)('/bin/pwd', { cwd: '/tmp' });
      const fed = spawnSync('/bin/cat', { input: 'fed', env: { A: '1' } }).stdout.toString();
      const absent = await failure(() => promisify(execFile)('/no/such/program'));
      return [answer, left, signal, stdout, fed, absent];
    },
    gives: [2, 0, 'SIGTERM', '/tmp\n', 'fed', 'ENOENT'],
  },
  'node:net': {
    use: async () => [
      await echoed({ host: '127.0.0.1', port: 0 }),
      await echoed({ path: join(await fsp.mkdtemp('/tmp/net-'), 'socket') }),
      await failure(() => once(net.connect(9, '127.0.0.1'), 'connect')),
    ],
    gives: [200_000, 200_000, 'ECONNREFUSED'],
  },
  'node:net IPv6': {
    use: () => echoed({ host: '::1', port: 0 }),
    gives: 200_000,
  },
  'node:dgram': {
    use: async () => {
      const [one, other] = [
        dgram.createSocket('udp4'),
        dgram.createSocket({ type: 'udp4', reuseAddr: true }),
      ];
      other.bind(0, '127.0.0.1');
      await once(other, 'listening');
      other.setRecvBufferSize(65_536);
      other.setTTL(3);
      one.connect(other.address().port, '127.0.0.1');
      await once(one, 'connect');
      one.setBroadcast(true);
      one.send(['a', 'b']);
      const [message] = await once(other, 'message');
      one.close();
      other.close();
      return message.toString();
    },
    gives: 'ab',
  },
  'node:http2': {
    use: async () => {
      const http2 = await import('node:http2');
      const server = http2.createServer((_, response) => response.end('pushed'));
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      const client = http2.connect(`http://127.0.0.1:${server.address().port}`);
      const answer = await text(client.request({ ':path': '/' }));
      client.close();
      server.close();
      return answer;
    },
    gives: 'pushed',
  },
  'node:dns': {
    use: async () => {
      const dns = await import('node:dns/promises');
      const resolver = new dns.Resolver({ timeout: 200, tries: 1 });
      resolver.setServers(['127.0.0.1']);
      return [
        (await dns.lookup('localhost', { family: 4 })).address,
        await failure(() => resolver.resolve4('a.invalid')),
        await failure(() => dns.lookup('a.invalid')),
      ];
    },
    gives: ['127.0.0.1', 'ECONNREFUSED', 'ENOTFOUND'],
  },
  'node:crypto': {
    use: async () => {
      const { privateKey, publicKey } = await promisify(crypto.generateKeyPair)('rsa', {
        modulusLength: 1_024,
      });
      const signed = crypto.verify(
        'sha256',
        Buffer.from('x'),
        publicKey,
        crypto.sign('sha256', Buffer.from('x'), privateKey),
      );
      const key = await promisify(crypto.scrypt)('secret', 'salt', 16, { N: 1_024 });
      const digest = crypto.createHash('sha256').update('x').digest('hex').slice(0, 8);
      return [
        signed,
        key.toString('hex').slice(0, 8),
        digest,
        (await promisify(crypto.randomBytes)(9)).length,
      ];
    },
    gives: [true, 'eba9bb7e', '2d711642', 9],
  },
  'node:zlib': {
    use: async () => {
      const zlib = await import('node:zlib');
      const input = Buffer.alloc(300_000, 'abc');
      const packed = [
        await promisify(zlib.gzip)(input),
        await promisify(zlib.brotliCompress)(input),
        zlib.zstdCompressSync(input),
      ];
      return [
        (await promisify(zlib.gunzip)(packed[0])).equals(input),
        zlib.brotliDecompressSync(packed[1]).equals(input),
        zlib.zstdDecompressSync(packed[2]).equals(input),
      ];
    },
    gives: [true, true, true],
  },
  'node:sqlite': {
    use: async () => {
      const { DatabaseSync } = await import('node:sqlite');
      const path = join(await fsp.mkdtemp('/tmp/sqlite-'), 'a.db');
      const database = new DatabaseSync(path);
      database.exec('PRAGMA journal_mode = WAL; PRAGMA mmap_size = 1000000; CREATE TABLE t (n)');
      database.exec('BEGIN; INSERT INTO t VALUES (1), (2); COMMIT; PRAGMA wal_checkpoint');
      const other = new DatabaseSync(path, { readOnly: true });
      const { sum } = other.prepare('SELECT sum(n) AS sum FROM t').get();
      other.close();
      database.close();
      return sum;
    },
    gives: 3,
  },
  'node:os': {
    use: () => {
      os.setPriority(19);
      return [
        os.getPriority(),
        os.availableParallelism() > 0,
        os.totalmem() > 0,
        os.freemem() > 0,
        os.uptime() > 0,
        os.loadavg().length,
        os.release() !== '',
        os.userInfo().uid,
        Object.keys(os.networkInterfaces()),
      ];
    },
    gives: [19, true, true, true, true, 3, true, 1000, ['lo']],
  },
  'node:process': {
    use: async () => {
      const signalled = once(process, 'SIGUSR2');
      process.kill(process.pid, 'SIGUSR2');
      await signalled;
      const before = process.umask(0o77);
      process.umask(before);
      process.title = 'basket';
      await sleep(2);
      return [
        before,
        process.getuid(),
        process.geteuid(),
        process.getgid(),
        process.getgroups(),
        process.ppid,
        process.cwd(),
        process.cpuUsage().user > 0,
        process.resourceUsage().maxRSS > 0,
        process.memoryUsage().rss > 0,
        process.stdout.isTTY ?? false,
        process.report.getReport().header.event,
      ];
    },
    gives: [18, 1000, 1000, 1000, [1000], 0, '/var/task', true, true, true, false, 'JavaScript API'],
  },
  'node:v8': {
    use: async () => {
      const v8 = await import('node:v8');
      const snapshot = v8.getHeapSnapshot();
      let bytes = 0;
      for await (const part of snapshot) bytes += part.length;
      const kept = Array.from({ length: 20 }, () => Buffer.alloc(1024 * 1024, 1));
      return [bytes > 100_000, kept.length, v8.getHeapStatistics().heap_size_limit > 0];
    },
    gives: [true, 20, true],
  },
  WebAssembly: {
    use: async () => {
      // (module (memory (export "m") 1 100) (func (export "g") (result i32) (memory.grow (i32.const 9))))
      const code = [
        '0061736d01000000', // magic, version
        '0105016000017f', // types: () -> i32
        '03020100', // functions
        '050401010164', // memory: 1 to 100 pages
        '070902016d020001670000', // exports
        '0a08010600410940000b', // code: memory.grow 9
      ];
      const { instance } = await WebAssembly.instantiate(Buffer.from(code.join(''), 'hex'));
      return [instance.exports.g(), instance.exports.m.buffer.byteLength];
    },
    gives: [1, 655_360],
  },
  programs: {
    use: () => {
      const script = `set -e; cd "$(mktemp -d /tmp/sh-XXXXXX)"; umask 027; mkdir -p a/b; printf 'b\\na\\n' > a/x
        cp -a a c; cp a/x c/y; mv c d; ln -s x a/l; ln a/x a/h; install -m 600 a/x e; touch -d @1 e; dd if=a/x of=f bs=1 count=3 2>/dev/null
        ls -lR . > list; df /tmp > /dev/null; du -s . > /dev/null; stat e > /dev/null; sort a/x | head -n 1; cat a/x | wc -l; sync f; truncate -s 9 f
        echo through | tee p > /dev/null; cat p; nice -n 1 true; nohup true 2>/dev/null; timeout 5 sleep 0.01; chmod 600 e; chown "$(id -u)" e; shred -u e
        yes | head -n 1; date +%s > /dev/null; nproc > /dev/null; uname -r > /dev/null; mktemp -u > /dev/null; tail -n 1 a/x; tac a/x; readlink a/l; realpath a/l > /dev/null
        (sleep 5 & kill $!; wait) 2>/dev/null; trap 'echo trapped' USR1; kill -USR1 $$; split -b 1 a/x; rm -r a d; tty || echo no; who; ulimit -n > /dev/null; times > /dev/null`;
      const { stdout, stderr, status } = spawnSync('/bin/sh', ['-c', script]);
      return [status, stdout.toString().split('\n'), stderr.toString()];
    },
    gives: [0, ['a', '2', 'through', 'y', 'a', 'a', 'b', 'x', 'trapped', 'not a tty', 'no', ''], ''],
  },
};
