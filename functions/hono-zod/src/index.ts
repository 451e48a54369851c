/** An API with routes and validated input: hono for the first, zod for the second. */
import { zValidator } from '@hono/zod-validator';
import { Hono } from 'hono';
import { z } from 'zod';

const Order = z.object({
  item: z.string().min(1).max(80),
  quantity: z.int().min(1).max(1_000),
  express: z.boolean().default(false),
});

const PRICE_CENTS = 250;
const EXPRESS_CENTS = 990;

const app = new Hono();

app.get('/', (c) => c.json({ routes: ['POST /orders', 'GET /orders/:id'] }));

app.post(
  '/orders',
  zValidator('json', Order, (result, c) =>
    result.success ? undefined : c.json({ problems: z.flattenError(result.error).fieldErrors }, 400),
  ),
  (c) => {
    const order = c.req.valid('json');
    const total = order.quantity * PRICE_CENTS + (order.express ? EXPRESS_CENTS : 0);
    console.log(`order of ${order.quantity} ${order.item}`);
    return c.json({ id: crypto.randomUUID(), ...order, total }, 201);
  },
);

app.get('/orders/:id{[0-9a-f-]{36}}', (c) => c.json({ id: c.req.param('id'), state: 'unknown' }));

app.notFound((c) => c.json({ error: `nothing at ${c.req.path}` }, 404));

export default app;
