/**
 * Archives that a hostile client uploads past the CLI: whatever their content, the host is unchanged, and others are
 * served.
 */
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { Platform } from '../../support/platform/platform.ts';
import { END, packed, padded, paxHeader, rawHeader, type Entry } from './archives.ts';
import { deployArchive, deployAttack, gone, hostFacts, peakMb, sandboxesOf } from './platform.ts';

const INDEX: Entry = [
  { name: 'index.mjs' },
  'export default { fetch: () => Response.json({ served: true }) };',
];
const MB = 1024 * 1024;

let platform: Platform;
let canaries = '';
let canary = '';
beforeAll(async () => {
  platform = await Platform.start();
  await platform.deploy('hello-fetch', { name: 'honest' });
  await deployAttack(platform, 'files', { timeout: 4, memory: 256 });
}, 90_000);
afterAll(() => platform.stop());

beforeEach(async () => {
  canaries = await mkdtemp(join(tmpdir(), 'offshoot-canary-'));
  canary = join(canaries, 'canary');
  await writeFile(canary, 'untouched');
});
afterEach(async () => {
  expect(await readdir(canaries)).toEqual(['canary']);
  expect(await readFile(canary, 'utf8')).toBe('untouched');
  await rm(canaries, { recursive: true });
  // No half unpacked archive stays behind, and the neighbour answers.
  const store = await readdir(join(platform.state, 'code', 'default')).catch(() => []);
  expect(store.filter((name) => !/^[0-9a-f]{64}$/.test(name))).toEqual([]);
  expect((await platform.call('honest')).status).toBe(200);
});

const deploy = (archive: Buffer): ReturnType<typeof deployArchive> =>
  deployArchive(platform, 'hostile', archive);
const up = '../'.repeat(20);

describe('an archive that climbs out', () => {
  test.each<readonly [string, () => readonly Entry[]]>([
    ['a path that climbs', () => [INDEX, [{ name: `${up}${canary.slice(1)}` }, 'owned']]],
    ['a path that climbs from within', () => [INDEX, [{ name: `lib/${up}${canary.slice(1)}` }, 'owned']]],
    ['an absolute path', () => [INDEX, [{ name: canary }, 'owned']]],
    ['a path with backslashes', () => [INDEX, [{ name: `..\\..\\${canary}` }, 'owned']]],
    [
      'a file through a symbolic link',
      () => [
        INDEX,
        [{ name: 'out', type: 'symlink', linkname: canaries }],
        [{ name: 'out/canary' }, 'owned'],
      ],
    ],
    [
      'a file in the place of a symbolic link',
      () => [INDEX, [{ name: 'out', type: 'symlink', linkname: canary }], [{ name: 'out' }, 'owned']],
    ],
    [
      'a hard link',
      () => [INDEX, [{ name: 'out', type: 'link', linkname: canary }], [{ name: 'out' }, 'owned']],
    ],
    ['a directory that climbs', () => [INDEX, [{ name: `${up}tmp/owned/`, type: 'directory' }]]],
  ])('B8 zip-slip: %s is refused, the host unchanged [DE3]', async (_, entries) => {
    expect(await deploy(await packed(entries()))).toMatchObject({ status: 400, code: 'bad_archive' });
  });

  test.each<readonly [string, () => Buffer[]]>([
    [
      'a path hidden in an extended header',
      () => [
        paxHeader({ path: `${up}${canary.slice(1)}` }),
        rawHeader('fine', 5),
        padded(Buffer.from('owned')),
      ],
    ],
    [
      'a path with a NUL and a climb behind it',
      () => [
        paxHeader({ path: `fine\0/${up}${canary.slice(1)}` }),
        rawHeader('fine', 5),
        padded(Buffer.from('owned')),
      ],
    ],
    [
      'a link hidden in an extended header',
      () => [
        paxHeader({ linkpath: canary }),
        rawHeader('out', 0, '2'),
        rawHeader('out', 5),
        padded(Buffer.from('owned')),
      ],
    ],
  ])('B8 zip-slip: %s is refused, the host unchanged', async (_, blocks) => {
    const index = padded(Buffer.from(String(INDEX[1])));
    const archive = gzipSync(
      Buffer.concat([rawHeader('index.mjs', String(INDEX[1]).length), index, ...blocks(), END]),
    );
    expect(await deploy(archive)).toMatchObject({ status: 400, code: 'bad_archive' });
  });
});

describe('an archive that is larger than it looks', () => {
  /** Values of the gateway and the worker before each test, to compare with those after it. */
  async function bounded(attack: () => Promise<void>): Promise<void> {
    const host = await hostFacts(platform.state);
    const before = peakMb(platform.pid('gateway')) + peakMb(platform.pid('worker'));
    const start = performance.now();
    await attack();
    expect(performance.now() - start).toBeLessThan(20_000);
    const after = await hostFacts(platform.state);
    // Other programs write to the same disk; a bomb would take gigabytes and hundreds of thousands of inodes.
    expect(host.freeMb - after.freeMb).toBeLessThan(1024);
    expect(host.freeInodes - after.freeInodes).toBeLessThan(50_000);
    expect(peakMb(platform.pid('gateway')) + peakMb(platform.pid('worker')) - before).toBeLessThan(400);
  }

  test('B9 zip-bomb: ten megabytes that unpack to ten gigabytes of zeros are refused during unpacking', () =>
    bounded(async () => {
      // 1 MB of zeros, a thousand times and more, as gzip members behind one another: gzip reads them as one stream.
      const member = gzipSync(Buffer.alloc(64 * MB));
      const head = gzipSync(rawHeader('zeros.bin', 7 * 1024 * MB));
      const archive = Buffer.concat([head, ...Array.from({ length: 112 }, () => member)]);
      expect(await deploy(archive)).toMatchObject({ status: 413, code: 'archive_too_large' });
    }));

  test('B9 zip-bomb: a bomb behind a small declared size is refused', () =>
    bounded(async () => {
      const member = gzipSync(Buffer.alloc(64 * MB));
      const archive = Buffer.concat([
        gzipSync(rawHeader('zeros.bin', 1)),
        ...Array.from({ length: 60 }, () => member),
      ]);
      expect(await deploy(archive)).toMatchObject({ status: 400, code: 'bad_archive' });
    }));

  test('B9 zip-bomb: a million entries are refused', () =>
    bounded(async () => {
      const blocks = Array.from({ length: 20_001 }, (_, index) => rawHeader(`f${index}`, 0));
      const rest = gzipSync(Buffer.concat(Array.from({ length: 10_000 }, () => rawHeader('same', 0))));
      const archive = Buffer.concat([
        gzipSync(Buffer.concat(blocks)),
        ...Array.from({ length: 98 }, () => rest),
      ]);
      expect(await deploy(archive)).toMatchObject({ status: 413, code: 'archive_too_large' });
    }));

  test(
    'B9 zip-bomb: a few files that imply millions of directories are refused',
    () =>
      bounded(async () => {
        const blocks: Buffer[] = [];
        for (let file = 0; file < 19_000; file++) {
          blocks.push(paxHeader({ path: `${file}/${'d/'.repeat(490)}f` }), rawHeader('f', 0));
        }
        const body = String(INDEX[1]);
        const archive = gzipSync(
          Buffer.concat([rawHeader('index.mjs', body.length), padded(Buffer.from(body)), ...blocks, END]),
        );
        expect(await deploy(archive)).toMatchObject({ status: 413, code: 'archive_too_large' });
      }),
    60_000,
  );

  test.each([
    ['not a number', 'abc'],
    ['negative', '-5'],
    ['huge', '9'.repeat(300)],
    ['empty', ' '],
  ])(
    'B9 zip-bomb: a size in an extended header that is %s does not switch the limits off',
    async (_, size) => {
      await bounded(async () => {
        const member = gzipSync(Buffer.alloc(64 * MB));
        const head = gzipSync(Buffer.concat([paxHeader({ size }), rawHeader('zeros.bin', 1)]));
        const archive = Buffer.concat([head, ...Array.from({ length: 60 }, () => member)]);
        const refused = await deploy(archive);
        expect([400, 413]).toContain(refused?.status);
      });
    },
  );

  test('B9 zip-bomb: an archive within an archive is not unpacked, and a file that is no tar is refused', () =>
    bounded(async () => {
      const bomb = gzipSync(gzipSync(Buffer.alloc(256 * MB)));
      expect(await deploy(bomb)).toMatchObject({ status: 400, code: 'bad_archive' });
      expect(await deploy(await packed([INDEX, [{ name: 'nested.tar.gz' }, bomb]]))).toBeUndefined();
      expect((await platform.call('hostile')).status).toBe(200);
    }));
});

describe('a layout of links and devices', () => {
  test.each(['dev', 'proc', 'tmp', 'index.mjs', 'node_modules', 'var/task', '.'])(
    'B10 symlinked-layout: a bundle whose %s is a symbolic link to the root is refused',
    async (name) => {
      for (const linkname of ['/', '/proc/self/root', '../../../..']) {
        const entries: Entry[] = [[{ name, type: 'symlink', linkname }]];
        if (name !== 'index.mjs') entries.unshift(INDEX);
        expect(await deploy(await packed(entries))).toMatchObject({ status: 400, code: 'bad_archive' });
      }
    },
  );

  test.each(['character-device', 'block-device', 'fifo'] as const)(
    'B10 symlinked-layout: a bundle with a %s is refused',
    async (type) => {
      expect(
        await deploy(await packed([INDEX, [{ name: 'null', type, devmajor: 1, devminor: 3 }]])),
      ).toMatchObject({
        status: 400,
        code: 'bad_archive',
      });
    },
  );

  test('B10 symlinked-layout: directories with the platform’s own names stay inside the bundle', async () => {
    const names = [
      'dev/null',
      'proc/self/exe',
      'tmp/x',
      'run/offshoot/store/x',
      'etc/passwd',
      'opt/offshoot/bootstrap.cjs',
    ];
    const source = `import { readFileSync } from 'node:fs';
      const read = (path) => { try { return readFileSync(path, 'latin1').slice(0, 5); } catch (error) { return error.code; } };
      export default { fetch: () => Response.json({ device: read('/dev/null'), own: read('/var/task/dev/null'), passwd: read('/etc/passwd') }) };`;
    const entries: Entry[] = [
      [{ name: 'index.mjs' }, source],
      ...names.map((name): Entry => [{ name }, 'owned']),
    ];
    expect(await deploy(await packed(entries))).toBeUndefined();
    const answer = (await (await platform.call('hostile')).json()) as Record<string, string>;
    expect(answer).toMatchObject({ device: '', own: 'owned' });
    expect(answer['passwd']).not.toBe('owned');
  });

  test('B10 symlinked-layout: a setuid bit in a bundle is not kept', async () => {
    const source = `import { statSync } from 'node:fs';
      export default { fetch: () => Response.json({ mode: statSync('/var/task/tool').mode & 0o7777 }) };`;
    const entries: Entry[] = [
      [{ name: 'index.mjs' }, source],
      [{ name: 'tool', mode: 0o6777 }, '#!/bin/sh\n'],
    ];
    expect(await deploy(await packed(entries))).toBeUndefined();
    expect(await (await platform.call('hostile')).json()).toEqual({ mode: 0o755 });
  });

  test.each(['../../../../etc/passwd', '/etc/passwd', 'index.mjs\0', '../code/index.mjs'])(
    'B10 symlinked-layout: an entry file of %j loads nothing from outside the bundle',
    async (entryFile) => {
      const archive = await packed([INDEX]);
      expect(await deploy(archive)).toBeUndefined();
      const { sha256 } = await import('./archives.ts');
      const answer = await platform.api('/functions/default/hostile/versions', {
        method: 'POST',
        body: JSON.stringify({ digest: sha256(archive), entryFile, manifest: { name: 'hostile' } }),
      });
      expect(answer.status).toBeGreaterThanOrEqual(400);
      expect(answer.status).toBeLessThan(500);
    },
  );
});

describe('files that a function leaves behind', () => {
  /** Runs an attack of attacks/files.mjs to its end; returns the outcome once nothing of it is left. */
  async function attack(
    path: string,
    withinMs = 2_000,
    name = 'files',
  ): Promise<{ outcome: string; text: string }> {
    const host = await hostFacts(platform.state);
    const response = await platform.call(`${name}/${path}`);
    const text = await response.text();
    const record = await platform.record(response);
    const sandbox = record.report?.sandbox ?? '';
    // Sandboxes that ended by themselves are torn down; the others are idle and may be used again.
    if (record.outcome !== 'ok') await gone(platform, sandbox, withinMs);
    const after = await hostFacts(platform.state);
    expect(host.freeMb - after.freeMb).toBeLessThan(512);
    expect(host.freeInodes - after.freeInodes).toBeLessThan(5_000);
    expect(after.mounts).toBe(host.mounts);
    return { outcome: record.outcome, text };
  }

  test('B11 artifact-symlink: links, pipes and a sparse terabyte in /tmp harm nothing outside', async () => {
    // The platform collects no files of a function, so no program of the host could follow such a link or wait for such
    // a pipe. The test shows that they harm nothing while they exist and when they are removed.
    const { outcome, text } = await attack(`oddities?canary=${encodeURIComponent(canary)}`);
    expect(outcome).toBe('ok');
    const made = JSON.parse(text) as Record<string, string>;
    expect(made).toMatchObject({ link: 'made', followed: 'ENOENT', sparse: 'made' });
    expect((await attack('exit')).outcome).toBe('exited');
  });

  test('B12 cleanup-race: directories that become links during the teardown lead nowhere', async () => {
    for (let round = 0; round < 3; round++) {
      const { outcome } = await attack(`flip?canary=${encodeURIComponent(canaries)}`);
      expect(outcome).toBe('timeout');
    }
  }, 60_000);

  test('B12 cleanup-race: a tree of ten thousand levels is gone two seconds after the sandbox ended', async () => {
    // Landlock looks at each directory above a new one, so such a tree takes long to make.
    await deployAttack(platform, 'files', { name: 'files-patient', timeout: 60 });
    const { outcome } = await attack('deep', 2_000, 'files-patient');
    expect(outcome).toBe('exited');
  }, 90_000);

  test('B15 disk-fill: a function that writes without end gets ENOSPC or its memory limit, the host keeps its space', async () => {
    const { outcome, text } = await attack('fill?mb=100000');
    expect({ outcome, answer: JSON.parse(text) as unknown }).toEqual({
      outcome: 'ok',
      answer: { code: 'ENOSPC', mb: 64 },
    });
    // A file in /tmp is memory of the sandbox as well, so the smaller of both limits is met first.
    await deployAttack(platform, 'files', { name: 'files-large', memory: 128, tmpSize: 1024, timeout: 20 });
    const response = await platform.call('files-large/fill?mb=100000');
    await response.text();
    expect((await platform.record(response)).outcome).toBe('out_of_memory');
    expect(existsSync('/tmp/fill.bin')).toBe(false);
  }, 60_000);

  test('B16 inode-fill: a function that makes empty files without end is stopped at its own limit', async () => {
    const { outcome, text } = await attack('inodes');
    expect(outcome).toBe('ok');
    const { code, files } = JSON.parse(text) as { code: string; files: number };
    expect(code).toBe('ENOSPC');
    expect(files).toBeGreaterThan(10_000);
    expect(files).toBeLessThan(20_000);
    expect(sandboxesOf(platform).size).toBeGreaterThan(0);
  });
});
