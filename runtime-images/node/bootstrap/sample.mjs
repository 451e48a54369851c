// The function that a zygote rehearses with; see rehearse.ts. It uses the built-ins that most functions use.
export default {
  async fetch(request) {
    const url = new URL(request.url);
    const body = request.method === 'POST' ? await request.json() : {};
    const headers = new Headers({ 'x-sample': url.searchParams.get('a') ?? '' });
    headers.append('set-cookie', 'a=b');
    console.log('sample', body);
    await new Promise((resolve) => setTimeout(resolve, 0));
    if (request.method === 'GET') return new Response('sample', { headers });
    return Response.json({ body, path: url.pathname }, { headers });
  },
};
