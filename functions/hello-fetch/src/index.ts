/** The smallest useful function: it looks at the request and answers. */
export default {
  async fetch(request, env, ctx) {
    const url = new URL(request.url);
    const name = url.searchParams.get('name') ?? 'world';
    console.log(`greeting ${name}`);
    return Response.json({
      greeting: `${env['GREETING'] ?? 'Hello'}, ${name}!`,
      path: url.pathname,
      invocation: ctx.invocationId,
    });
  },
} satisfies OffshootFunction;
