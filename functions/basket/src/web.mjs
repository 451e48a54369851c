/** Packages that serve and call: each server is called over the sandbox's own loopback. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createServer as createTcpServer } from 'node:net';

/** Serves while `work` runs with the address. */
async function serving(server, work) {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    return await work(`127.0.0.1:${server.address().port}`);
  } finally {
    server.close();
    server.closeAllConnections?.();
  }
}

const answer = (request, response) => {
  response.setHeader('content-type', 'application/json');
  request
    .toArray()
    .then((body) =>
      response.end(JSON.stringify({ method: request.method, body: Buffer.concat(body).toString() })),
    );
};

const getJson = async (url, init) => (await fetch(url, init)).json();

export const web = {
  express: {
    use: async () => {
      const { default: express } = await import('express');
      const app = express();
      app.use(express.json());
      app.post('/sum/:by', (request, response) =>
        response.json({ sum: request.body.a + Number(request.params.by) }),
      );
      return await serving(createServer(app), (at) =>
        getJson(`http://${at}/sum/2`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: '{"a":1}',
        }),
      );
    },
    gives: { sum: 3 },
  },
  fastify: {
    use: async () => {
      const { default: fastify } = await import('fastify');
      const app = fastify();
      app.get(
        '/:name',
        { schema: { params: { type: 'object', properties: { name: { type: 'string', maxLength: 3 } } } } },
        (request) => ({
          hello: request.params.name,
        }),
      );
      const at = await app.listen({ host: '127.0.0.1', port: 0 });
      const results = [await getJson(`${at}/abc`), (await fetch(`${at}/abcd`)).status];
      await app.close();
      return results;
    },
    gives: [{ hello: 'abc' }, 400],
  },
  koa: {
    use: async () => {
      const { default: Koa } = await import('koa');
      const app = new Koa();
      app.use(async (context, next) => {
        await next();
        context.set('x-done', 'yes');
      });
      app.use((context) => void (context.body = { path: context.path }));
      return await serving(createServer(app.callback()), async (at) => {
        const response = await fetch(`http://${at}/a`);
        return [response.headers.get('x-done'), await response.json()];
      });
    },
    gives: ['yes', { path: '/a' }],
  },
  hono: {
    use: async () => {
      const { Hono } = await import('hono');
      const app = new Hono().get('/user/:id', (context) => context.json({ id: context.req.param('id') }));
      return await (await app.request('/user/7')).json();
    },
    gives: { id: '7' },
  },
  axios: {
    use: async () => {
      const { default: axios } = await import('axios');
      return await serving(
        createServer(answer),
        async (at) => (await axios.post(`http://${at}/`, 'sent')).data,
      );
    },
    gives: { method: 'POST', body: 'sent' },
  },
  undici: {
    use: async () => {
      const { Agent, request } = await import('undici');
      const dispatcher = new Agent();
      try {
        return await serving(createServer(answer), async (at) => {
          const { statusCode, body } = await request(`http://${at}/`, {
            method: 'PUT',
            body: 'sent',
            dispatcher,
          });
          return [statusCode, await body.json()];
        });
      } finally {
        await dispatcher.destroy();
      }
    },
    gives: [200, { method: 'PUT', body: 'sent' }],
  },
  ws: {
    use: async () => {
      const { WebSocket, WebSocketServer } = await import('ws');
      const http = createServer();
      const server = new WebSocketServer({ server: http });
      server.on('connection', (socket) => socket.on('message', (message) => socket.send(`echo ${message}`)));
      return await serving(http, async (at) => {
        const client = new WebSocket(`ws://${at}`);
        await once(client, 'open');
        client.send('x'.repeat(70_000));
        const [message] = await once(client, 'message');
        client.terminate();
        return message.length;
      });
    },
    gives: 70_005,
  },
  ioredis: {
    use: async () => {
      const { Redis } = await import('ioredis');
      // Speaks just enough of the protocol to answer each command of the client.
      const server = createTcpServer((socket) =>
        socket.on('data', (bytes) => {
          for (const _ of bytes.toString().matchAll(/^\*\d+\r$/gm)) socket.write('$5\r\nvalue\r\n');
        }),
      );
      return await serving(server, async (at) => {
        const [host, port] = at.split(':');
        const redis = new Redis({
          host,
          port: Number(port),
          enableReadyCheck: false,
          disableClientInfo: true,
        });
        const value = await redis.get('key');
        redis.disconnect();
        return value;
      });
    },
    gives: 'value',
  },
};
