/**
 * Whether a connection may be used again, according to the answers on it. Answers that refuse a body are in
 * test/security.
 */
import { once } from 'node:events';
import { Agent, request, type IncomingMessage } from 'node:http';
import { expect, test } from 'vitest';
import { GatewayBench } from '../../../support/gateway/gateway-bench.ts';
import type { FakeCall } from '../../../support/gateway/fake-worker.ts';
import { waitFor } from '../../../support/gateway/fixture.ts';

test('the answer of a call that ends while the gateway drains says that its connection ends', async () => {
  const taken: FakeCall[] = [];
  const answer = (): void => taken.pop()?.result({ status: 200, headers: [] }, Buffer.from('late'));
  const bench = await GatewayBench.start((one) => void taken.push(one));
  await bench.gateway.add('open');
  const agent = new Agent({ keepAlive: true });
  const call = async (): Promise<IncomingMessage> => {
    const sent = request({ port: bench.gateway.port, path: '/fn/default/open', agent }).end();
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    response.resume();
    return response;
  };
  const first = call();
  await waitFor(() => taken.length === 1);
  answer();
  // Control: while the gateway does not drain, the connection is kept.
  expect((await first).headers.connection).toBe('keep-alive');
  const second = call();
  await waitFor(() => taken.length === 1);
  const closed = bench.gateway.close(5_000);
  answer();
  const { statusCode, headers } = await second;
  expect([statusCode, headers.connection]).toEqual([200, 'close']);
  await closed;
  agent.destroy();
  await bench.worker.stop();
  await bench.redis.stop();
});
