/** The layouts of contract/wire/layouts.ts: the same bytes in TypeScript, in C, and in the golden vectors, which no generator writes. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  ChannelKind,
  ChannelReader,
  encodeChannelFrame,
  MAX_WORKER_FRAME_BYTES,
} from '#contract/wire/channel.ts';
import golden from '#contract/wire/golden.json' with { type: 'json' };
import { FRAMES, LAYOUTS, type Layout } from '#contract/wire/layouts.ts';
import * as wire from '#contract/wire/wire.gen.ts';
import { wireFiles } from '../../../infra/wire/main.ts';
import { pascal } from '../../../infra/wire/table.ts';

type Value = number | string | number[] | { readonly hex: string };
interface Vector {
  readonly about: string;
  readonly layout: string;
  readonly handle?: number;
  readonly fields?: Readonly<Record<string, Value>>;
  readonly refused?: true;
  readonly hex: string;
}
/** Fields in one form for all languages: bytes and text in hexadecimal. */
type Plain = Readonly<Record<string, number | string | number[]>>;
interface Read {
  readonly layout: string;
  readonly handle: number;
  readonly fields: Plain;
  readonly hex: string;
}

const codecs: Readonly<Record<string, unknown>> = { ...wire };
const vectors = golden.vectors as unknown as readonly Vector[];
const layouts: Readonly<Record<string, Layout>> = { ...FRAMES, ...LAYOUTS };
const sound = vectors.filter(({ refused }) => !refused);
const damaged = vectors.filter(({ refused }) => refused);
const isFrame = ({ layout, refused }: Vector): boolean =>
  layout === 'frame' || (layout in FRAMES && !refused);
const checkout = fileURLToPath(new URL('../../..', import.meta.url));

const kindOf = (layout: string): string | undefined => layouts[layout] && layout;

function expected({ layout, handle = 0, fields = {}, hex }: Vector): Read {
  const plain = Object.fromEntries(
    (layouts[layout]?.fields ?? []).flatMap(({ name, type }) => {
      const value = fields[name];
      if (value === undefined) return [];
      if (typeof value === 'object' && 'hex' in value) return [[name, value.hex]];
      const isText = type === 'text' || type === 'sized' || type === 'rest';
      return [[name, isText && typeof value === 'string' ? Buffer.from(value).toString('hex') : value]];
    }),
  ) as Plain;
  return { layout, handle, fields: plain, hex };
}

/** Takes a payload apart by the generated reader; bytes and text come back in hexadecimal. */
function read(layout: string, payload: Buffer): Plain | undefined {
  if (layouts[layout]?.fields.length === 0) return payload.length === 0 ? {} : undefined;
  const reader = codecs[`read${pascal(layout)}`] as (payload: Buffer) => object | undefined;
  const value = reader(payload) as Readonly<Record<string, unknown>> | undefined;
  if (!value) return undefined;
  return Object.fromEntries(
    Object.entries(value).flatMap(([name, field]) => {
      if (field === undefined) return [];
      if (typeof field === 'bigint') return [[name, String(field)]];
      if (Buffer.isBuffer(field)) return [[name, field.toString('hex')]];
      const isText = layouts[layout]?.fields.find((one) => one.name === name)?.type === 'text';
      return [[name, isText ? Buffer.from(field as string).toString('hex') : field]];
    }),
  ) as Plain;
}

/** The parts of a payload by the generated encoder. */
function put(layout: string, fields: Readonly<Record<string, Value>>): Uint8Array[] {
  const values = (layouts[layout]?.fields ?? []).map(({ name, type }) => {
    const value = fields[name];
    if (type === 'u64') return [name, BigInt(value as string)];
    if (type !== 'sized' && type !== 'rest') return [name, value];
    return [
      name,
      typeof value === 'object' && 'hex' in value
        ? Buffer.from(value.hex, 'hex')
        : Buffer.from(String(value)),
    ];
  });
  const encoder = codecs[`put${pascal(layout)}`] as (fields: object) => Uint8Array[];
  return encoder(Object.fromEntries(values) as object);
}

test('the generated files are those that are committed', () => {
  for (const [file, generated] of Object.entries(wireFiles()))
    expect(readFileSync(join(checkout, file), 'utf8'), `${file}: run: node infra/wire/main.ts`).toBe(
      generated,
    );
});

test('every layout has a golden vector', () => {
  expect([...new Set(sound.map(({ layout }) => layout))].toSorted()).toEqual(Object.keys(layouts).toSorted());
});

describe('TypeScript', () => {
  test.each(sound)('$layout, $about: is written to the golden bytes and read from them [RT2]', (vector) => {
    const { layout, handle = 0, fields = {}, hex } = vector;
    const kind = ChannelKind[layout as keyof typeof ChannelKind];
    if (!isFrame(vector)) {
      expect(Buffer.concat(put(layout, fields)).toString('hex')).toBe(hex);
      expect(read(layout, Buffer.from(hex, 'hex'))).toEqual(expected(vector).fields);
      return;
    }
    expect(encodeChannelFrame(kind, handle, ...put(layout, fields)).toString('hex')).toBe(hex);
    const seen: unknown[] = [];
    const reader = new ChannelReader(MAX_WORKER_FRAME_BYTES, (...frame) =>
      seen.push([frame[0], frame[1], read(layout, frame[2])]),
    );
    reader.push(Buffer.from(hex, 'hex'));
    expect(seen).toEqual([[kind, handle, expected(vector).fields]]);
  });

  test.each(damaged)('$layout, $about: is refused', ({ layout, hex }) => {
    const bytes = Buffer.from(hex, 'hex');
    if (kindOf(layout) !== undefined) return expect(read(layout, bytes)).toBeUndefined();
    const seen: number[] = [];
    const reader = new ChannelReader(MAX_WORKER_FRAME_BYTES, (frame) => seen.push(frame));
    try {
      reader.push(bytes);
    } catch {
      // A frame that breaks off is no error yet; its reader waits for the rest.
    }
    expect(seen).toEqual([]);
  });
});

describe('C', () => {
  let build: string;
  let answers: (Read | { refused: true })[];
  beforeAll(async () => {
    build = await mkdtemp(join(tmpdir(), 'offshoot-golden-'));
    const program = join(build, 'golden');
    await promisify(execFile)('make', [
      '-s',
      '-C',
      join(checkout, 'test/runtime'),
      `BUILD=${build}`,
      program,
    ]);
    const child = spawn(program, { stdio: ['pipe', 'pipe', 'inherit'] });
    const ended = once(child, 'exit');
    child.stdin.end(
      vectors.map((vector) => `${isFrame(vector) ? 'frame' : vector.layout} ${vector.hex || '-'}\n`).join(''),
    );
    const lines = (await text(child.stdout)).trimEnd().split('\n');
    expect((await ended)[0]).toBe(0);
    answers = lines.map((line) => JSON.parse(line) as Read);
  }, 60_000);
  afterAll(() => rm(build, { recursive: true, force: true }));

  test.each(sound)('$layout, $about: is written to the golden bytes and read from them [RT2]', (vector) => {
    expect(answers[vectors.indexOf(vector)]).toEqual(expected(vector));
  });

  test.each(damaged)('$layout, $about: is refused', (vector) => {
    expect(answers[vectors.indexOf(vector)]).toEqual({ refused: true });
  });
});
