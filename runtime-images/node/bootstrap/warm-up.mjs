// The function that a prepared sandbox warms up with; see warm-up.ts.
export default {
  async fetch(request) {
    const url = new URL(request.url);
    const body = await request.json();
    const headers = new Headers({ 'x-sample': url.searchParams.get('a') ?? '' });
    return Response.json({ body, path: url.pathname }, { headers });
  },
};
