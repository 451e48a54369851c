/** Routes of queued invocations and batches: what they refuse, and the command that `next` names then. No worker takes a job here. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { GatewayBench, problemOf } from '../../../support/gateway/gateway-bench.ts';
import { send, waitFor, type RawResponse } from '../../../support/gateway/fixture.ts';

let bench: GatewayBench;
beforeAll(async () => {
  bench = await GatewayBench.start((one) => one.result({ status: 200, headers: [] }, Buffer.from('ok')));
  await bench.gateway.add('job');
});
afterAll(() => bench.stop());

async function queued(): Promise<string> {
  const accepted = await bench.api('/functions/default/job/invocations', { json: { order: 7 } });
  expect(accepted.status).toBe(202);
  return (accepted.json() as { id: string }).id;
}

const post = (path: string): Promise<RawResponse> => bench.api(path, { json: {} });
const nextOf = (response: RawResponse): string => (response.json() as { error: { next: string } }).error.next;

test('the result of an invocation that waits is refused, and its trace is named', async () => {
  const id = await queued();
  const refused = await bench.api(`/invocations/${id}/result`);
  expect(problemOf(refused)).toEqual([409, 'not_ended']);
  expect(nextOf(refused)).toContain(`offshoot trace ${id}`);
});

test('an invocation that was cancelled can neither be cancelled again nor show a result', async () => {
  const id = await queued();
  expect((await post(`/invocations/${id}/cancel`)).status).toBe(202);
  const again = await post(`/invocations/${id}/cancel`);
  expect(problemOf(again)).toEqual([409, 'already_ended']);
  expect(nextOf(again)).toContain(`offshoot trace ${id}`);
  const result = await bench.api(`/invocations/${id}/result`);
  expect(problemOf(result)).toEqual([404, 'result_not_found']);
  expect(nextOf(result)).toContain(`offshoot trace ${id}`);
});

test('a synchronous call is replayed only with another input, because its own was not kept', async () => {
  const called = await send(bench.gateway, '/fn/default/job/');
  const id = String(called.headers['x-offshoot-invocation']);
  await waitFor(async () => (await bench.api(`/invocations/${id}`)).status === 200);
  const refused = await post(`/invocations/${id}/replay`);
  expect(problemOf(refused)).toEqual([409, 'input_not_found']);
  expect(nextOf(refused)).toContain(`offshoot replay ${id} --data`);
  expect((await bench.api(`/invocations/${id}/replay`, { json: { input: 1 } })).status).toBe(202);
});

test('a batch that is not there, or of another namespace, is not found; one that has ended is not cancelled', async () => {
  const made = await post('/functions/default/job/batches?open=1');
  const { id } = (made.json() as { batch: { id: string } }).batch;
  expect((await bench.api(`/batches/${id}`)).status).toBe(200);
  const { key } = await bench.newKey('other', ['read', 'invoke']);
  expect(problemOf(await bench.api(`/batches/${id}`, { key }))).toEqual([404, 'batch_not_found']);
  expect(problemOf(await bench.api(`/batches/${'0'.repeat(32)}`))).toEqual([404, 'batch_not_found']);
  expect((await post(`/batches/${id}/cancel`)).status).toBe(202);
  expect(problemOf(await post(`/batches/${id}/cancel`))).toEqual([409, 'already_ended']);
});
