/**
 * Archives from strangers: sound ones are accepted and unpacked, harmful ones of each kind are refused and leave
 * nothing behind.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import * as tar from 'tar-stream';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { inspectArchive, unpackArchive } from '#storage/artifacts/archive.ts';
import { Stopwatch } from '../../../support/platform/stopwatch.ts';

type Header = Parameters<tar.Pack['entry']>[0];

let directory = '';
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'offshoot-archive-'));
});
afterEach(async () => {
  await rm(directory, { recursive: true, force: true });
});

async function pack(entries: readonly (readonly [Header, string?])[]): Promise<Buffer> {
  const packed = tar.pack();
  for (const [header, body] of entries) packed.entry(header, body ?? '');
  packed.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of packed) chunks.push(chunk as Buffer);
  return gzipSync(Buffer.concat(chunks));
}

/** A tar header made by hand, for values that a library would not write. */
function rawHeader(name: string | Buffer, size: number, typeflag = '0', mode = '0000644'): Buffer {
  const header = Buffer.alloc(512);
  Buffer.from(name).copy(header, 0);
  header.write(`${mode}\0`, 100);
  header.write('0000000\0', 108);
  header.write('0000000\0', 116);
  header.write(`${size.toString(8).padStart(11, '0')}\0`, 124);
  header.write('00000000000\0', 136);
  header.write('        ', 148);
  header.write(typeflag, 156);
  header.write('ustar\0', 257);
  header.write('00', 263);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return header;
}

const END = Buffer.alloc(1024);
const mode = async (name: string): Promise<number> => (await stat(join(target(), name))).mode & 0o7777;
const target = (): string => join(directory, 'out');
const refusal = (code: string, message?: RegExp): object =>
  expect.objectContaining({ code, ...(message && { message: expect.stringMatching(message) as string }) });

/** Both readers must refuse it, and the one that writes must leave nothing. */
async function bothRefuse(archive: Buffer, code: string, message?: RegExp): Promise<void> {
  await expect(inspectArchive(Readable.from([archive]))).rejects.toEqual(refusal(code, message));
  await expect(unpackArchive(Readable.from([archive]), target())).rejects.toEqual(refusal(code, message));
  expect(existsSync(target())).toBe(false);
}

describe('a sound archive', () => {
  test('a sound archive is listed and unpacked with the same files', async () => {
    const big = 'x'.repeat(300_000);
    const archive = await pack([
      [{ name: 'index.mjs' }, 'export default {}'],
      [{ name: 'bin', type: 'directory' }],
      [{ name: 'bin/tool', mode: 0o755 }, '#!/bin/sh'],
      [{ name: './lib/deep/er/data.bin' }, big],
      [{ name: 'empty' }, ''],
      [{ name: `${'d'.repeat(90)}/${'e'.repeat(90)}/${'f'.repeat(90)}` }, 'long'],
      [{ name: 'grüße-日本.txt' }, 'unicode'],
    ]);
    const listed = await inspectArchive(Readable.from([archive]));
    expect(listed.map((file) => file.path)).toContain('lib/deep/er/data.bin');
    expect(listed).toContainEqual({ path: 'bin/tool', size: 9, executable: true });
    expect(await unpackArchive(Readable.from([archive]), target())).toEqual(listed);
    expect(await readFile(join(target(), 'lib/deep/er/data.bin'), 'utf8')).toBe(big);
    expect(await readFile(join(target(), 'grüße-日本.txt'), 'utf8')).toBe('unicode');
    expect((await stat(join(target(), 'empty'))).size).toBe(0);
  });

  test('files get modes 0644 and 0755 and no others, whatever the archive and the umask say', async () => {
    const archive = await pack([
      [{ name: 'setuid', mode: 0o6777 }, 'a'],
      [{ name: 'writable', mode: 0o666 }, 'b'],
      [{ name: 'secret', mode: 0o000 }, 'c'],
    ]);
    const before = process.umask(0o077);
    try {
      await unpackArchive(Readable.from([archive]), target());
    } finally {
      process.umask(before);
    }
    expect(await mode('setuid')).toBe(0o755);
    expect(await mode('writable')).toBe(0o644);
    expect(await mode('secret')).toBe(0o644);
  });

  test('a sound archive may come in any pieces', async () => {
    const archive = await pack([[{ name: 'a' }, 'hello']]);
    const bytewise = Readable.from([...archive].map((byte) => Buffer.of(byte)));
    expect(await inspectArchive(bytewise)).toEqual([{ path: 'a', size: 5, executable: false }]);
  });
});

describe('a path is refused', () => {
  test.each([
    ['../evil', /leads out/],
    ['a/../../evil', /leads out/],
    ['a/..', /leads out/],
    ['..', /leads out/],
    ['/etc/passwd', /absolute/],
    ['.//etc/passwd', /shortest form/],
    ['a//b', /shortest form/],
    ['a/./b', /shortest form/],
    ['a\\..\\b', /character/],
    ['new\nline', /character/],
    ['n'.repeat(300), /part longer/],
    [Array.from({ length: 12 }, () => 'p'.repeat(100)).join('/'), /longer than 1024/],
  ])('a path is refused: %s', async (name, message) => {
    await bothRefuse(await pack([[{ name }, 'x']]), 'bad_archive', message);
  });

  test('a path is refused that holds a NUL from an extended header', async () => {
    await bothRefuse(
      await pack([[{ name: 'a', pax: { path: 'safe\0/../x' } }, 'x']]),
      'bad_archive',
      /character/,
    );
  });

  test('a path is refused whose bytes are not UTF-8', async () => {
    const name = Buffer.from([0x61, 0xff, 0x62]);
    await bothRefuse(gzipSync(Buffer.concat([rawHeader(name, 0), END])), 'bad_archive', /character/);
  });
});

describe('an entry is refused', () => {
  test.each([
    ['symlink', '/etc/passwd'],
    ['link', 'index.mjs'],
    ['fifo', ''],
    ['character-device', ''],
    ['block-device', ''],
  ] as const)('an entry is refused: %s', async (type, linkname) => {
    const archive = await pack([[{ name: 'index.mjs' }, 'x'], [{ name: 'bad', type, linkname }]]);
    await bothRefuse(archive, 'bad_archive', /only files and directories/);
  });

  test('an entry of an unknown kind is refused', async () => {
    await bothRefuse(gzipSync(Buffer.concat([rawHeader('a', 0, 'S'), END])), 'bad_archive', /unknown kind/);
  });

  test('an entry that comes twice is refused', async () => {
    await bothRefuse(
      await pack([
        [{ name: 'a' }, '1'],
        [{ name: './a' }, '2'],
      ]),
      'bad_archive',
      /twice/,
    );
  });

  test('an entry that is both a file and a directory is refused', async () => {
    await bothRefuse(
      await pack([
        [{ name: 'a' }, '1'],
        [{ name: 'a/b' }, '2'],
      ]),
      'bad_archive',
      /both/,
    );
    await bothRefuse(
      await pack([
        [{ name: 'a/b' }, '2'],
        [{ name: 'a' }, '1'],
      ]),
      'bad_archive',
      /twice/,
    );
  });
});

describe('limits', () => {
  test('an archive with too many entries is refused [DE3]', async () => {
    const archive = await pack(
      Array.from({ length: 11 }, (_, index) => [{ name: `f${index}` }, ''] as const),
    );
    await expect(
      inspectArchive(Readable.from([archive]), { entries: 10, unpackedBytes: 1e6 }),
    ).rejects.toEqual(refusal('archive_too_large', /more than 10 entries/));
  });

  test('a decompression bomb is stopped early', async () => {
    const gigabyte = 1024 * 1024 * 1024;
    const header = rawHeader('bomb', gigabyte);
    let produced = 0;
    const source = Readable.from(
      (function* () {
        yield gzipSync(Buffer.concat([header, Buffer.alloc(1024 * 1024)]));
        produced++;
        yield Buffer.alloc(10);
      })(),
    );
    await expect(unpackArchive(source, target())).rejects.toEqual(
      refusal('archive_too_large', /unpacks to more/),
    );
    expect(existsSync(target())).toBe(false);
    expect(produced).toBeLessThan(2);
  });

  test('many files that are too large together are refused', async () => {
    const archive = await pack([
      [{ name: 'a' }, 'x'.repeat(600)],
      [{ name: 'b' }, 'x'.repeat(600)],
    ]);
    await expect(
      inspectArchive(Readable.from([archive]), { entries: 10, unpackedBytes: 1000 }),
    ).rejects.toEqual(refusal('archive_too_large'));
  });

  test('an archive of extended headers only is refused, which would keep the parser busy for minutes', async () => {
    const records = Buffer.from('5 a=b\n'.repeat(600_000)).subarray(0, 3 * 1024 * 1024);
    const one = Buffer.concat([rawHeader('pax', records.length, 'x'), records]);
    const archive = gzipSync(Buffer.concat([one, one, one, one]));
    const before = Stopwatch.start();
    await bothRefuse(archive, 'bad_archive', /headers and padding/);
    expect(before.stop()).toBeLessThan(2_000);
  });

  test('endless zeros after the end are refused', async () => {
    await bothRefuse(gzipSync(Buffer.alloc(50 * 1024 * 1024)), 'bad_archive', /headers and padding/);
  });
});

describe('a broken archive is refused as such', () => {
  test('a file that is no gzip is refused', async () => {
    await bothRefuse(Buffer.from('hello, I am not a tar'), 'bad_archive', /not a sound/);
  });
  test('an empty file is refused', async () => {
    await bothRefuse(Buffer.alloc(0), 'bad_archive', /not a sound/);
  });
  test('a gzip of something else is refused', async () => {
    await bothRefuse(
      gzipSync(createHash('sha256').update('x').digest().toString('hex').repeat(40)),
      'bad_archive',
    );
  });
  test('an archive that is cut off at any place is refused', async () => {
    const archive = await pack([
      [{ name: 'a' }, 'hello'.repeat(5000)],
      [{ name: 'b' }, 'x'],
    ]);
    for (let length = 1; length < archive.length; length += 17) {
      await bothRefuse(archive.subarray(0, length), 'bad_archive');
    }
  });
});

describe('unpacking', () => {
  test('unpacking never writes into an existing directory', async () => {
    const archive = await pack([[{ name: 'a' }, 'x']]);
    await symlink('/etc', target());
    await expect(unpackArchive(Readable.from([archive]), target())).rejects.toThrow(/EEXIST/);
    expect(existsSync('/etc/a')).toBe(false);
    await rm(target());
    await writeFile(target(), 'a file');
    await expect(unpackArchive(Readable.from([archive]), target())).rejects.toThrow(/EEXIST/);
    expect(await readFile(target(), 'utf8')).toBe('a file');
  });

  test('unpacking from a source that fails leaves nothing', async () => {
    const archive = await pack([[{ name: 'a' }, 'x'.repeat(100_000)]]);
    const source = Readable.from(
      (function* () {
        yield archive.subarray(0, 20);
        throw Object.assign(new Error('EIO: i/o error, read'), { syscall: 'read', code: 'EIO' });
      })(),
    );
    await expect(unpackArchive(source, target())).rejects.toThrow(/EIO/);
    expect(await readdir(directory)).toEqual([]);
  });
});
