import { Hono } from 'hono';

const app = new Hono();

app.get('/', (c) => c.json({ greeting: 'Hello from Hono!' }));

app.get('/hello/:name', (c) => {
  const name = c.req.param('name');
  console.log(`greeting ${name}`);
  return c.json({ greeting: `Hello, ${name}!` });
});

export default app;
