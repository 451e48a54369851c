/** A runtime without a language, linked to runtime_core.a alone, answers calls through gateway, Redis, worker and sandbox. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, onTestFailed, test } from 'vitest';
import type { InvocationDetail } from '#contract/api/api.ts';
import { openEchoImages, WITH_ECHO, type EchoImages } from '../../support/runtime/echo.ts';
import { Platform, type CliResult } from '../../support/platform/platform.ts';

let images: EchoImages;
let platform: Platform;
let deployed: CliResult;

beforeAll(async () => {
  images = await openEchoImages();
  platform = await Platform.start(WITH_ECHO, [], { images: images.directory });
  const folder = join(platform.state, 'projects/repeat');
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'echo.txt'), 'no code');
  await writeFile(
    join(folder, 'offshoot.json'),
    JSON.stringify({ name: 'repeat', runtime: 'echo', access: 'public' }),
  );
  deployed = await platform.cli('deploy', folder);
}, 90_000);
afterAll(async () => {
  try {
    await platform.stop();
  } finally {
    await images.close();
  }
});

const post = (body: string | Uint8Array<ArrayBuffer>, path = ''): Promise<Response> => {
  onTestFailed(() => console.error(platform.output));
  return platform.call(`repeat${path}`, { method: 'POST', body });
};

test('its builder has made the archive, with the usual entry of the runtime [RT1]', async () => {
  const { code, stdout, stderr } = deployed;
  expect(code).toBe(0);
  expect(stderr).toContain('warning: echo.txt: an echo has no code');
  expect(stdout).toContain('default/repeat version 1 is live');
  const found = (await (await platform.api('/functions/default/repeat')).json()) as object;
  expect(found).toMatchObject({ active: { entryFile: 'echo.txt', settings: { runtime: 'echo' } } });
});

test('it answers a call, and a second one in the same sandbox [RT1]', async () => {
  for (const words of ['hello', 'again']) {
    const response = await post(words);
    expect(`${response.status} ${await response.text()}`).toBe(`200 ${words}`);
    const { report } = await platform.record(response);
    expect(report?.outcome).toBe('ok');
  }
});

test('its output is in the log of the invocation [RT1]', async () => {
  const { id } = await platform.record(await post('12345'));
  const texts = async (): Promise<string[]> => {
    const detail = (await (await platform.api(`/invocations/${id}`)).json()) as InvocationDetail;
    return detail.logs.map(({ level, text }) => `${level} ${text}`);
  };
  await expect.poll(texts, { timeout: 5_000 }).toEqual(['log echo of 5 bytes']);
});

test('bodies of all sizes come back whole: in one frame, in pieces, and streamed both ways [RT1]', async () => {
  for (const bytes of [0, 1, 256 * 1024, 256 * 1024 + 1, 900_000, 3_000_000]) {
    const body = new Uint8Array(bytes).map((_, at) => at % 251);
    const response = await post(body);
    expect(response.status).toBe(200);
    const answer = Buffer.from(await response.arrayBuffer());
    expect(answer.equals(body), `${bytes} bytes`).toBe(true);
  }
});

test('calls that are handed ahead take their turns [RT1]', async () => {
  const words = Array.from({ length: 40 }, (_, at) => `call ${at}`);
  const answers = await Promise.all(words.map(async (one) => await (await post(one)).text()));
  expect(answers).toEqual(words);
});

test('a queued invocation is answered too [RT1]', async () => {
  const id = await platform.queue('repeat', { hello: 'queue' });
  expect(await platform.ended(id)).toMatchObject({ outcome: 'ok', status: 200 });
});

test('the answer for a function that ended its process has the words of each runtime [RT1]', async () => {
  const response = await post('', '/exit');
  expect(response.status).toBe(502);
  const { error } = (await response.json()) as { error: { code: string; next: string } };
  expect(error.code).toBe('exited');
  expect(error.next).toContain('in Echo: do not end the echo');
});
