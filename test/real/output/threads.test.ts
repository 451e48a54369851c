/** K5: output of worker threads has the level of its console. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Live } from '../../support/real/live.ts';
import { called, lines } from '../../support/real/logs.ts';

let live: Live;
beforeAll(async () => {
  live = await Live.open();
});
afterAll(async () => {
  await live?.close();
});

test.each(['node26', 'node24'])(
  'K5 B37 console of a worker thread has its level: %s [OB41]',
  async (runtime) => {
    const name = await live.deploy(
      `import { Worker } from 'node:worker_threads'; import { once } from 'node:events';
     export default { async fetch() {
       const worker = new Worker('console.error("bad"); console.warn("hm"); console.info("so"); console.debug("dd"); process.stdout.write("raw\\\\n"); require("worker_threads").parentPort.postMessage(1); setTimeout(() => undefined, 200)', { eval: true });
       await once(worker, 'message'); await new Promise((done) => setTimeout(done, 50)); await worker.terminate();
       return new Response('ok');
     } };`,
      { manifest: { runtime } },
    );
    const { id } = await called(live, name);
    const found = await lines(live, name, 5);
    expect(found.map(({ text, level }) => `${level} ${text}`).toSorted()).toEqual(
      ['debug dd', 'error bad', 'info so', 'stdout raw', 'warn hm'].toSorted(),
    );
    expect(new Set(found.map(({ invocation }) => invocation))).toEqual(new Set([id]));
  },
);

test('K5 B37 a thread sees its own arguments, and a function that reads the output of a thread gets plain text [OB41]', async () => {
  const name = await live.deploy(
    `import { Worker } from 'node:worker_threads'; import { once } from 'node:events';
     const read = async (options) => {
       const worker = new Worker('console.log("plain " + process.execArgv.join()); console.error({ a: 1 });', { eval: true, ...options });
       let text = ''; worker.stdout.on('data', (data) => (text += data)); worker.stderr.on('data', (data) => (text += data));
       await once(worker, 'exit'); await new Promise((done) => setTimeout(done, 20)); return text;
     };
     export default { async fetch() { return Response.json([Worker.name, await read({}), await read({ stdout: true, stderr: true })]); } };`,
  );
  const { answer } = await called(live, name);
  expect(JSON.parse(answer.text)).toEqual(['Worker', 'plain \n{ a: 1 }\n', 'plain \n{ a: 1 }\n']);
});
