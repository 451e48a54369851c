/** Markdown in, HTML out, with everything taken away that could run in the reader's browser. */
import { marked } from 'marked';
import sanitize from 'sanitize-html';
import page from './page.html';

const allowed: sanitize.IOptions = {
  allowedTags: [...sanitize.defaults.allowedTags, 'img', 'del', 'input'],
  allowedAttributes: {
    a: ['href', 'title'],
    img: ['src', 'alt', 'title'],
    code: ['class'],
    input: [{ name: 'type', values: ['checkbox'] }, 'checked', 'disabled'],
  },
  allowedSchemes: ['http', 'https', 'mailto'],
};

export default {
  async fetch(request) {
    if (request.method !== 'POST') {
      return new Response('POST some Markdown\n', { status: 405, headers: { allow: 'POST' } });
    }
    const html = sanitize(await marked.parse(await request.text(), { gfm: true }), allowed);
    const whole = new URL(request.url).searchParams.has('page');
    return new Response(whole ? page.replace('<!-- content -->', () => html) : html, {
      headers: { 'content-type': 'text/html; charset=utf-8' },
    });
  },
} satisfies OffshootFunction;
