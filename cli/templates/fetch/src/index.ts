export default {
  async fetch(request, _env, ctx) {
    const url = new URL(request.url);
    const name = url.searchParams.get('name') ?? 'world';
    console.log(`greeting ${name}`);
    return Response.json({ greeting: `Hello, ${name}!`, invocation: ctx.invocationId });
  },
} satisfies OffshootFunction;
