/** Honest uses of Node's own modules, which the system call filter must not break. Each throws if it does not work. */
import assert from 'node:assert/strict';
import { AsyncLocalStorage } from 'node:async_hooks';
import { execFile, execFileSync, fork, spawn, spawnSync } from 'node:child_process';
import * as crypto from 'node:crypto';
import dgram from 'node:dgram';
import dns from 'node:dns/promises';
import { once } from 'node:events';
import * as fs from 'node:fs';
import fsp from 'node:fs/promises';
import http from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';
import os from 'node:os';
import { performance } from 'node:perf_hooks';
import readline from 'node:readline';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import v8 from 'node:v8';
import vm from 'node:vm';
import { Worker } from 'node:worker_threads';
import zlib from 'node:zlib';

const run = promisify(execFile);
const listening = async (server, ...place) => {
  server.listen(...place);
  await once(server, 'listening');
  return server.address();
};

export const uses = {
  'fs: write, append, read, stat, rename, copy, link, remove': async () => {
    await fsp.mkdir('/tmp/fs/deep', { recursive: true });
    await fsp.writeFile('/tmp/fs/a', 'one');
    await fsp.appendFile('/tmp/fs/a', 'two');
    await fsp.copyFile('/tmp/fs/a', '/tmp/fs/b');
    await fsp.rename('/tmp/fs/b', '/tmp/fs/c');
    await fsp.symlink('c', '/tmp/fs/link');
    await fsp.link('/tmp/fs/c', '/tmp/fs/hard');
    await fsp.chmod('/tmp/fs/c', 0o600);
    await fsp.utimes('/tmp/fs/c', 1, 1);
    await fsp.cp('/tmp/fs', '/tmp/fs2', { recursive: true });
    assert.equal(await fsp.readFile('/tmp/fs/link', 'utf8'), 'onetwo');
    assert.equal((await fsp.stat('/tmp/fs/hard')).nlink, 2);
    assert.deepEqual((await fsp.readdir('/tmp/fs2')).toSorted(), ['a', 'c', 'deep', 'hard', 'link']);
    await fsp.truncate('/tmp/fs/a', 1);
    await fsp.rm('/tmp/fs', { recursive: true });
    assert.equal(fs.existsSync('/tmp/fs'), false);
  },
  'fs: file handles, positions, vectors, sync': async () => {
    const file = await fsp.open('/tmp/handle', 'w+');
    await file.write('0123456789');
    await file.writev([Buffer.from('ab'), Buffer.from('cd')], 2);
    await file.sync();
    const { buffer } = await file.read(Buffer.alloc(4), 0, 4, 2);
    assert.equal(buffer.toString(), 'abcd');
    await file.close();
  },
  'fs: streams and watchFile': async () => {
    const seen = new Promise((resolve) => {
      fs.watchFile('/tmp/copy', { interval: 10 }, resolve);
    });
    await pipeline(
      fs.createReadStream('/usr/bin/node', { end: 1_000_000 }),
      fs.createWriteStream('/tmp/copy'),
    );
    await seen;
    fs.unwatchFile('/tmp/copy');
    assert.equal(fs.statSync('/tmp/copy').size, 1_000_001);
    // Refused, since a watch of a device reveals the activity of others (B5b), and inotify instances are the service
    // user's (U1).
    assert.throws(() => fs.watch('/tmp'), { code: 'EMFILE' });
  },
  'fs: temporary directories, statfs, access, opendir': async () => {
    const directory = await fsp.mkdtemp('/tmp/made-');
    await fsp.access(directory, fs.constants.W_OK);
    assert.ok((await fsp.statfs('/tmp')).bavail > 0);
    for await (const entry of await fsp.opendir('/tmp')) assert.ok(entry.name);
  },
  'child_process: exec, spawn with pipes, shell, environment, signals': async () => {
    assert.equal(execFileSync('/bin/sh', ['-c', 'echo $A'], { env: { A: 'b' } }).toString(), 'b\n');
    const cat = spawn('/bin/cat');
    cat.stdin.end('through');
    const [chunk] = await once(cat.stdout, 'data');
    assert.equal(chunk.toString(), 'through');
    const sleeper = spawn('/bin/sleep', ['100']);
    sleeper.kill();
    assert.deepEqual(await once(sleeper, 'exit'), [null, 'SIGTERM']);
    assert.equal(spawnSync('/bin/false').status, 1);
    assert.match((await run('/bin/ls', ['/'])).stdout, /usr/);
  },
  'child_process: a pipeline of the shell': () => {
    assert.equal(execFileSync('/bin/sh', ['-c', 'seq 10 | sort -rn | head -1']).toString(), '10\n');
  },
  'child_process: fork with messages': async () => {
    fs.writeFileSync(
      '/tmp/child.cjs',
      "process.on('message', (m) => process.send(m + 1, () => process.exit()))",
    );
    const child = fork('/tmp/child.cjs');
    child.send(41);
    assert.deepEqual((await once(child, 'message'))[0], 42);
    await once(child, 'exit');
  },
  'worker_threads: messages and shared memory': async () => {
    const shared = new SharedArrayBuffer(4);
    const code =
      "const { workerData, parentPort } = require('worker_threads'); Atomics.store(new Int32Array(workerData), 0, 7); parentPort.postMessage('done')";
    const worker = new Worker(code, { eval: true, workerData: shared });
    assert.deepEqual(await once(worker, 'message'), ['done']);
    assert.equal(new Int32Array(shared)[0], 7);
    await worker.terminate();
  },
  'http: server, client, fetch, keep-alive, streams': async () => {
    const server = http.createServer((request, response) => request.pipe(response));
    const { port } = await listening(server, 0, '127.0.0.1');
    const response = await fetch(`http://127.0.0.1:${port}`, { method: 'POST', body: 'x'.repeat(1_000_000) });
    assert.equal((await response.text()).length, 1_000_000);
    server.closeAllConnections();
    server.close();
  },
  'http2: server and client': async () => {
    const server = http2.createServer((_, response) => response.end('two'));
    const { port } = await listening(server, 0, '127.0.0.1');
    const client = http2.connect(`http://127.0.0.1:${port}`);
    const stream = client.request({ ':path': '/' });
    let text = '';
    for await (const chunk of stream) text += chunk;
    assert.equal(text, 'two');
    client.close();
    server.close();
  },
  'net: unix sockets, abstract sockets, IPv6 loopback': async () => {
    for (const place of [['/tmp/socket'], ['\0abstract'], [0, '::1']]) {
      const server = net.createServer((socket) => socket.end('hi'));
      const address = await listening(server, ...place);
      const socket = typeof address === 'string' ? net.connect(address) : net.connect(address.port, '::1');
      const [bytes] = await once(socket, 'data');
      assert.equal(bytes.toString(), 'hi');
      server.close();
    }
  },
  'dgram: UDP to itself': async () => {
    const socket = dgram.createSocket('udp4');
    socket.bind(0, '127.0.0.1');
    await once(socket, 'listening');
    socket.send('packet', socket.address().port, '127.0.0.1');
    assert.equal((await once(socket, 'message'))[0].toString(), 'packet');
    socket.close();
  },
  'dgram: each option of a socket, in both families': async () => {
    for (const [type, address, group] of [
      ['udp4', '127.0.0.1', '224.0.0.114'],
      ['udp6', '::1', 'ff02::114'],
    ]) {
      const socket = dgram.createSocket({ type, reuseAddr: true, ipv6Only: type === 'udp6' });
      socket.bind(0, address);
      await once(socket, 'listening');
      socket.setTTL(3);
      socket.setBroadcast(true);
      socket.setMulticastTTL(3);
      socket.setMulticastLoopback(true);
      socket.setMulticastInterface(type === 'udp4' ? address : '::%lo');
      // The loopback interface takes no group of IPv6: the kernel says so, and not the filter.
      for (const change of ['addMembership', 'dropMembership']) {
        try {
          socket[change](group, type === 'udp4' ? address : '::%lo');
        } catch ({ code }) {
          assert.ok(type === 'udp6' && code !== 'ENOSYS', `${change}: ${code}`);
        }
      }
      socket.setRecvBufferSize(65_536);
      socket.setSendBufferSize(65_536);
      assert.ok(socket.getRecvBufferSize() >= 65_536 && socket.getSendBufferSize() >= 65_536);
      socket.close();
    }
  },
  'net: options of connections and servers': async () => {
    const server = net.createServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: 1_000 });
    server.listen({ host: '::1', port: 0, ipv6Only: true, exclusive: true });
    await once(server, 'listening');
    const accepted = once(server, 'connection');
    const client = net.connect({ host: '::1', port: server.address().port, noDelay: true, keepAlive: true });
    await once(client, 'connect');
    client.setKeepAlive(true, 5_000);
    client.setNoDelay(false);
    client.setTimeout(1_000);
    const [socket] = await accepted;
    const reset = once(socket, 'error');
    client.resetAndDestroy();
    assert.equal((await reset)[0].code, 'ECONNRESET');
    server.close();
    const shared = net.createServer().listen({ host: '127.0.0.1', port: 0, reusePort: true });
    await once(shared, 'listening');
    shared.close();
  },
  'dns: localhost resolves, others fail soon': async () => {
    assert.ok((await dns.lookup('localhost')).address);
    await assert.rejects(dns.lookup('nowhere.invalid'));
  },
  'crypto: hashes, ciphers, keys, signatures, scrypt, WebCrypto': async () => {
    assert.equal(crypto.createHash('sha256').update('a').digest('hex').slice(0, 8), 'ca978112');
    const key = crypto.randomBytes(32);
    const cipher = crypto.createCipheriv('aes-256-gcm', key, Buffer.alloc(12));
    assert.equal(Buffer.concat([cipher.update('text'), cipher.final()]).length, 4);
    const { privateKey, publicKey } = crypto.generateKeyPairSync('ed25519');
    assert.ok(
      crypto.verify(null, Buffer.from('m'), publicKey, crypto.sign(null, Buffer.from('m'), privateKey)),
    );
    assert.equal((await promisify(crypto.scrypt)('p', 's', 32)).length, 32);
    assert.equal((await crypto.webcrypto.subtle.digest('SHA-1', Buffer.from('a'))).byteLength, 20);
    await promisify(crypto.generateKeyPair)('rsa', { modulusLength: 1024 });
  },
  'zlib: gzip, brotli, deflate, zstd': async () => {
    const data = Buffer.alloc(100_000, 'abc');
    for (const [pack, unpack] of [
      ['gzip', 'gunzip'],
      ['brotliCompress', 'brotliDecompress'],
      ['deflate', 'inflate'],
      ['zstdCompress', 'zstdDecompress'],
    ]) {
      const packed = await promisify(zlib[pack])(data);
      assert.ok(packed.length < 10_000 && (await promisify(zlib[unpack])(packed)).equals(data));
    }
  },
  'sqlite: a database in /tmp': async () => {
    const { DatabaseSync } = await import('node:sqlite');
    const database = new DatabaseSync('/tmp/data.db');
    database.exec('PRAGMA journal_mode=WAL; CREATE TABLE t (a); INSERT INTO t VALUES (1), (2)');
    assert.equal(database.prepare('SELECT sum(a) AS sum FROM t').get().sum, 3);
    database.close();
  },
  'WebAssembly: compile and run': async () => {
    const bytes = Buffer.from(
      '0061736d0100000001070160027f7f017f030201000707010361646400000a09010700200020016a0b',
      'hex',
    );
    const { instance } = await WebAssembly.instantiate(bytes);
    assert.equal(instance.exports.add(2, 3), 5);
  },
  'WebAssembly: a trap is caught': async () => {
    const bytes = Buffer.from(
      '0061736d01000000010401600000030201000503010001070501016600000a0b0109 0041ffffffff07280200 1a0b'.replaceAll(
        ' ',
        '',
      ),
      'hex',
    );
    const module = await WebAssembly.compile(bytes).catch(() => undefined);
    if (module) assert.throws(() => new WebAssembly.Instance(module).exports.f(), WebAssembly.RuntimeError);
  },
  'vm, v8, async_hooks, perf_hooks, readline': async () => {
    assert.equal(vm.runInNewContext('a + 1', { a: 1 }), 2);
    assert.deepEqual(v8.deserialize(v8.serialize(new Map([[1, { a: [1n] }]]))), new Map([[1, { a: [1n] }]]));
    assert.equal(await new AsyncLocalStorage().run(5, async () => sleep(1, 5)), 5);
    assert.ok(performance.eventLoopUtilization().active >= 0);
    const lines = [];
    for await (const line of readline.createInterface({ input: fs.createReadStream('/etc/passwd') }))
      lines.push(line);
    assert.ok(lines.length > 1);
  },
  'os and process: what they ask the kernel': () => {
    assert.ok(os.cpus().length >= 0 && os.availableParallelism() > 0 && os.totalmem() > 0);
    assert.ok(os.hostname() && os.release() && os.uptime() > 0 && os.userInfo().uid === 1000);
    assert.ok(
      process.resourceUsage().maxRSS > 0 && process.memoryUsage().rss > 0 && process.cpuUsage().user >= 0,
    );
    os.setPriority(5);
    assert.equal(os.getPriority(), 5);
  },
  'timers, signals, unhandled warnings': async () => {
    await sleep(1);
    const seen = once(process, 'SIGUSR2');
    process.kill(process.pid, 'SIGUSR2');
    await seen;
    process.emitWarning('only a warning');
  },
  'Blob, FormData, streams, URLPattern, structuredClone, Intl': async () => {
    assert.equal(await new Blob(['a', 'b']).text(), 'ab');
    const text = await new Response(
      new Blob(['packed'])
        .stream()
        .pipeThrough(new CompressionStream('gzip'))
        .pipeThrough(new DecompressionStream('gzip')),
    ).text();
    assert.equal(text, 'packed');
    assert.equal(structuredClone({ a: new Date(0) }).a.getTime(), 0);
    assert.equal(new Intl.NumberFormat('de').format(1234.5), '1.234,5');
  },
  'os.networkInterfaces': () => assert.ok(os.networkInterfaces().lo),
};
