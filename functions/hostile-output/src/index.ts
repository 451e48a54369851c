/** Not an example: a fixture that says markup and script wherever a function can say something, and serves a page that attacks. */
const MARKUP =
  '<img src=x onerror="alert(1)" class="injected"><script>alert(2)</script><svg/onload=alert(3)>"\'`javascript:alert(4)';

/** Runs in a browser that is signed in to the dashboard, on the dashboard's own origin. Its title is what it has found. */
const ATTACK = `<!doctype html><title>…</title><body><script type="module">
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const found = { cookie: document.cookie };
found.live = await fetch('/dashboard/live/functions').then((answer) => answer.status);
found.api = await fetch('/dashboard/api/v1/functions').then((answer) => answer.status);
found.cancel = await fetch('/dashboard/api/v1/dead-letters/default/purge', {
  method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}',
}).then((answer) => answer.status);
found.document = (await (await fetch('/dashboard')).text()).includes('scopes');
const open = async (url) => {
  const opened = window.open(url);
  await wait(2500);
  try { return opened.document.body.innerText.length > 0 && opened.location.href.endsWith(url); } catch (error) { return false; }
};
found.control = await open('/fn/default/hostile-output?quiet');
found.opened = await open('/dashboard');
const frame = document.body.appendChild(Object.assign(document.createElement('iframe'), { src: '/dashboard' }));
await wait(1500);
try { found.framed = (frame.contentDocument?.body.innerText ?? '').includes('Functions'); } catch { found.framed = false; }
found.worker = await navigator.serviceWorker
  .register('/fn/default/hostile-output/worker.js', { scope: '/dashboard/' })
  .then(() => true, () => false);
document.title = JSON.stringify(found);
</script>`;

export default {
  async fetch(request: Request): Promise<Response> {
    const { pathname, search } = new URL(request.url);
    const headers = {
      'content-type': pathname.endsWith('.js') ? 'text/javascript' : 'text/html',
      'cross-origin-opener-policy': 'same-origin',
      'service-worker-allowed': '/',
    };
    if (pathname.endsWith('.js')) return new Response('addEventListener("fetch", () => {})', { headers });
    if (request.method === 'GET')
      return new Response(search === '?quiet' ? '<title>quiet</title>I am quiet' : ATTACK, { headers });
    const event = (await request.json()) as { readonly fail?: boolean };
    console.log(MARKUP);
    console.error(`\u001b[31m${MARKUP}\u001b[0m\u202e`);
    process.stdout.write(`${MARKUP}\n`);
    if (event.fail === true) {
      const error = new Error(MARKUP);
      error.name = MARKUP;
      throw error;
    }
    return Response.json({ [MARKUP]: MARKUP });
  },
};
