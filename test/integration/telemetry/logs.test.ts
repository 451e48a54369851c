/**
 * Logs of functions by every way out: which try a line belongs to, how much was cut, and that nothing in it acts on a
 * terminal.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { AnyInvocationDetail } from '#contract/api/api.ts';
import type { LogLine } from '#contract/invocations/invocation.ts';
import { OtlpReceiver } from '../../support/servers/otlp-receiver.ts';
import { Platform } from '../../support/platform/platform.ts';
import { SLOWNESS } from '../../support/faults/slowness.ts';

let platform: Platform;
let receiver: OtlpReceiver;

beforeAll(async () => {
  receiver = await OtlpReceiver.start();
  platform = await Platform.start({ OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url });
  await platform.deploy('faulty');
  // Has a longer timeout for calls that must come to their own end, however slow the machine is.
  await platform.deploy('faulty', { name: 'patient', timeout: 25 });
  await platform.deploy('retries');
}, 60_000 * SLOWNESS);
afterAll(async () => {
  await platform?.stop();
  receiver?.close();
});

async function ended(id: string): Promise<AnyInvocationDetail> {
  const end = Date.now() + 20_000 * SLOWNESS;
  for (;;) {
    const found = (await (await platform.api(`/invocations/${id}`)).json()) as AnyInvocationDetail;
    if (found.state === 'done') return found;
    if (Date.now() > end) throw new Error(`invocation ${id} has not ended`);
    await sleep(50);
  }
}
const own = (logs: readonly LogLine[]): LogLine[] => logs.filter(({ text }) => text.startsWith('runs '));

test('L1 each line of a queued invocation says which attempt printed it [OB17]', async () => {
  const body = JSON.stringify({ fail: 'busy', times: 2 });
  const answer = await platform.api('/functions/default/retries/invocations', { method: 'POST', body });
  const { id } = (await answer.json()) as { id: string };
  const { logs } = await ended(id);
  expect(own(logs).map(({ attempt }) => attempt)).toEqual([1, 2, 3]);
  const shown = await platform.cli('logs', 'retries', '-i', id);
  expect(shown.stdout.match(/ try \d {2}/g)).toEqual([' try 1  ', ' try 2  ', ' try 3  ']);
  // The log of the function says so as well, and so does a collector.
  const all = await platform.cli('logs', 'retries', '--json', '--grep', id);
  const { logs: found } = JSON.parse(all.stdout) as { logs: LogLine[] };
  expect(found.map(({ attempt }) => attempt)).toEqual([1, 2, 3]);
  const sent = (): unknown[] =>
    receiver.logs
      .filter(({ attributes }) => attributes['faas.invocation_id'] === id)
      .map(({ attributes }) => attributes['offshoot.attempt']);
  for (let tries = 0; tries < 200 && sent().length < 3; tries++) await sleep(50);
  expect(sent()).toEqual([1, 2, 3]);
});

test('L2 each line of a batch says which attempt printed it, and which item where items run one by one', async () => {
  const answer = await fetch(`${platform.url}/api/v1/functions/default/retries/batches`, {
    method: 'POST',
    headers: { authorization: `Bearer ${platform.key}`, 'content-type': 'application/x-ndjson' },
    body: '{"answer":1}\n{"fail":"busy","times":1}\n{"answer":3}\n',
  });
  const { batch } = (await answer.json()) as { batch: { id: string } };
  await (await platform.api(`/batches/${batch.id}/results?wait=1`)).text();
  const groups = await platform.cli('invocations', 'retries', '--json');
  const { invocations } = JSON.parse(groups.stdout) as {
    invocations: { id: string; batch?: { id: string } }[];
  };
  const group = invocations.find((one) => one.batch?.id === batch.id);
  const { logs } = await ended(group?.id ?? '');
  const lines = own(logs).map(({ attempt, item }) => `${attempt}: ${item}`);
  expect(lines.slice(0, 3).toSorted()).toEqual(['1: 0', '1: 1', '1: 2']);
  // The failed item is tried again, in any sandbox, and each sandbox counts for itself.
  expect(lines[3]).toBe('2: 1');
  expect(lines.slice(4).filter((line) => line !== '3: 1')).toEqual([]);
  const shown = await platform.cli('logs', 'retries', '-i', group?.id ?? '');
  expect(shown.stdout).toContain(' try 1 item 2  ');
});

test('L3 pieces of lines are joined, also those of native code', async () => {
  const { logs } = await platform.record(await platform.call('faulty/print-pieces'));
  expect(logs.map(({ level, text }) => `${level} ${text}`)).toEqual([
    'stdout by the runtime',
    'stdout next',
    'stdout as bÿtes',
    'stdout déscriptor',
    'stdout nätive',
    'stdout unended',
  ]);
});

test('L3 pieces of lines are joined while the module is loaded, however many there are', async () => {
  // More pieces than are kept, some of them half a character.
  const wanted = ['lädt'.repeat(150), '€ '.repeat(100).trim(), 'unended'];
  await platform.deploy('faulty', {
    name: 'pieces',
    env: { PIECES_AT_LOAD: wanted.join('\n') },
    initTimeout: 30,
  });
  await platform.call('pieces/exit');
  const { logs } = await platform.record(await platform.call('pieces/ok'));
  expect(logs.map(({ level, text }) => `${level} ${text}`)).toEqual(wanted.map((text) => `stdout ${text}`));
});

test('L3 half a character at the end is shown as a replacement character', async () => {
  const { logs } = await platform.record(await platform.call('faulty/print-half'));
  expect(logs.map(({ text }) => text)).toEqual(['half \ufffd']);
});

test('L4 the end of a log says how much was cut, also of work after the answer', async () => {
  const cut = await platform.record(await platform.call('patient/print-some?lines=30000'));
  const { logBytesDropped = 0, logLinesDropped = 0 } = cut.report ?? {};
  expect(cut.logs.at(-1)?.level).toBe('platform');
  expect(cut.logs.at(-1)?.text).toContain(
    `${logBytesDropped} bytes of output were cut, ${logLinesDropped} lines of them whole`,
  );
  // Of 30,002 lines, each is kept or counted. (Lines that came faster than they could be read are reported in their
  // place.)
  const lost = cut.logs.some(({ text }) => text.includes('written faster than read'));
  if (!lost) expect(cut.logs.length - 1 + logLinesDropped).toBe(30_002);
  const { stdout } = await platform.cli('trace', cut.id);
  expect(stdout).toContain(`cut (${logLinesDropped} whole lines)`);

  const response = await platform.call('patient/print-late');
  const last = async (): Promise<LogLine | undefined> => (await platform.record(response)).logs.at(-1);
  for (let tries = 0; tries < 200 && (await last())?.level !== 'platform'; tries++) await sleep(50);
  expect((await last())?.text).toMatch(/bytes of output were cut/);
});

test('L7 spans and logs that an exporter drops are counted in the metrics of its process, by signal', async () => {
  const text = await (
    await fetch(`${platform.url}/metrics`, { headers: { authorization: `Bearer ${platform.key}` } })
  ).text();
  expect(text).toMatch(/^offshoot_telemetry_dropped_total\{signal="spans"\} 0$/m);
});

test('L6 output of a module while it loads is in the log of the first invocation, as far as it is kept', async () => {
  await platform.deploy('faulty', { name: 'loud', env: { PRINT_AT_LOAD: '1500' }, logSize: 64 });
  // The deploy consumed the output of the sandbox that it made itself.
  await platform.call('loud/exit');
  const { logs } = await platform.record(await platform.call('loud/ok'));
  expect(logs.filter(({ text }) => text === 'the module is being loaded')).toHaveLength(1_000);
  expect(logs.at(-1)).toMatchObject({
    level: 'platform',
    text: expect.stringMatching(/^\d+ bytes that the module printed/),
  });
});

/** Characters on which a terminal acts or that reorder text, as a program that writes UTF-8 sends them. */
// oxlint-disable-next-line no-control-regex -- the test looks for these
const ACTED_ON = /[\u0000-\u0008\u000b-\u001f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/;

test('L5 no way out of a log lets a character through on which a terminal acts [OB18]', async () => {
  const response = await platform.call('faulty/print-hostile');
  const { id } = await platform.record(response);
  const raw = await (await platform.api(`/invocations/${id}`)).text();
  const listed = await (await platform.api('/invocations?outcome=error')).text();
  const log = await (await platform.api('/functions/default/faulty/logs')).text();
  const abort = new AbortController();
  const followed = await platform.api('/functions/default/faulty/logs?follow=1&since=0', {
    signal: abort.signal,
  });
  let events = '';
  for await (const chunk of followed.body ?? []) {
    events += Buffer.from(chunk).toString();
    if (events.includes('evil.example')) break;
  }
  abort.abort();
  const outs = await Promise.all([
    platform.cli('logs', 'faulty', '-i', id),
    platform.cli('logs', 'faulty', '--json'),
    platform.cli('trace', id),
    platform.cli('trace', id, '--json'),
    platform.cli('why', id),
  ]);
  for (let tries = 0; tries < 200 && !receiver.logs.some(({ body }) => body.includes('evil')); tries++)
    await sleep(50);
  const exported = receiver.logs.map(({ body }) => body).filter((body) => body.includes('evil'));
  expect(exported.length).toBeGreaterThan(0);
  for (const text of [raw, log, events, outs[0].stdout, outs[2].stdout, ...exported])
    expect(text).toContain('evil.example');
  for (const text of [
    raw,
    listed,
    log,
    events,
    ...outs.flatMap((one) => [one.stdout, one.stderr]),
    ...exported,
  ])
    expect(text).not.toMatch(ACTED_ON);
  // A program gets the function's output unchanged, except half a character, which UTF-8 cannot express.
  const { logs } = JSON.parse(raw) as AnyInvocationDetail;
  expect(logs[0]?.text).toContain('\u009b31mb\u009cc\u0000d\u202ee\u2066f\u061cg\u2028h\ufffdi\u007f\rj');
});
