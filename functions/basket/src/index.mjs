/** One path for each package: it is used a little, and what came out is compared with what should have. */
import { isDeepStrictEqual } from 'node:util';
import { data } from './data.mjs';
import { native } from './native.mjs';
import { node } from './node.mjs';
import { text } from './text.mjs';
import { tools } from './tools.mjs';
import { web } from './web.mjs';

/** Package → what is done with it, and what comes out of that. A package is loaded when it is asked for. */
const uses = { ...data, ...native, ...node, ...text, ...tools, ...web };

export default {
  async fetch(request) {
    const name = decodeURIComponent(new URL(request.url).pathname.slice(1));
    if (name === '') return Response.json(Object.keys(uses));
    if (!Object.hasOwn(uses, name)) return Response.json({ error: `no package ${name}` }, { status: 404 });
    const { use, gives } = uses[name];
    try {
      const value = await use();
      return Response.json({ ok: isDeepStrictEqual(value, gives), value });
    } catch (error) {
      return Response.json({ ok: false, value: String(error?.stack ?? error) });
    }
  },
};
